// What a worker may do wrong with an answer, and what the client sees of it: 502 (or what fits better) while nothing
// has gone out, and after that a cut: never an end as if the answer were whole, and never a trace of it in the next
// answer.
#include <gtest/gtest.h>
#include <signal.h>

#include "shared/record.h"
#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

// ---- while nothing has gone out ----

struct Refused {
  const char* name;
  Script script;
  int status;
};
void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.name; }

const std::string good_head = "Content-Type: text/plain\r\n\r\n";

Script good() { return Script().read().out(good_head + "body"); }
Script headed(const std::string& head) { return Script().read().out(head + "\n\nbody").end_of_out().end(); }

const Refused refused[] = {
    // The connection ends.
    {"closeAtOnce", Script().close(), 502},
    {"closeWithoutReading", Script().close(), 502},
    {"closeAfterReading", Script().read().close(), 502},
    {"closeInTheHeader", Script().read().out("Content-Type: te").close(), 502},
    {"closeBehindTheHeader", Script().read().out(good_head).close(), 502},
    {"closeInTheBody", good().close(), 502},
    {"closeBehindTheEmptyOutput", good().end_of_out().close(), 502},
    {"resetInTheBody", good().reset(), 502},
    {"closeInARecordsHeader", good().raw(std::string("\1\6\0\1", 4)).close(), 502},
    {"closeInARecord", good().raw(std::string("\1\6\0\1\0\12\0\0abc", 11)).close(), 502},
    {"closeInEndRequest", good().end_of_out().raw(std::string("\1\3\0\1\0\10\0\0\0\0", 10)).close(), 502},
    // The protocol.
    {"garbage", Script().read().raw("HTTP/1.1 200 OK\r\n\r\nhello").close(), 502},
    {"garbageAndSilence", Script().read().raw("HTTP/1.1 200 OK\r\n\r\nhello").hang(), 502},
    {"zeros", Script().read().raw('\0', 100).close(), 502},
    {"version0", Script().read().record(6, good_head + "body", 0).end(), 502},
    {"version2", Script().read().record(6, good_head + "body", 2).end(), 502},
    {"versionOfEndRequest", good().end_of_out().record(3, std::string(8, '\0'), 3).hang(), 502},
    {"foreignId", Script().read().record(6, good_head + "body", 1, 1).end(), 502},
    {"foreignIdInTheBody", good().record(6, "foreign", 1, 5).end(), 502},
    {"foreignIdOfEndRequest", good().end_of_out().record(3, std::string(8, '\0'), 1, 1).hang(), 502},
    {"outputOfId0", Script().read().record(6, good_head + "body", 1, -1).end(), 502},
    {"unknownType", good().record(42, "what?").end(), 502},
    {"requestFromTheWorker", good().record(1, std::string("\0\1\0\0\0\0\0\0", 8)).end(), 502},
    {"inputFromTheWorker", good().record(5, "input").end(), 502},
    {"endRequestTooShort", good().end_of_out().record(3, std::string(7, '\0')).hang(), 502},
    {"endRequestTooLong", good().end_of_out().record(3, std::string(16, '\0')).hang(), 502},
    {"endRequestEmpty", good().end_of_out().record(3, "").hang(), 502},
    {"outputBehindItsEnd", good().end_of_out().out("more").end(), 502},
    // Protocol status.
    {"cantMultiplex", Script().read().end(0, 1), 503},
    {"overloaded", Script().read().end(0, 2), 503},
    {"unknownRole", Script().read().end(0, 3), 500},
    {"unknownProtocolStatus", Script().read().end(0, 77), 502},
    {"overloadedBehindAnAnswer", good().end_of_out().end(0, 2), 503},
    {"unknownRoleBehindAnAnswer", good().end_of_out().end(0, 3), 500},
    {"unknownProtocolStatusBehindAnAnswer", good().end_of_out().end(0, 200), 502},
    // Nothing, or next to it.
    {"empty", Script().read().end_of_out().end(), 502},
    {"nothingButTheEnd", Script().read().end(), 502},
    {"onlyErrorText", Script().read().err("something went wrong\n").end_of_out().end(), 502},
    {"emptyWithAppStatus", Script().read().end_of_out().end(1), 502},
    // The header.
    {"headerWithoutItsEnd", Script().read().out("Content-Type: text/plain\r\n").end_of_out().end(), 502},
    {"headerCut", Script().read().out("Content-Ty").end_of_out().end(), 502},
    {"noHeaderAtAll", Script().read().out("just text without a header\n").end_of_out().end(), 502},
    {"emptyHeader", Script().read().out("\r\nbody").end_of_out().end(), 502},
    {"lineWithoutAColon", headed("Content-Type: text/plain\nno colon here"), 502},
    {"emptyName", headed("Content-Type: text/plain\n: value"), 502},
    {"blankBeforeTheColon", headed("Content-Type: text/plain\nX-Y : value"), 502},
    {"blankInTheName", headed("Content-Type: text/plain\nX Y: value"), 502},
    {"nulInTheName", headed(std::string("Content-Type: text/plain\nX\0Y: value", 35)), 502},
    {"nulInTheValue", headed(std::string("Content-Type: text/plain\nX-Y: a\0b", 33)), 502},
    {"bareCrInTheValue", headed("Content-Type: text/plain\nX-Y: a\rSet-Cookie: b=c"), 502},
    {"bareCrAtTheBegin", headed("Content-Type: text/plain\n\rX-Y: a"), 502},
    {"controlCharacter", headed("Content-Type: text/plain\nX-Y: a\x01z"), 502},
    {"delete", headed("Content-Type: text/plain\nX-Y: a\x7fz"), 502},
    {"foldedFirstLine", headed(" folded\nContent-Type: text/plain"), 502},
    {"statusIsNoNumber", headed("Status: fine\nContent-Type: text/plain"), 502},
    {"statusTooLow", headed("Status: 99\nContent-Type: text/plain"), 502},
    {"statusTooHigh", headed("Status: 600\nContent-Type: text/plain"), 502},
    {"statusTooLong", headed("Status: 2000\nContent-Type: text/plain"), 502},
    {"statusNegative", headed("Status: -200\nContent-Type: text/plain"), 502},
    {"statusEmpty", headed("Status:\nContent-Type: text/plain"), 502},
    {"twoStatuses", headed("Status: 200\nStatus: 404\nContent-Type: text/plain"), 502},
    {"switchingProtocols", headed("Status: 101\nUpgrade: websocket"), 502},
    {"contentLengthIsNoNumber", headed("Content-Type: text/plain\nContent-Length: four"), 502},
    {"contentLengthNegative", headed("Content-Type: text/plain\nContent-Length: -4"), 502},
    {"contentLengthWithSign", headed("Content-Type: text/plain\nContent-Length: +4"), 502},
    {"contentLengthHex", headed("Content-Type: text/plain\nContent-Length: 0x4"), 502},
    {"contentLengthEmpty", headed("Content-Type: text/plain\nContent-Length:"), 502},
    {"contentLengthHuge", headed("Content-Type: text/plain\nContent-Length: 99999999999999999999"), 502},
    {"contentLengthList", headed("Content-Type: text/plain\nContent-Length: 4, 5"), 502},
    {"twoContentLengths", headed("Content-Type: text/plain\nContent-Length: 4\nContent-Length: 5"), 502},
    {"bodyTooShort", headed("Content-Type: text/plain\nContent-Length: 5"), 502},
    {"headerTooLarge",
     Script().read().out("Content-Type: text/plain\nX-Y: ").out('y', 3'000'000).out("\n\n").end_of_out().end(), 502},
    {"endlessHeader", Script().read().out("Content-Type: text/plain\nX-Y: ").out('y', 50'000'000).hang(), 502},
};

