// Requests with a body: of each size and kind they reach the worker whole or, where the client breaks off, not at all.
// A body is read before a worker is claimed, so slow clients hold none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "shared/record.h"
#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

Script say_body() {
  return Script().read().out("Content-Type: application/octet-stream\n\n").body().end_of_out().end();
}

// Each place has its own byte, so that a gap, a repetition or a shift shows.
std::string body_of(std::size_t bytes) {
  std::string body(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) body[i] = static_cast<char>((i * 7 + i / 251) % 256);
  return body;
}

class RequestBody : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new ScriptedServer(
        "-processes 2", {.has_http2 = true, .config = "<Location /s/limited>\n  LimitRequestBody 1000\n</Location>\n"});
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void TearDown() override {
    // What was spooled is gone once the request is over.
    EXPECT_TRUE(wait_until([&] { return std::filesystem::is_empty(server().root() + "/tmp"); }));
    server().check_log();
  }
  static ScriptedServer& server() { return *server_; }
  std::string reached() const { return signals_ / "reached"; }

  const Signals signals_;
  static ScriptedServer* server_;
};
ScriptedServer* RequestBody::server_ = nullptr;

class BodySize : public RequestBody, public testing::WithParamInterface<std::size_t> {};

TEST_P(BodySize, ArrivesWithALength) {
  const std::string body = body_of(GetParam());
  const HttpResponse response = server().post_to(say_body(), body);
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.body == body) << response.body.size();
}

