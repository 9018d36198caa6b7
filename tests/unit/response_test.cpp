// The rules of <cppfcgi/response.h>, on responses made by hand: text() is what a web server would get.
#include <cppfcgi/response.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "worker/src/access.h"

namespace cppfcgi {
namespace {

constexpr std::string_view plain = "Content-Type: text/plain; charset=utf-8\r\n";

std::string finished(Response& response) {
  return detail::Access::finish(response).substr(detail::Access::record_room);
}

TEST(Response, HasHeadersAnEmptyLineAndABody) {
  Response response;
  response.header("Content-Type", "text/html") << "Hello " << std::string("you") << '\n';
  EXPECT_EQ(response.text(), "Content-Type: text/html\r\n\r\nHello you\n");
}

TEST(Response, WritesNumbers) {
  Response response;
  response << 1 << ' ' << -2 << ' ' << std::uint64_t{18446744073709551615u} << ' ' << 0.5 << ' ' << true;
  EXPECT_EQ(response.text(), std::string(plain) + "\r\n1 -2 18446744073709551615 0.5 1");
}

TEST(Response, WritesBytes) {
  Response response;
  const std::byte bytes[] = {std::byte{0}, std::byte{255}};
  response.write(bytes);
  EXPECT_TRUE(response.text().ends_with(std::string_view("\0\xff", 2)));
}

TEST(Response, IsPlainTextUnlessItSaysOtherwise) {
  Response response;
  EXPECT_EQ(finished(response), std::string(plain) + "\r\n");
}

TEST(Response, SaysItsStatusOnlyIfOneWasSet) {
  Response response;
  EXPECT_EQ(response.status_code(), 200);
  response.status(404).header("Content-Type", "x/y") << "no";
  EXPECT_EQ(response.text(), "Content-Type: x/y\r\nStatus: 404 Not Found\r\n\r\nno");
  EXPECT_EQ(response.status_code(), 404);
}

TEST(Response, StatusCanBeAHeader) {
  Response response;
  response.header("status", "418 I am a teapot").header("Content-Type", "x/y");
  EXPECT_EQ(finished(response), "Content-Type: x/y\r\nStatus: 418 I am a teapot\r\n\r\n");
  EXPECT_THROW(response.header("Status", "teapot"), std::logic_error);
}

TEST(Response, ABareRedirectHasNoOtherHeader) {
  Response response;
  response.header("Location", "/there");
  EXPECT_EQ(finished(response), "Location: /there\r\n\r\n");
}

TEST(Response, ARedirectWithABodyHasAType) {
  Response response;
  response.header("Location", "https://example.org/") << "moved";
  EXPECT_EQ(response.text(), "Location: https://example.org/\r\n" + std::string(plain) + "\r\nmoved");
}

TEST(Response, NoContentHasNoType) {
  for (const int code : {204, 304}) {
    Response response;
    response.status(code);
    EXPECT_EQ(finished(response).find("Content-Type"), std::string::npos) << code;
  }
}

TEST(Response, WhatCanBeThereOnceIsReplaced) {
  Response response;
  response.header("Content-Type", "a/b").header("X", "1").header("content-type", "c/d").header("X", "2");
  EXPECT_EQ(finished(response), "X: 1\r\ncontent-type: c/d\r\nX: 2\r\n\r\n");
}

TEST(Response, RefusesWhatWouldForgeAHeader) {
  Response response;
  for (const std::string_view value : {"a\rb", "a\nb", "a\r\nSet-Cookie: x", "a\n"}) {
    EXPECT_THROW(response.header("X", value), std::invalid_argument) << value;
    EXPECT_THROW(response.status(200, value), std::invalid_argument) << value;
  }
  EXPECT_THROW(response.header("X", std::string_view("a\0b", 3)), std::invalid_argument);
  for (const std::string_view name : {"", "a b", "a:", "a\r\nb", "ä", "a\t"}) {
    EXPECT_THROW(response.header(name, "v"), std::invalid_argument) << name;
  }
  for (const int code : {-1, 0, 100, 199, 600, 99999})
    EXPECT_THROW(response.status(code), std::invalid_argument) << code;
  EXPECT_EQ(finished(response), std::string(plain) + "\r\n") << "nothing of it stays";
}

TEST(Response, ItsHeadIsClosedByTheBody) {
  Response response;
  response << "";
  response.header("X", "1");
  response << "body";
  EXPECT_THROW(response.header("Y", "2"), std::logic_error);
  EXPECT_THROW(response.status(404), std::logic_error);
}

TEST(Response, ItsHeadIsClosedByAFlush) {
  Response response;
  response.flush();
  EXPECT_THROW(response.status(404), std::logic_error);
}

TEST(Response, GathersAnythingByHand) {
  Response response;
  const std::string piece(100'000, 'x');
  response << piece << piece;
  EXPECT_EQ(response.text().size(), plain.size() + 2 + 200'000);
  EXPECT_FALSE(response.is_sent());
}

// ---- with a sink, as inside serve() ----

struct Sink final : detail::ResponseSink {
  void send_stdout(std::string& framed, std::string_view more) override {
    sent.push_back(framed.substr(detail::Access::record_room).append(more));
  }
  void send_stderr(std::string_view text) override { logged += text; }
  std::vector<std::string> sent;
  std::string logged;
};

struct Connected {
  Connected() { detail::Access::connect(response, sink); }
  std::string all() {
    std::string text;
    for (const std::string& piece : sink.sent) text += piece;
    return text + finished(response);
  }
  Sink sink;
  Response response;
};

TEST(Response, SmallAnswersWaitForTheEnd) {
  Connected connected;
  connected.response << std::string(60'000, 'x');
  EXPECT_TRUE(connected.sink.sent.empty());
  EXPECT_FALSE(connected.response.is_sent());
}

TEST(Response, LargeAnswersLeaveOnTheWayAndWhole) {
  for (const std::size_t piece : {1'000, 65'000, 65'528, 65'529, 500'000}) {
    Connected connected;
    std::string expected = std::string(plain) + "\r\n";
    for (char letter = 'a'; letter < 'k'; ++letter) {
      connected.response << std::string(piece, letter);
      expected += std::string(piece, letter);
    }
    EXPECT_TRUE(connected.all() == expected) << piece;
    EXPECT_EQ(connected.response.is_sent(), piece > 1'000) << piece;
  }
}

TEST(Response, AFlushSendsWhatIsThere) {
  Connected connected;
  connected.response << "one";
  connected.response.flush();
  connected.response.flush();
  connected.response << "two";
  EXPECT_EQ(connected.sink.sent, (std::vector<std::string>{std::string(plain) + "\r\none"}));
  EXPECT_EQ(connected.all(), std::string(plain) + "\r\nonetwo");
}

TEST(Response, AHeadLongerThanARecordIsKeptWhole) {
  Connected connected;
  const std::string value(70'000, 'v');
  connected.response.header("X", value);
  connected.response << "body";
  EXPECT_EQ(connected.all(), "X: " + value + "\r\n" + std::string(plain) + "\r\nbody");
}

TEST(Response, LogsWholeLines) {
  Connected connected;
  connected.response.log("one");
  connected.response.log("two\n");
  connected.response.log("");
  EXPECT_EQ(connected.sink.logged, "one\ntwo\n");
}

}  // namespace
}  // namespace cppfcgi