// One server for all: what a case does to it would show in the next.
class BrokenAnswer : public testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new ScriptedServer("-processes 3 -restart-delay 100ms"); }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void TearDown() override { server().check_log(); }
  static ScriptedServer& server() { return *server_; }
  static ScriptedServer* server_;
};
ScriptedServer* BrokenAnswer::server_ = nullptr;

class RefusedAnswer : public BrokenAnswer, public testing::WithParamInterface<Refused> {};

// On one kept connection: the bad answer is an error page of httpd's, and the next request gets its own answer.
TEST_P(RefusedAnswer, IsAnErrorPageAndTheConnectionStaysInStep) {
  const Refused& given = GetParam();
  server().expect_log("cppfcgi:error.*pool");
  server().allow_log("something went wrong");
  for (const char* method : {"GET", "POST"}) {
    HttpConnection connection(server().port());
    Script next = answer("the next answer");
    ASSERT_TRUE(connection.send(request_text(method, given.script.at("/s"))));
    const HttpResponse bad = connection.receive();
    EXPECT_EQ(bad.status, given.status) << method;
    EXPECT_EQ(bad.ending, Ending::whole) << method << ' ' << testing::PrintToString(bad);
    EXPECT_EQ(bad.body.find("worker"), std::string::npos) << testing::PrintToString(bad);
    EXPECT_EQ(bad.has("Retry-After"), given.status == 503);
    if (given.status == 500 || given.status == 503) {
      EXPECT_TRUE(connection.is_closed());  // httpd does so after these
      continue;
    }
    ASSERT_TRUE(connection.send(request_text("GET", next.at("/s"))));
    EXPECT_EQ(connection.receive().body, "the next answer") << method;
  }
  server().expect_well();
}

INSTANTIATE_TEST_SUITE_P(All, RefusedAnswer, testing::ValuesIn(refused),
                         [](const auto& test) { return std::string(test.param.name); });

// ---- after the first byte ----

// What ends an answer in its middle. Each is tried with the beginnings of answers below.
struct Break {
  const char* name;
  Script script;
};
constexpr int curl_http2_stream_error = 92;

