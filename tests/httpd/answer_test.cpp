// Good answers, and odd ones that have a meaning all the same: what the client gets of them. Broken ones:
// broken_answer_test.cpp.
#include <gtest/gtest.h>

#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

Script headed(const std::string& head, const std::string& body = "body") {
  return Script().read().out(head + "\n\n" + body).end_of_out().end();
}

class Answer : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new ScriptedServer("-processes 2", {.config = "ErrorDocument 404 \"httpd's own page\"\n"});
    server_->write("htdocs/page.txt", "a page of httpd's");
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void TearDown() override { server().check_log(); }
  static ScriptedServer& server() { return *server_; }

  // The answer, and that the next one on the same connection is in step.
  static HttpResponse ask_in_step(const Script& script, const std::string& method = "GET",
                                  const std::vector<std::string>& header_lines = {}) {
    HttpConnection connection(server().port());
    EXPECT_TRUE(connection.send(request_text(method, script.at("/s"), header_lines)));
    HttpResponse response = connection.receive(method);
    EXPECT_TRUE(connection.send(request_text("GET", answer("the next answer").at("/s"))));
    EXPECT_EQ(connection.receive().body, "the next answer");
    return response;
  }
  static ScriptedServer* server_;
};
ScriptedServer* Answer::server_ = nullptr;

// ---- how it comes ----

