// The rules of mod_cppfcgi/core/answer_head.h.
#include "mod_cppfcgi/core/answer_head.h"

#include <gtest/gtest.h>

#include "tests/support/grind.h"

namespace cppfcgi {
namespace {

using test::grind;
using test::Pieces;
using test::prefixes_say;

constexpr std::size_t limit = 1'000;

std::string describe(const AnswerHead& head) {
  std::string text = std::to_string(head.status());
  if (!head.reason().empty()) text += " " + std::string(head.reason());
  for (std::size_t i = 0; i < head.field_count(); ++i) {
    text += "|" + std::string(head.field(i).name) + ": " + std::string(head.field(i).value);
  }
  return text;
}

// What a head says of these pieces: its fields, or what is wrong; then the first bytes of a body, if any came.
struct Parse {
  std::size_t limit_bytes = limit;
  bool with_body = false;

  std::string operator()(const Pieces& pieces) const {
    AnswerHead head(limit_bytes);
    std::string body;
    AnswerHead::Step step = AnswerHead::Step::need_more;
    for (const std::string_view piece : pieces) {
      Bytes bytes = as_bytes(piece);
      if (step == AnswerHead::Step::need_more) step = head.take(bytes);
      if (step == AnswerHead::Step::complete) body += as_text(bytes);
    }
    switch (step) {
      case AnswerHead::Step::need_more:
        return "more";
      case AnswerHead::Step::broken:
        return std::string("broken: ") + head.why();
      case AnswerHead::Step::complete:
        break;
    }
    return describe(head) + (with_body ? "|" + body : "");
  }
};

void expect_head(std::string_view input, std::string_view said) {
  grind(input, Parse(), std::string(said));
  prefixes_say(input, Parse(), std::string("more"));
}

void expect_broken(std::string_view input, std::string_view why) {
  grind(input, Parse(), "broken: " + std::string(why));
}

TEST(AnswerHead, EndsAtAnEmptyLineOfEitherKind) {
  expect_head("Content-Type: text/plain\r\n\r\n", "200|Content-Type: text/plain");
  expect_head("Content-Type: text/plain\n\n", "200|Content-Type: text/plain");
  expect_head("Content-Type: text/plain\nX: y\r\n\n", "200|Content-Type: text/plain|X: y");
}

TEST(AnswerHead, LeavesTheBody) {
  EXPECT_EQ(Parse{.with_body = true}({"A: b\n\n", "\nbo", "dy"}), "200|A: b|\nbody");
  EXPECT_EQ(Parse{.with_body = true}({"A: b\r\n\r\nbody"}), "200|A: b|body");
}

TEST(AnswerHead, TakesTheStatusAndItsReason) {
  expect_head("Status: 404 Not Here\r\nA: b\r\n\r\n", "404 Not Here|A: b");
  expect_head("STATUS:201\n\n", "201");
}

TEST(AnswerHead, TakesAStatusLine) {
  expect_head("HTTP/1.1 503 Later\r\nA: b\r\n\r\n", "503 Later|A: b");
  expect_head("HTTP/1.0 200\r\n\r\n", "200");
}

TEST(AnswerHead, RefusesAStatusThatIsNone) {
  constexpr const char* why = "its status is no number from 100 to 599";
  for (const char* status : {"", "ok", "20", "2000", "099", "600", "-10", "20x Fine"}) {
    expect_broken("Status: " + std::string(status) + "\n\n", why);
  }
  expect_broken("HTTP/1.1\n\n", why);
}

TEST(AnswerHead, RefusesTwoStatusesThatDiffer) {
  expect_broken("Status: 200\nStatus: 404\n\n", "its header holds two different statuses");
  expect_head("Status: 404\nStatus: 404\n\n", "404");
}

TEST(AnswerHead, TrimsValues) { expect_head("A:\t b c \t\r\nB:\r\n\r\n", "200|A: b c|B: "); }

TEST(AnswerHead, JoinsFoldedLinesWithABlank) {
  expect_head("A: b\r\n  c\r\n\td\r\nE: f\r\n\r\n", "200|A: b c d|E: f");
  expect_head("A:\r\n b\r\n \r\n\r\n", "200|A: b");
}

TEST(AnswerHead, RefusesAFoldedLineWithNothingBeforeIt) {
  expect_broken(" A: b\r\n\r\n", "its header begins with a folded line");
  expect_broken("Status: 200\r\n OK\r\n\r\n", "its header begins with a folded line");
}

TEST(AnswerHead, RefusesControlCharacters) {
  using namespace std::string_view_literals;
  for (const std::string_view line : {"A: b\0c"sv, "A: b\rc"sv, "A\rB: c"sv, "A: \x01"sv, "A: \x7f"sv, "\0: b"sv}) {
    expect_broken(std::string(line) + "\n\n", "its header holds a control character");
  }
  expect_broken("A: b\r\r\n\r\n", "its header holds a control character");
}

TEST(AnswerHead, PassesBytesAboveAscii) { expect_head("A: \xc3\xa4\n\n", "200|A: \xc3\xa4"); }

TEST(AnswerHead, RefusesNamesThatAreNoTokens) {
  for (const char* name : {"", "A B", "A ", "A\t", "(A)", "\xc3\xa4", "\"A\""}) {
    expect_broken(std::string(name) + ": b\n\n", std::string(name).empty() || name[0] != ' '
                                                     ? "its header holds an invalid name"
                                                     : "its header begins with a folded line");
  }
}

TEST(AnswerHead, RefusesALineWithoutAColon) {
  expect_broken("hello world\n\n", "its header holds a line without a colon");
  expect_broken("A: b\n<html>\n\n", "its header holds a line without a colon");
}

TEST(AnswerHead, RefusesAnEmptyHeader) {
  expect_broken("\n", "its header is empty");
  expect_broken("\r\n", "its header is empty");
  expect_broken("Status: 100\n\n\n", "its header is empty");
}

TEST(AnswerHead, SkipsInterimHeaders) {
  expect_head("Status: 103\r\nLink: </a>\r\n\r\nStatus: 100\n\nStatus: 404\nA: b\n\n", "404|A: b");
  expect_head("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n", "200 OK|A: b");
}

TEST(AnswerHead, RefusesAnUpgrade) {
  expect_broken("Status: 101\nUpgrade: x\n\n", "its status is 101, and nobody asked for an upgrade");
}

TEST(AnswerHead, DropsWhatSpeaksOfOneConnection) {
  expect_head(
      "Connection: close, X-Hop\nX-Hop: 1\nKeep-Alive: 5\nTransfer-Encoding: chunked\nTE: x\nTrailer: y\nUpgrade: z\n"
      "Proxy-Authenticate: a\nproxy-connection: b\nA: b\n\n",
      "200|A: b");
}

TEST(AnswerHead, ReadsContentLengthOnce) {
  AnswerHead head(limit);
  Bytes bytes = as_bytes("Content-Length: 12\nContent-Length: 12\n\n");
  EXPECT_EQ(head.take(bytes), AnswerHead::Step::complete);
  EXPECT_EQ(head.content_length(), 12U);
}

TEST(AnswerHead, RefusesAContentLengthThatIsNone) {
  for (const char* length : {"", "x", "-1", "+1", "1 2", "1,1", "0x10", "1234567890123456789012"}) {
    expect_broken("Content-Length: " + std::string(length) + "\n\n", "its Content-Length is no number");
  }
  expect_broken("Content-Length: 1\nContent-Length: 2\n\n", "its Content-Lengths differ");
}

TEST(AnswerHead, HoldsUpToItsLimit) {
  const std::string head = "A: " + std::string(limit - 5, 'x') + "\n\n";
  EXPECT_EQ(head.size(), limit);
  grind(head, Parse(), "200|A: " + std::string(limit - 5, 'x'));
}

TEST(AnswerHead, RefusesMoreThanItsLimit) {
  const std::string why = "broken: its header is larger than the limit";
  const std::string head = "A: " + std::string(limit - 4, 'x') + "\n\n";
  grind(head, Parse(), why, "");
  grind(std::string(limit + 1, 'x'), Parse(), why);
  // Interim headers count.
  std::string interim;
  while (interim.size() <= limit) interim += "Status: 103\n\n";
  grind(interim, Parse(), why);
}

TEST(AnswerHead, FindsFieldsInAnyCase) {
  AnswerHead head(limit);
  Bytes bytes = as_bytes("location: /a\nLocation: /b\n\n");
  head.take(bytes);
  EXPECT_EQ(head.find("LOCATION"), "/a");
  EXPECT_EQ(head.find("Locatio"), "");
}

}  // namespace
}  // namespace cppfcgi
