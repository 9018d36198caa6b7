// The rules of mod_cppfcgi/core/request_source.h.
#include "mod_cppfcgi/core/request_source.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "shared/fd.h"

namespace cppfcgi {
namespace {

constexpr std::string_view opening = "an opening";

std::string body_of(std::size_t bytes) {
  std::string body(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) body[i] = static_cast<char>(i * 131 >> 4);
  return body;
}

Fd file_with(const std::string& content) {
  Fd file(::memfd_create("body", MFD_CLOEXEC));
  EXPECT_EQ(::write(file.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  return file;
}

// All of it from `offset` on, read at most `at_once` bytes at a time, as a socket takes them.
std::string read_all(RequestSource& source, std::uint64_t offset, std::size_t at_once, std::size_t pieces) {
  std::string all;
  std::vector<iovec> room(pieces);
  while (offset < source.size()) {
    const auto got = source.pieces(offset, room);
    EXPECT_TRUE(got) << got.error().what;
    EXPECT_FALSE(got->empty());
    if (!got || got->empty()) return all;
    std::size_t left = at_once;
    for (const iovec& piece : *got) {
      const std::size_t taken = std::min(left, piece.iov_len);
      all.append(static_cast<const char*>(piece.iov_base), taken);
      left -= taken;
      offset += taken;
    }
  }
  return all;
}

// The content of STDIN records, and whether the empty one ends them.
std::string unpack(std::string_view stream) {
  std::string content;
  RecordReader reader;
  Bytes bytes = as_bytes(stream);
  bool has_ended = false;
  for (;;) {
    const RecordReader::Step step = reader.next(bytes);
    if (step.kind != RecordReader::Kind::fragment) break;
    EXPECT_TRUE(step.header.is(RecordType::stdin_stream));
    EXPECT_FALSE(has_ended);
    has_ended = step.header.content_length == 0;
    content += as_text(step.content);
  }
  EXPECT_TRUE(reader.is_between_records());
  EXPECT_TRUE(has_ended);
  return content;
}

class RequestSourceOf : public testing::TestWithParam<std::size_t> {};

TEST_P(RequestSourceOf, YieldsTheBodyInRecords) {
  const std::string body = body_of(GetParam());
  const Fd file = file_with(body);
  RequestSource from_memory(opening, {.memory = body});
  RequestSource from_file(opening, {.file = file.get(), .file_bytes = body.size()});
  const std::string whole = read_all(from_memory, 0, 1 << 30, 64);
  EXPECT_EQ(whole.size(), from_memory.size());
  EXPECT_TRUE(whole.starts_with(opening));
  EXPECT_EQ(unpack(std::string_view(whole).substr(opening.size())), body);
  EXPECT_EQ(read_all(from_file, 0, 1 << 30, 64), whole);
}

TEST_P(RequestSourceOf, CanBeReadFromAnyOffset) {
  const std::string body = body_of(GetParam());
  const Fd file = file_with(body);
  RequestSource from_memory(opening, {.memory = body});
  RequestSource from_file(opening, {.file = file.get(), .file_bytes = body.size()});
  const std::string whole = read_all(from_memory, 0, 1 << 30, 64);
  for (const std::size_t at_once : {std::size_t{997}, std::size_t{65'537}}) {
    EXPECT_EQ(read_all(from_memory, 0, at_once, 4), whole) << at_once;
    EXPECT_EQ(read_all(from_file, 0, at_once, 4), whole) << at_once;
  }
  for (std::size_t offset = whole.size(); offset-- > 0 && offset + 40 > whole.size();) {
    EXPECT_EQ(read_all(from_file, offset, 1, 64), whole.substr(offset)) << offset;
  }
}

INSTANTIATE_TEST_SUITE_P(, RequestSourceOf,
                         testing::Values(0, 1, 8, 65'527, 65'528, 65'529, 65'536, 131'056, 262'112, 262'113, 700'001));

TEST(RequestSource, KnowsWhereAnAbortMayStand) {
  const std::string body = body_of(65'529);
  RequestSource source(opening, {.memory = body});
  std::vector<std::uint64_t> places;
  for (std::uint64_t offset = 0; offset <= source.size(); ++offset) {
    if (source.is_between_records(offset)) places.push_back(offset);
  }
  EXPECT_EQ(places, (std::vector<std::uint64_t>{10, 10 + 65'536, 10 + 65'536 + 16, 10 + 65'536 + 24}));
}

TEST(RequestSource, SaysThatItsFileIsShort) {
  const Fd file = file_with("abc");
  RequestSource source(opening, {.file = file.get(), .file_bytes = 4});
  std::vector<iovec> room(8);
  const auto pieces = source.pieces(0, room);
  ASSERT_FALSE(pieces);
  EXPECT_EQ(pieces.error().what, "the spooled request body has become shorter");
}

}  // namespace
}  // namespace cppfcgi