struct Transport {
  const char* name;
  Script script;
};
void PrintTo(const Transport& transport, std::ostream* out) { *out << transport.name; }
const std::string text = "Content-Type: text/plain\n\n";
const Transport transports[] = {
    {"oneRecord", Script().read().out(text + "body").end_of_out().end()},
    {"crLf", Script().read().out("Content-Type: text/plain\r\n\r\nbody").end_of_out().end()},
    {"aByteARecord", Script().read().pieces(1).out(text + "body").end_of_out().end()},
    {"aByteASegment", Script()
                          .read()
                          .out("Content-Type: text/plain\n")
                          .flush()
                          .out("\n")
                          .flush()
                          .out("bo")
                          .flush()
                          .out("dy")
                          .end_of_out()
                          .end()},
    {"withoutTheEmptyOutput", Script().read().out(text + "body").end()},
    {"withTheEmptyErrorOutput", Script().read().out(text + "body").end_of_out().record(7, "").end()},
    {"mostPadding", Script().read().padded(255).out(text + "body").end_of_out().end()},
    {"noPadding", Script().read().padded(0).out(text + "body").end_of_out().end()},
    {"appStatus", Script().read().out(text + "body").end_of_out().end(1)},
    {"appStatusNegative", Script().read().out(text + "body").end_of_out().end(4'294'967'295)},
    {"beforeReading", Script().out(text + "body").end_of_out().end()},
    {"managementRecordBetween", Script().read().out(text).record(10, "", 1, -1).out("body").end_of_out().end()},
    {"unknownTypeRecordBetween",
     Script().read().out(text).record(11, std::string("\2\0\0\0\0\0\0\0", 8), 1, -1).out("body").end_of_out().end()},
    {"foldedHeader", headed("Content-Type: text/plain\nX-Folded: a\n  b")},
    {"closeBehindTheEnd", Script().read().out(text + "body").end_of_out().end().close()},
    {"silenceBehindTheEnd", Script().read().out(text + "body").end_of_out().end().hang()},
    {"exitBehindTheEnd", Script().read().out(text + "body").end_of_out().end().flush().exit(0)},
};

class TransportedAnswer : public Answer, public testing::WithParamInterface<Transport> {};

TEST_P(TransportedAnswer, IsWhole) {
  for (const char* method : {"GET", "POST"}) {
    const HttpResponse response = ask_in_step(GetParam().script, method);
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.ending, Ending::whole);
    EXPECT_EQ(response.body, "body");
    EXPECT_EQ(response.header("Content-Type"), "text/plain");
  }
  server().allow_log("worker .* exit");
}

INSTANTIATE_TEST_SUITE_P(All, TransportedAnswer, testing::ValuesIn(transports),
                         [](const auto& test) { return std::string(test.param.name); });

class AnswerSize : public Answer, public testing::WithParamInterface<std::size_t> {};

TEST_P(AnswerSize, ArrivesWhole) {
  for (const bool has_length : {false, true}) {
    const std::string length = has_length ? "Content-Length: " + std::to_string(GetParam()) + "\n" : "";
    const HttpResponse response = ask_in_step(
        Script().read().out("Content-Type: text/plain\n" + length + "\n").out('a', GetParam()).end_of_out().end());
    EXPECT_EQ(response.ending, Ending::whole);
    EXPECT_TRUE(response.body == std::string(GetParam(), 'a')) << response.body.size();
  }
}
INSTANTIATE_TEST_SUITE_P(All, AnswerSize,
                         testing::Values(0, 1, 65'534, 65'535, 65'536, 131'071, 262'143, 262'144, 262'145, 524'289,
                                         1'048'576, 20'000'000));

TEST_F(Answer, HeaderOf70000BytesPasses) {
  const HttpResponse response = ask_in_step(
      Script().read().out("Content-Type: text/plain\nX-Large: ").out('y', 70'000).out("\n\nbody").end_of_out().end());
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.header("X-Large"), std::string(70'000, 'y'));
  EXPECT_EQ(response.body, "body");
}

TEST_F(Answer, ManyHeadersPass) {
  Script script = Script().read().out("Content-Type: text/plain\n");
  for (int i = 0; i < 100; ++i) script.out("Set-Cookie: c" + std::to_string(i) + "=v\n");
  const HttpResponse response = ask_in_step(script.out("\nbody").end_of_out().end());
  ASSERT_EQ(response.all("Set-Cookie").size(), 100U);
  EXPECT_EQ(response.all("Set-Cookie")[99], "c99=v");
}

// ---- what it means ----

TEST_F(Answer, StatusAndReasonAreTheApplications) {
  const HttpResponse response = ask_in_step(headed("Status: 418 I am a teapot\nContent-Type: text/plain"));
  EXPECT_EQ(response.status, 418);
  EXPECT_EQ(response.reason, "I am a teapot");
  EXPECT_EQ(response.body, "body");
}

class AnyStatus : public Answer, public testing::WithParamInterface<int> {};

// The application's own page stands, whatever its status; httpd's is not in its place.
TEST_P(AnyStatus, KeepsItsBody) {
  const HttpResponse response =
      server().ask_for(headed("Status: " + std::to_string(GetParam()) + "\nContent-Type: text/plain"));
  EXPECT_EQ(response.status, GetParam());
  EXPECT_EQ(response.body, "body");
}
INSTANTIATE_TEST_SUITE_P(All, AnyStatus,
                         testing::Values(200, 201, 202, 203, 206, 207, 300, 307, 308, 400, 401, 403, 404, 405, 409, 410,
                                         413, 418, 422, 429, 451, 500, 501, 502, 503, 504, 507, 511, 599));

TEST_F(Answer, TwoStatusLinesAsNphWritesThemMeanTheSame) {
  const HttpResponse response = ask_in_step(headed("HTTP/1.1 404 Nowhere\nContent-Type: text/plain"));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.body, "body");
}

TEST_F(Answer, LocationWithAPathIsALocalRedirect) {
  const HttpResponse response = ask_in_step(headed("Location: /page.txt", ""));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "a page of httpd's");
}

TEST_F(Answer, ALocalRedirectOfAPostIsAGetWithoutABody) {
  const Script second = Script()
                            .read()
                            .out("Content-Type: text/plain\n\n")
                            .param("REQUEST_METHOD")
                            .out(" ")
                            .body_bytes()
                            .out(" ")
                            .param("CONTENT_LENGTH")
                            .end_of_out()
                            .end();
  const HttpResponse response =
      server().post_to(Script().read().out("Location: " + second.at("/s") + "\n\n").end_of_out().end(), "the body");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "GET 0 ");
}

TEST_F(Answer, LocationWithAUrlIs302) {
  const HttpResponse response = ask_in_step(headed("Location: http://elsewhere.example/x", ""));
  EXPECT_EQ(response.status, 302);
  EXPECT_EQ(response.header("Location"), "http://elsewhere.example/x");
}

TEST_F(Answer, LocationWithAStatusIsTheApplications) {
  const HttpResponse response =
      ask_in_step(headed("Status: 303 See Other\nLocation: /page.txt\nContent-Type: text/plain"));
  EXPECT_EQ(response.status, 303);
  EXPECT_EQ(response.header("Location"), "/page.txt");
  EXPECT_EQ(response.body, "body");
  EXPECT_EQ(ask_in_step(headed("Status: 201 Created\nLocation: /page.txt\nContent-Type: text/plain")).status, 201);
}

TEST_F(Answer, OfAHeadHasNoBody) {
  for (const char* head : {"Content-Type: text/plain", "Content-Type: text/plain\nContent-Length: 4",
                           "Content-Type: text/plain\nContent-Length: 400"}) {
    const HttpResponse response = ask_in_step(headed(head), "HEAD");
    EXPECT_EQ(response.status, 200) << head;
    EXPECT_EQ(response.header("Content-Type"), "text/plain");
  }
  EXPECT_EQ(ask_in_step(headed("Content-Type: text/plain\nContent-Length: 400", ""), "HEAD").header("Content-Length"),
            "400");
}

TEST_F(Answer, OfAHeadMayBeLargeAllTheSame) {
  const HttpResponse response =
      ask_in_step(Script().read().out("Content-Type: text/plain\n\n").out('a', 3'000'000).end_of_out().end(), "HEAD");
  EXPECT_EQ(response.status, 200);
}

TEST_F(Answer, WithoutContentHasNoBody) {
  for (const char* head : {"Status: 204 No Content", "Status: 204 No Content\nContent-Length: 4",
                           "Status: 204\nContent-Type: text/plain"}) {
    const HttpResponse response = ask_in_step(headed(head));
    EXPECT_EQ(response.status, 204) << head;
    EXPECT_FALSE(response.has("Transfer-Encoding"));
  }
}

TEST_F(Answer, NotModifiedHasNoBody) {
  for (const char* head : {"Status: 304 Not Modified\nETag: \"x\"", "Status: 304 Not Modified\nContent-Length: 4"}) {
    EXPECT_EQ(ask_in_step(headed(head)).status, 304) << head;
  }
}

TEST_F(Answer, MetConditionsAre304) {
  const Script tagged = headed("Content-Type: text/plain\nETag: \"x\"");
  EXPECT_EQ(ask_in_step(tagged, "GET", {"If-None-Match: \"x\""}).status, 304);
  EXPECT_EQ(ask_in_step(tagged, "GET", {"If-None-Match: \"y\""}).body, "body");
  EXPECT_EQ(ask_in_step(tagged, "GET", {"If-Match: \"y\""}).status, 412);
  const Script dated = headed("Content-Type: text/plain\nLast-Modified: Tue, 01 Jan 2019 00:00:00 GMT");
  EXPECT_EQ(ask_in_step(dated, "GET", {"If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT"}).status, 304);
  EXPECT_EQ(ask_in_step(dated, "GET", {"If-Modified-Since: Mon, 01 Jan 2018 00:00:00 GMT"}).body, "body");
}

// It would be the year 1970, and whoever asks "since then?" would hear "no" for ever.
TEST_F(Answer, ALastModifiedThatIsNoDateIsDropped) {
  const Script script = headed("Content-Type: text/plain\nLast-Modified: yesterday");
  EXPECT_FALSE(ask_in_step(script).has("Last-Modified"));
  EXPECT_EQ(ask_in_step(script, "GET", {"If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT"}).body, "body");
}

TEST_F(Answer, InterimOnesAreNotFinal) {
  const HttpResponse response = ask_in_step(Script()
                                                .read()
                                                .out("Status: 103 Early Hints\nLink: </a.css>\n\n")
                                                .out("Status: 100\n\n")
                                                .out("Status: 200\nContent-Type: text/plain\n\nbody")
                                                .end_of_out()
                                                .end());
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "body");
}