const Break breaks[] = {
    {"close", Script().close()},
    {"reset", Script().reset()},
    {"closeBehindTheEmptyOutput", Script().end_of_out().close()},
    {"closeInARecord", Script().raw(std::string("\1\6\0\1\0\12\0\0abc", 11)).close()},
    {"exit", Script().flush().exit(0)},
    {"crash", Script().flush().signal(SIGKILL)},
    {"garbage", Script().raw("garbage, more than a header").hang()},
    {"version2", Script().record(6, "x", 2).hang()},
    {"foreignId", Script().record(6, "x", 1, 1).hang()},
    {"unknownType", Script().record(42, "x").hang()},
    {"endRequestTooShort", Script().end_of_out().record(3, "").hang()},
    {"outputBehindItsEnd", Script().end_of_out().out("more").end()},
    {"overloaded", Script().end_of_out().end(0, 2)},
    {"unknownRole", Script().end_of_out().end(0, 3)},
    {"unknownProtocolStatus", Script().end_of_out().end(0, 9)},
    {"silence", Script().hang()},  // -idle-timeout
};

// How an answer begins, so that a part of it is with the client when it breaks.
struct Beginning {
  const char* name;
  Script script;
};
const Beginning beginnings[] = {
    {"stream", Script().read().out("Content-Type: text/event-stream\n\ndata: 1\n\n").flush()},
    {"unbuffered", Script().read().out("Content-Type: text/plain\nX-Accel-Buffering: no\n\nsome").flush()},
    {"large", Script().read().out("Content-Type: text/plain\n\n").out('l', 1'500'000).flush()},
    {"lengthStream", Script().read().out("Content-Type: text/event-stream\nContent-Length: 100\n\ndata").flush()},
    {"lengthLarge",
     Script().read().out("Content-Type: text/plain\nContent-Length: 3000000\n\n").out('l', 1'500'000).flush()},
};

using CutCase = std::tuple<Beginning, Break>;
void PrintTo(const CutCase& given, std::ostream* out) {
  *out << std::get<0>(given).name << ' ' << std::get<1>(given).name;
}

std::string cut_name(const testing::TestParamInfo<CutCase>& test) {
  return std::string(std::get<0>(test.param).name) + "_" + std::get<1>(test.param).name;
}

class CutAnswer : public testing::TestWithParam<CutCase> {
 protected:
  static void SetUpTestSuite() {
    server_ = new ScriptedServer("-processes 3 -restart-delay 100ms -min-server-life 0 -idle-timeout 300ms",
                                 {.has_http2 = true});
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void SetUp() override {
    server().expect_log("the client's answer is cut");
    server().allow_log("cppfcgi:.*worker [0-9]+ .*of pool");
    server().allow_log("http2:");
  }
  void TearDown() override { server().check_log(); }
  static ScriptedServer& server() { return *server_; }
  // The break comes once the client has seen the beginning.
  std::string target() const {
    return Script(std::get<0>(GetParam()).script).wait_for(seen_).append(std::get<1>(GetParam()).script).at("/s");
  }
  void say_seen() const { write_file(seen_, ""); }
  HttpResponse receive_and_say_seen(HttpConnection& connection) const {
    EXPECT_TRUE(connection.has_input());
    say_seen();
    return connection.receive();
  }

  const Signals folder_;
  const std::string seen_ = folder_ / "seen";
  static ScriptedServer* server_;
};
ScriptedServer* CutAnswer::server_ = nullptr;

TEST_P(CutAnswer, IsNeverWholeOverHttp11) {
  HttpConnection connection(server().port());
  ASSERT_TRUE(connection.send(request_text("GET", target()) + request_text("GET", answer("next").at("/s"))));
  const HttpResponse response = receive_and_say_seen(connection);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.ending, Ending::cut) << testing::PrintToString(response);
  EXPECT_TRUE(connection.is_closed());
  server().expect_well();
}

// Without a length and without chunks, only a reset connection tells a cut from an end.
TEST_P(CutAnswer, IsNeverWholeOverHttp10) {
  HttpConnection connection(server().port());
  ASSERT_TRUE(connection.send("GET " + target() + " HTTP/1.0\r\n\r\n"));
  const HttpResponse response = receive_and_say_seen(connection);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.ending, Ending::cut) << testing::PrintToString(response);
  server().expect_well();
}

TEST_P(CutAnswer, IsNeverWholeOverHttp2) {
  const auto consume = [&](std::string_view) {
    say_seen();
    return true;
  };
  const Fetched fetched = fetch({.url = server().url(target()),
                                 .version = HttpVersion::http2,
                                 .consume = consume,
                                 .within = Milliseconds(10'000)});
  EXPECT_EQ(fetched.status, 200);
  EXPECT_EQ(fetched.curl_code, curl_http2_stream_error) << fetched.error;
  server().expect_well();
}

INSTANTIATE_TEST_SUITE_P(All, CutAnswer, testing::Combine(testing::ValuesIn(beginnings), testing::ValuesIn(breaks)),
                         cut_name);

}  // namespace
}  // namespace cppfcgi::test
