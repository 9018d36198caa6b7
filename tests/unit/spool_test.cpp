// The rules of mod_cppfcgi/core/spool.h.
#include "mod_cppfcgi/core/spool.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

namespace cppfcgi {
namespace {

constexpr Spool::Limits small{.memory_bytes = 10, .file_bytes = 30};

struct SpoolTest : testing::Test {
  Spool spool{"/tmp", small};

  void append(std::string_view text) {
    const auto appended = spool.append(as_bytes(text));
    EXPECT_TRUE(appended) << appended.error().what;
  }
  std::string take() {
    auto taken = spool.take();
    EXPECT_TRUE(taken) << taken.error().what;
    return taken ? *taken : "";
  }
  std::string take_all() {
    std::string all;
    while (!spool.is_empty()) all += take();
    return all;
  }
};

TEST_F(SpoolTest, KeepsTheOrder) {
  append("memory");
  append("goes to the file");
  append("x");
  EXPECT_EQ(take(), "memory");
  append("y");
  EXPECT_EQ(take_all(), "goes to the filexy");
  append("memory again");
  EXPECT_EQ(take_all(), "memory again");
}

TEST_F(SpoolTest, TakesNoMoreAtOnceThanItKeepsInMemory) {
  append("0123456789abcdefghij");
  EXPECT_EQ(take(), "0123456789");
  EXPECT_EQ(take(), "abcdefghij");
  EXPECT_TRUE(spool.is_empty());
}

TEST_F(SpoolTest, IsFullAtItsBoundUntilAllIsTaken) {
  append(std::string(10, 'm'));
  append(std::string(29, 'f'));
  EXPECT_FALSE(spool.is_full());
  append("f");
  EXPECT_TRUE(spool.is_full());
  take_all();
  EXPECT_FALSE(spool.is_full());
}

TEST_F(SpoolTest, HandsOverItsFile) {
  append("in memory");
  append("in the file");
  EXPECT_FALSE(spool.take_file());
  EXPECT_EQ(take(), "in memory");
  const auto rest = spool.take_file();
  ASSERT_TRUE(rest);
  std::string text(rest->bytes, '\0');
  EXPECT_EQ(::pread(rest->file.get(), text.data(), text.size(), static_cast<off_t>(rest->offset)),
            static_cast<ssize_t>(text.size()));
  EXPECT_EQ(text, "in the file");
  EXPECT_TRUE(spool.is_empty());
}

TEST_F(SpoolTest, HandsOverTheRestOfAFileThatWasTakenInPart) {
  append("0123456789abc");
  EXPECT_EQ(take(), "0123456789");
  const auto rest = spool.take_file();
  ASSERT_TRUE(rest);
  EXPECT_EQ(rest->offset, 10U);
  EXPECT_EQ(rest->bytes, 3U);
}

TEST(Spool, LosesNothingWhereItCannotWrite) {
  Spool spool("/nowhere", small);
  EXPECT_TRUE(spool.append(as_bytes("memory")));
  EXPECT_FALSE(spool.append(as_bytes("too much")));
  EXPECT_TRUE(spool.is_full());
  EXPECT_EQ(*spool.take(), "memory");
  EXPECT_EQ(*spool.take(), "too much");
  EXPECT_TRUE(spool.is_empty());
}

TEST(Spool, LosesNothingWhereTheDiskIsFull) {
  // A bound on the size of files stands in for a disk's.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit tight{.rlim_cur = 12, .rlim_max = before.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  Spool spool("/tmp", {.memory_bytes = 4, .file_bytes = 1 << 20});
  EXPECT_TRUE(spool.append(as_bytes("0123456789")));
  EXPECT_FALSE(spool.append(as_bytes("abcdefghij")));
  EXPECT_TRUE(spool.append(as_bytes("KLM")));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  EXPECT_TRUE(spool.is_full());
  std::string taken;
  while (!spool.is_empty()) taken += *spool.take();
  EXPECT_EQ(taken, "0123456789abcdefghijKLM");
}

}  // namespace
}  // namespace cppfcgi