TEST_P(BodySize, ArrivesInChunks) {
  const std::string body = body_of(GetParam());
  const HttpResponse response = ask(
      server().port(), "POST " + say_body().at("/s") +
                           " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" +
                           chunked(body, 5'000));
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.body == body) << response.body.size();
}

TEST_P(BodySize, ArrivesOverHttp2WithoutALength) {
  const std::string body = body_of(GetParam());
  const Fetched fetched = fetch(
      {.url = server().url(say_body().at("/s")),
       .method = "POST",
       .version = HttpVersion::http2,
       .produce = [&](std::size_t offset,
                      std::size_t count) { return offset < body.size() ? body.substr(offset, count) : std::string(); },
       .body_bytes = -1});
  EXPECT_EQ(fetched.status, 200) << fetched.error;
  EXPECT_TRUE(fetched.body == body) << fetched.body.size();
}

TEST_P(BodySize, ArrivesOverHttp2WithALength) {
  const std::string body = body_of(GetParam());
  const Fetched fetched =
      fetch({.url = server().url(say_body().at("/s")), .method = "PUT", .version = HttpVersion::http2, .body = body});
  EXPECT_EQ(fetched.status, 200) << fetched.error;
  EXPECT_TRUE(fetched.body == body) << fetched.body.size();
}

INSTANTIATE_TEST_SUITE_P(All, BodySize,
                         testing::Values(0, 1, 7, 8, 9, 8'191, 8'192, 65'528, 65'535, 65'536, 65'537, 99'000, 131'070,
                                         131'071, 262'143, 262'144, 262'145, 1'000'000, 10'485'760));

// HAProxy's 16-bit truncation of 2026: what overflowed was read as records.
TEST_F(RequestBody, AForgedRecordInItIsABodyAndNoRecord) {
  for (const std::size_t bytes : {65'536, 99'000}) {
    std::string body = body_of(bytes);
    std::string forged;
    append_record(forged, RecordType::stdin_stream, 1, "");
    append_begin_request(forged, 1, Role::responder, 1);
    for (const std::size_t at : {std::size_t{0}, std::size_t{1'000}, std::size_t{65'527},
                                 std::size_t{65'535} - forged.size(), bytes - forged.size()}) {
      body.replace(at, forged.size(), forged);
    }
    const HttpResponse response = server().post_to(say_body(), body);
    EXPECT_TRUE(response.body == body) << response.body.size();
  }
}

// Given: bytes of a request's body that are no whole body. The worker never sees it.
struct NoBody {
  const char* name;
  const char* header;
  const char* bytes;
  int status;
};
const NoBody no_bodies[] = {
    {"chunkSizeIsNoNumber", "Transfer-Encoding: chunked", "xyz\r\nabc\r\n0\r\n\r\n", 400},
    {"chunkSizeEmpty", "Transfer-Encoding: chunked", "\r\nabc\r\n0\r\n\r\n", 400},
    {"chunkSizeNegative", "Transfer-Encoding: chunked", "-3\r\nabc\r\n0\r\n\r\n", 400},
    {"chunkSizeOverflows", "Transfer-Encoding: chunked", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n", 413},
    {"chunkLongerThanItsSize", "Transfer-Encoding: chunked", "2\r\nabc\r\n0\r\n\r\n", 400},
    {"chunkWithoutItsEnd", "Transfer-Encoding: chunked", "3\r\nabcd\r\n0\r\n\r\n", 400},
    {"lastChunkIsNoNumber", "Transfer-Encoding: chunked", "3\r\nabc\r\nzero\r\n\r\n", 400},
    {"codingUnknown", "Transfer-Encoding: gzip", "abc", 400},
    {"codingThatNobodyUndoes", "Transfer-Encoding: gzip, chunked", "3\r\nabc\r\n0\r\n\r\n", 501},
    {"chunkedTwice", "Transfer-Encoding: chunked, chunked", "3\r\nabc\r\n0\r\n\r\n", 501},
    {"lengthIsNoNumber", "Content-Length: three", "abc", 400},
    {"lengthNegative", "Content-Length: -3", "abc", 400},
    {"twoLengths", "Content-Length: 3\r\nContent-Length: 4", "abcd", 400},
};

class NoWholeBody : public RequestBody, public testing::WithParamInterface<NoBody> {};
void PrintTo(const NoBody& given, std::ostream* out) { *out << given.name; }

TEST_P(NoWholeBody, NeverReachesAWorker) {
  const std::string target = Script().touch(reached()).append(say_body()).at("/s");
  HttpConnection connection(server().port());
  ASSERT_TRUE(connection.send("POST " + target + " HTTP/1.1\r\nHost: localhost\r\n" + GetParam().header + "\r\n\r\n" +
                              GetParam().bytes));
  const HttpResponse response = connection.receive("POST");
  EXPECT_EQ(response.status, GetParam().status) << testing::PrintToString(response);
  server().expect_well();
  EXPECT_FALSE(std::filesystem::exists(reached()));
}

INSTANTIATE_TEST_SUITE_P(All, NoWholeBody, testing::ValuesIn(no_bodies),
                         [](const auto& test) { return std::string(test.param.name); });

struct CutBody {
  const char* name;
  const char* header;
  std::string bytes;
};
const CutBody cut_bodies[] = {
    {"lengthWithoutABody", "Content-Length: 10", ""},
    {"lengthCut", "Content-Length: 10", "12345"},
    {"lengthCutByOne", "Content-Length: 10", "123456789"},
    {"largeCut", "Content-Length: 1000000", std::string(900'000, 'x')},
    {"chunkedWithoutAChunk", "Transfer-Encoding: chunked", ""},
    {"chunkCut", "Transfer-Encoding: chunked", "a\r\n12345"},
    {"betweenChunks", "Transfer-Encoding: chunked", "5\r\n12345\r\n"},
    {"lastChunkCut", "Transfer-Encoding: chunked", "5\r\n12345\r\n0\r\n"},
    {"chunkSizeCut", "Transfer-Encoding: chunked", "5\r\n12345\r\n5"},
};

class BodyCutByTheClient : public RequestBody, public testing::WithParamInterface<CutBody> {
 protected:
  // Waits until httpd has noticed: its line says so.
  void expect_unreached(std::size_t before) {
    EXPECT_TRUE(wait_until([&] { return server().count_log("did not arrive whole") > before; }));
    server().expect_well();
    EXPECT_FALSE(std::filesystem::exists(reached()));
  }
  std::string text() const {
    return "POST " + Script().touch(reached()).append(say_body()).at("/s") + " HTTP/1.1\r\nHost: localhost\r\n" +
           GetParam().header + "\r\n\r\n" + GetParam().bytes;
  }
};
void PrintTo(const CutBody& given, std::ostream* out) { *out << given.name; }

TEST_P(BodyCutByTheClient, NeverReachesAWorker) {
  const std::size_t before = server().count_log("did not arrive whole");
  HttpConnection connection(server().port());
  ASSERT_TRUE(connection.send(text()));
  connection.shut_down_sending();
  EXPECT_NE(connection.receive("POST").status, 200);
  expect_unreached(before);
}

TEST_P(BodyCutByTheClient, NeverReachesAWorkerWhereTheConnectionIsReset) {
  const std::size_t before = server().count_log("did not arrive whole");
  HttpConnection connection(server().port());
  ASSERT_TRUE(connection.send(text()));
  connection.reset();
  expect_unreached(before);
}

INSTANTIATE_TEST_SUITE_P(All, BodyCutByTheClient, testing::ValuesIn(cut_bodies),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_F(RequestBody, Http2StreamsThatAreResetNeverReachAWorker) {
  const std::string target = Script().touch(reached()).append(say_body()).at("/s");
  const Fetched fetched = fetch({.url = server().url(target),
                                 .method = "POST",
                                 .version = HttpVersion::http2,
                                 .produce = [](std::size_t, std::size_t) { return std::string(1'000, 'x'); },
                                 .body_bytes = 1'000'000'000,
                                 .within = Milliseconds(300)});
  EXPECT_FALSE(fetched.is_whole());
  server().expect_well();
  EXPECT_FALSE(std::filesystem::exists(reached()));
  server().allow_log("http2:");
}

TEST_F(RequestBody, ExpectIsAnsweredBeforeTheBodyComes) {
  HttpConnection connection(server().port());
  ASSERT_TRUE(connection.send("POST " + say_body().at("/s") +
                              " HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
  EXPECT_EQ(connection.receive_bytes(25).substr(0, 21), "HTTP/1.1 100 Continue");
  ASSERT_TRUE(connection.send("12345"));
  const HttpResponse response = connection.receive("POST");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "12345");
}

TEST_F(RequestBody, AboveTheLimitIsRefused) {
  const std::string target = Script().touch(reached()).append(say_body()).at("/s/limited");
  EXPECT_EQ(post(server().port(), target, body_of(1'001)).status, 413);
  const std::string in_chunks =
      "POST " + target + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body_of(1'001));
  EXPECT_EQ(ask(server().port(), in_chunks, "POST").status, 413);
  EXPECT_FALSE(std::filesystem::exists(reached()));
  EXPECT_EQ(post(server().port(), say_body().at("/s/limited"), body_of(1'000)).status, 200);
  server().allow_log("AH01587|AH01588|LimitRequestBody|larger than the configured limit");
}

TEST_F(RequestBody, AboveTheLimitIsRefusedBeforeItComes) {
  HttpConnection connection(server().port());
  ASSERT_TRUE(connection.send("POST " + say_body().at("/s/limited") +
                              " HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"));
  const HttpResponse response = connection.receive("POST");
  EXPECT_EQ(response.status, 413);
  EXPECT_TRUE(response.interim.empty());
  server().allow_log("AH01587|AH01588|LimitRequestBody|larger than the configured limit");
}

TEST_F(RequestBody, AnUnreadBodyDoesNotReachTheNextRequest) {
  HttpConnection connection(server().port());
  const Script unread = Script().out("Content-Type: text/plain\n\nunread").end_of_out().end();
  ASSERT_TRUE(connection.send(request_text("POST", unread.at("/s"), {}, body_of(200'000)) +
                              request_text("GET", answer("next").at("/s"))));
  EXPECT_EQ(connection.receive("POST").body, "unread");
  EXPECT_EQ(connection.receive().body, "next");
}

// Two workers, ten clients that stop in the middle of their body: the eleventh is answered all the same.
TEST_F(RequestBody, SlowClientsHoldNoWorker) {
  std::vector<HttpConnection> slow;
  const std::string body = body_of(100'000);
  for (int i = 0; i < 10; ++i) {
    slow.emplace_back(server().port());
    const std::string text = request_text("POST", say_body().at("/s"), {}, body);
    ASSERT_TRUE(slow.back().send(std::string_view(text).substr(0, text.size() - 100)));
  }
  server().expect_well();
  for (HttpConnection& connection : slow) {
    ASSERT_TRUE(connection.send(std::string_view(body).substr(body.size() - 100)));
    EXPECT_TRUE(connection.receive("POST").body == body);
  }
}

TEST_F(RequestBody, AGetMayHaveOne) {
  const HttpResponse response = ask(
      server().port(), request_text("GET", say_body().at("/s"), {"Connection: close", "Content-Length: 4"}) + "body");
  EXPECT_EQ(response.body, "body");
}

// Done by a process of the same user: a container's root may not do so to others.
bool limit_descriptors(pid_t process, int count) {
  Process prlimit({.command = {"prlimit", "--pid", std::to_string(process), "--nofile=" + std::to_string(count) + ":"},
                   .user = "www-data"});
  return prlimit.wait() == 0;
}

// It may have one when others have ended, and the client may come again.
TEST(Spooling, WithoutADescriptorLeftIsToldToComeAgain) {
  ScriptedServer server("-processes 1", {.mpm_tuning = "StartServers 1\nServerLimit 1\nThreadsPerChild 8\n"
                                                       "MaxRequestWorkers 8\nMinSpareThreads 1\nMaxSpareThreads 8"});
  server.expect_log("cannot be spooled: .*Too many open files.*ulimit");
  server.expect_well();
  const std::string body = body_of(1'000'000);
  HttpConnection client(server.port());
  ASSERT_TRUE(client.send("POST " + say_body().at("/s") +
                          " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\n"
                          "Content-Length: 1000000\r\n\r\n"));
  EXPECT_THAT(client.receive_until("\r\n\r\n"), testing::HasSubstr("100 Continue"));
  const pid_t child = server.httpd_children().front();
  ASSERT_TRUE(limit_descriptors(child, 0));
  client.send(body);
  const HttpResponse refused = client.receive();
  EXPECT_TRUE(limit_descriptors(child, 1'000));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("Retry-After"), "1");
  EXPECT_EQ(server.post_to(say_body(), body).body.size(), body.size()) << "once there is one";
}

}  // namespace
}  // namespace cppfcgi::test
