// Shared memory: who can write it, and that nobody can shrink it under a reader.
#include "shared/memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cppfcgi {
namespace {

constexpr std::size_t bytes = 8192;

TEST(Memory, WhatOneMappingWritesAnotherReads) {
  const auto memory = make_shared_memory("test", bytes);
  const auto writer = Mapping::map(memory->get(), bytes, Access::read_write);
  const auto reader = Mapping::map(memory->get(), bytes, Access::read_only);
  std::memcpy(writer->address(), "seen", 5);
  EXPECT_STREQ(static_cast<const char*>(reader->address()), "seen");
}

TEST(Memory, AReaderCannotMakeItselfAWriter) {
  const auto memory = make_shared_memory("test", bytes);
  const auto reopened = reopen_read_only(*memory);
  const auto reader = Mapping::map(reopened->get(), bytes, Access::read_only);
  ASSERT_TRUE(reader);
  EXPECT_EQ(mprotect(reader->address(), bytes, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_FALSE(Mapping::map(reopened->get(), bytes, Access::read_write));
}

TEST(Memory, CannotBeResizedUnderItsReaders) {
  const auto memory = make_shared_memory("test", bytes);
  EXPECT_EQ(ftruncate(memory->get(), 0), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST(Memory, ShorterMemoryThanWantedIsRefused) {
  const auto memory = make_shared_memory("test", bytes);
  const auto mapped = Mapping::map(memory->get(), bytes + 1, Access::read_only);
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().code, EINVAL);
}

}  // namespace
}  // namespace cppfcgi
