// The rules of <cppfcgi/request.h>, on requests made by hand.
#include <cppfcgi/request.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "worker/src/access.h"

namespace cppfcgi {
namespace {

TEST(Request, GivesItsParamsByName) {
  const Request request({{"A", "1"}, {"EMPTY", ""}, {"A", "2"}});
  EXPECT_EQ(request.param("A"), "1");
  EXPECT_EQ(request.param("B"), "");
  EXPECT_EQ(request.find_param("EMPTY"), "");
  EXPECT_EQ(request.find_param("B"), std::nullopt);
  EXPECT_EQ(request.params().size(), 3u);
  EXPECT_EQ(request.params()[2], (Param{"A", "2"}));
}

TEST(Request, GivesHeadersByTheirOwnNameInAnyCase) {
  const Request request({{"HTTP_USER_AGENT", "x"}, {"CONTENT_TYPE", "text/plain"}, {"HTTP_CONTENT_TYPE", "forged"}});
  EXPECT_EQ(request.header("User-Agent"), "x");
  EXPECT_EQ(request.header("user-agent"), "x");
  EXPECT_EQ(request.header("Content-Type"), "text/plain");
  EXPECT_EQ(request.header("Accept"), "");
  EXPECT_EQ(request.header(""), "");
}

TEST(Request, NamesWhatEveryRequestHas) {
  const Request request(
      {{"REQUEST_METHOD", "GET"}, {"REQUEST_URI", "/a/b?c"}, {"PATH_INFO", "/b"}, {"QUERY_STRING", "c"}});
  EXPECT_EQ(request.method(), "GET");
  EXPECT_EQ(request.uri(), "/a/b?c");
  EXPECT_EQ(request.path(), "/b");
  EXPECT_EQ(request.query(), "c");
}

TEST(Request, MadeByHandStopsWhenItsTokenSays) {
  std::stop_source source;
  const Request request({}, "", source.get_token());
  EXPECT_FALSE(request.stop_token().stop_requested());
  source.request_stop();
  EXPECT_TRUE(request.stop_token().stop_requested());
}

TEST(Body, IsReadAsAStream) {
  Body body("abcdefg");
  char piece[3];
  EXPECT_EQ(body.size(), 7u);
  std::string text;
  while (const std::size_t count = body.read(piece)) text.append(piece, count).append("|");
  EXPECT_EQ(text, "abc|def|g|");
  body.rewind();
  EXPECT_EQ(body.read_all(), "abcdefg");
  EXPECT_EQ(body.read_all(), "");
}

TEST(Body, ReadAllReadsNothingAboveItsLimit) {
  Body body("abc");
  EXPECT_THROW(body.read_all(2), std::length_error);
  EXPECT_EQ(body.read_all(3), "abc");
}

TEST(Body, LiesInAFileAboveItsLimitOfMemoryAndReadsTheSame) {
  for (const std::size_t limit : {0, 1, 5, 6, 11, 12, 100}) {
    Request request;
    detail::Access::append_body(request, std::as_bytes(std::span("hello ", 6)), limit);
    detail::Access::append_body(request, std::as_bytes(std::span("world", 5)), limit);
    EXPECT_EQ(request.body().size(), 11u);
    EXPECT_EQ(request.body().read_all(), "hello world") << limit;
    request.body().rewind();
    EXPECT_EQ(request.body().read_all(), "hello world") << limit;
  }
}

TEST(Body, CannotBeKeptWhereThereIsNoFolder) {
  const char* const before = std::getenv("TMPDIR");
  const std::string kept = before != nullptr ? before : "";
  setenv("TMPDIR", "/nonexistent", 1);
  Request request;
  EXPECT_THROW(detail::Access::append_body(request, std::as_bytes(std::span("x", 1)), 0), std::system_error);
  before != nullptr ? setenv("TMPDIR", kept.c_str(), 1) : unsetenv("TMPDIR");
}

}  // namespace
}  // namespace cppfcgi