TEST_F(Answer, AnInterimOneAloneIsNoAnswer) {
  server().expect_log("cppfcgi:error");
  EXPECT_EQ(ask_in_step(Script().read().out("Status: 103 Early Hints\nLink: </a.css>\n\n").end_of_out().end()).status,
            502);
}

TEST_F(Answer, RangesAreHttpds) {
  const Script script = headed("Content-Type: text/plain\nContent-Length: 10", "0123456789");
  const HttpResponse part = ask_in_step(script, "GET", {"Range: bytes=2-4"});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "234");
  EXPECT_EQ(part.header("Content-Range"), "bytes 2-4/10");
  EXPECT_EQ(ask_in_step(script, "GET", {"Range: bytes=20-30"}).status, 416);
}

TEST_F(Answer, RangesMayBeTheApplications) {
  const HttpResponse part = ask_in_step(headed("Status: 206\nContent-Type: text/plain\nContent-Range: bytes 2-5/10"),
                                        "GET", {"Range: bytes=2-5"});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "body");
  EXPECT_EQ(part.header("Content-Range"), "bytes 2-5/10");
}

// ---- what it must not bring about ----

TEST_F(Answer, HopByHopHeadersAreDropped) {
  const HttpResponse response =
      ask_in_step(headed("Content-Type: text/plain\nConnection: X-Hop, close\nX-Hop: 1\nKeep-Alive: "
                         "timeout=99\nUpgrade: websocket\nTE: trailers\nTrailer: X-T\n"
                         "Proxy-Authenticate: Basic\nProxy-Connection: close\nX-Stays: 1"));
  EXPECT_EQ(response.body, "body");
  for (const char* name : {"X-Hop", "Upgrade", "TE", "Trailer", "Proxy-Authenticate", "Proxy-Connection"})
    EXPECT_FALSE(response.has(name)) << name;
  EXPECT_EQ(response.header("Keep-Alive").find("99"), std::string::npos);
  EXPECT_EQ(response.header("X-Stays"), "1");
}

TEST_F(Answer, TransferEncodingIsHttpds) {
  for (const char* coding : {"chunked", "gzip", "identity", "chunked, chunked"}) {
    const HttpResponse response =
        ask_in_step(headed(std::string("Content-Type: text/plain\nTransfer-Encoding: ") + coding));
    EXPECT_EQ(response.ending, Ending::whole);
    EXPECT_EQ(response.body, "body") << coding;
  }
}

TEST_F(Answer, LongerThanItsContentLengthIsClipped) {
  server().expect_log("longer than its Content-Length");
  const HttpResponse response = ask_in_step(headed("Content-Type: text/plain\nContent-Length: 2"));
  EXPECT_EQ(response.body, "bo");
  EXPECT_EQ(response.header("Content-Length"), "2");
}

TEST_F(Answer, LongerThanItsContentLengthIsClippedInAStreamToo) {
  server().expect_log("longer than its Content-Length");
  const HttpResponse response = ask_in_step(Script()
                                                .read()
                                                .out("Content-Type: text/event-stream\nContent-Length: 2\n\nb")
                                                .flush()
                                                .out("ody, and another answer")
                                                .flush()
                                                .end_of_out()
                                                .end());
  EXPECT_EQ(response.body, "bo");
}

TEST_F(Answer, TheSameContentLengthTwiceIsOne) {
  const HttpResponse response = ask_in_step(headed("Content-Type: text/plain\nContent-Length: 4\nContent-Length: 4"));
  EXPECT_EQ(response.all("Content-Length"), std::vector<std::string>{"4"});
  EXPECT_EQ(response.body, "body");
}

// ---- streams ----

TEST_F(Answer, AStreamComesAsItIsWritten) {
  const Signals folder;
  for (const char* head : {"Content-Type: text/event-stream", "Content-Type: text/plain\nX-Accel-Buffering: no"}) {
    const std::string go = folder / ("go" + std::to_string(std::string(head).size()));
    HttpConnection connection(server().port());
    const Script script =
        Script().read().out(std::string(head) + "\n\nfirst").flush().wait_for(go).out("second").end_of_out().end();
    ASSERT_TRUE(connection.send(request_text("GET", script.at("/s"))));
    const std::string seen = connection.receive_until("first");
    EXPECT_NE(seen.find("first"), std::string::npos) << seen;
    EXPECT_EQ(seen.find("X-Accel"), std::string::npos);
    write_file(go, "");
    EXPECT_NE(connection.receive_until("second").find("second"), std::string::npos);
  }
}

TEST(Flush, StreamsEveryAnswerOfThePool) {
  ScriptedServer server("-processes 1 -flush");
  const Signals folder;
  HttpConnection connection(server.port());
  const Script script = Script()
                            .read()
                            .out("Content-Type: text/plain\n\nfirst")
                            .flush()
                            .wait_for(folder / "go")
                            .out("second")
                            .end_of_out()
                            .end();
  ASSERT_TRUE(connection.send(request_text("GET", script.at("/s"))));
  EXPECT_NE(connection.receive_until("first").find("first"), std::string::npos);
  write_file(folder / "go", "");
  EXPECT_NE(connection.receive_until("second").find("second"), std::string::npos);
}

TEST(Nph, TheApplicationWritesTheStatusLine) {
  ScriptedServer server("-processes 1 -nph");
  const HttpResponse response = server.ask_for(headed("HTTP/1.1 203 Mine\nContent-Type: text/plain\nX-Own: 1"));
  EXPECT_EQ(response.status, 203);
  EXPECT_EQ(response.header("X-Own"), "1");
  EXPECT_EQ(response.body, "body");
  EXPECT_EQ(response.ending, Ending::whole);
}

}  // namespace
}  // namespace cppfcgi::test
