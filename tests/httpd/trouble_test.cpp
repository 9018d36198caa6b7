// Workers that die, hang or flood, and clients that go: what becomes of the request at hand, of the next ones, and of
// the worker.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "shared/record.h"
#include "tests/httpd/scripted_server.h"
#include "tests/support/areas.h"

namespace cppfcgi::test {
namespace {

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }
bool comes(const std::string& path) {
  return wait_until([&] { return exists(path); });
}

const std::string head = "Content-Type: text/plain\n\n";

// ---- kill -9 ----

TEST(Killed, WhileIdleNobodyNotices) {
  ScriptedServer server("-processes 2");
  server.expect_log("crashed");
  server.expect_well();
  for (int round = 0; round < 3; ++round) {
    const std::vector<pid_t> workers = server.workers();
    ASSERT_FALSE(workers.empty());
    for (const pid_t worker : workers) ::kill(worker, SIGKILL);
    server.expect_well();
    ASSERT_TRUE(wait_until([&] { return server.workers().size() == 2 && server.workers() != workers; }));
  }
  server.allow_log("of pool");
}

TEST(Killed, BeforeTheAnswerAnIdempotentRequestIsAskedOnceMore) {
  // One worker: with two, the second try may reach the other before it is killed, too, and one more is all it gets.
  ScriptedServer server("-processes 1");
  server.allow_log("of pool");
  server.expect_log("crashed");
  const Signals folder;
  HttpConnection connection(server.port());
  const Script script =
      Script().read().out(head).pid().touch(folder / "begun").wait_for(folder / "go").end_of_out().end();
  ASSERT_TRUE(connection.send(request_text("GET", script.at("/s"))));
  ASSERT_TRUE(comes(folder / "begun"));
  const std::vector<pid_t> before = server.workers();
  for (const pid_t worker : before) ::kill(worker, SIGKILL);
  write_file(folder / "go", "");
  const HttpResponse response = connection.receive();
  EXPECT_EQ(response.status, 200) << testing::PrintToString(response);
  for (const pid_t worker : before) EXPECT_NE(response.body, std::to_string(worker));
}

TEST(Killed, BeforeTheAnswerAPostIsNotAskedAgain) {
  ScriptedServer server("-processes 2");
  server.allow_log("of pool");
  server.expect_log("crashed");
  const Signals folder;
  HttpConnection connection(server.port());
  const Script script = Script().read().touch(folder / "begun").wait_for(folder / "go").out(head).end_of_out().end();
  ASSERT_TRUE(connection.send(request_text("POST", script.at("/s"), {}, "body")));
  ASSERT_TRUE(comes(folder / "begun"));
  for (const pid_t worker : server.workers()) ::kill(worker, SIGKILL);
  EXPECT_EQ(connection.receive("POST").status, 502);
  server.expect_well();
}

TEST(Killed, InTheHeaderTheClientGets502) {
  ScriptedServer server("-processes 2");
  server.allow_log("of pool");
  server.expect_log("crashed");
  const HttpResponse response = server.post_to(Script().read().out("Content-Type: te").flush().signal(SIGKILL), "body");
  EXPECT_EQ(response.status, 502);
  EXPECT_EQ(response.ending, Ending::whole);
  server.expect_well();
}

TEST(Killed, InTheBodyTheAnswerIsCut) {
  ScriptedServer server("-processes 2");
  server.allow_log("of pool");
  server.expect_log("crashed");
  const HttpResponse response =
      server.ask_for(Script().read().out("Content-Type: text/event-stream\n\nsome").flush().signal(SIGKILL));
  EXPECT_NE(response.ending, Ending::whole);
  server.expect_well();
}

TEST(Killed, AllTheTimeNoIdempotentRequestFailsForLong) {
  ScriptedServer server("-processes 4");
  server.allow_log("of pool");
  server.expect_log("crashed");
  std::atomic<bool> is_over{false};
  std::thread killer([&] {
    for (int i = 0; i < 10; ++i) {
      const std::vector<pid_t> workers = server.workers();
      if (!workers.empty()) ::kill(workers[static_cast<std::size_t>(i) % workers.size()], SIGKILL);
      wait_until([&] { return server.workers().size() == 4 && server.workers() != workers; }, Milliseconds(3'000));
    }
    is_over = true;
  });
  int asked = 0, failed = 0;
  for (; !is_over; ++asked) {
    if (server.ask_for(answer("ok")).body != "ok") ++failed;
  }
  killer.join();
  EXPECT_GT(asked, 10);
  EXPECT_EQ(failed, 0) << "of " << asked;
}

// ---- hung ----

TEST(Silent, WorkersEndIn504AtTheIdleTimeout) {
  ScriptedServer server("-processes 1 -idle-timeout 400ms");
  server.expect_log("-idle-timeout");
  const auto began = Clock::now();
  const HttpResponse response = server.ask_for(Script().read().hang());
  EXPECT_EQ(response.status, 504);
  EXPECT_GE(Clock::now() - began, Milliseconds(400));
  EXPECT_LT(Clock::now() - began, Milliseconds(3'000));
  server.expect_well();
}

TEST(Silent, WorkersThatNeverReadEndIn504Too) {
  ScriptedServer server("-processes 1 -idle-timeout 400ms");
  server.expect_log("-idle-timeout");
  EXPECT_EQ(server.post_to(Script().wait_for("/nonexistent/file"), std::string(5'000'000, 'x')).status, 504);
  server.expect_well();
}

// A byte now and then is no silence.
TEST(Silent, SlowWorkersAreNotTakenForHung) {
  ScriptedServer server("-processes 1 -idle-timeout 1s");
  const Signals folder;
  Script script = Script().read().out(head);
  for (int i = 0; i < 4; ++i) script.out("x").flush().wait_for(folder / std::to_string(i));
  HttpConnection connection(server.port());
  ASSERT_TRUE(connection.send(request_text("GET", script.out("end").end_of_out().end().at("/s"))));
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(connection.has_input(Milliseconds(400)));
    write_file(folder / std::to_string(i), "");
  }
  EXPECT_EQ(connection.receive().body, "xxxxend");
}

TEST(Busy, PoolsRefuseAtOnceOnceEnoughWait) {
  ScriptedServer server(
      "-processes 1 -queue 20",
      {.mpm_tuning =
           "StartServers 2\nThreadsPerChild 50\nMaxRequestWorkers 100\nMinSpareThreads 1\nMaxSpareThreads 100"});
  server.expect_log("wait already");
  server.expect_well();  // the worker is ready
  const Signals folder;
  std::vector<HttpConnection> clients;
  for (int i = 0; i < 90; ++i) {
    clients.emplace_back(server.port());
    const Script script = Script().read().wait_for(folder / "go").out(head + "done").end_of_out().end();
    ASSERT_TRUE(clients.back().send(request_text("GET", script.at("/s"), {"Connection: close"})));
  }
  const Areas areas(server.pid());
  const auto refusals = [&] { return areas.load().pools[0].refused.load(); };
  ASSERT_TRUE(wait_until([&] { return refusals() >= 69; })) << refusals();
  write_file(folder / "go", "");
  int refused = 0, served = 0;
  for (HttpConnection& client : clients) {
    const HttpResponse response = client.receive();
    if (response.status == 503 && response.has("Retry-After")) ++refused;
    if (response.body == "done") ++served;
  }
  EXPECT_EQ(refused, 69);
  EXPECT_EQ(served, 21);
  EXPECT_LT(server.count_log("wait already"), 15U) << "a line a second for each of httpd's children";
}

TEST(Busy, WhoWaitsTooLongGets503) {
  ScriptedServer server("-processes 1 -appConnTimeout 300ms");
  server.expect_log("no worker became free within 300 ms .*-queue-timeout");
  const Signals folder;
  HttpConnection first(server.port());
  ASSERT_TRUE(first.send(request_text(
      "GET",
      Script().read().touch(folder / "begun").wait_for(folder / "go").out(head + "done").end_of_out().end().at("/s"))));
  ASSERT_TRUE(comes(folder / "begun"));
  const HttpResponse second = server.ask_for(answer("never"));
  EXPECT_EQ(second.status, 503);
  EXPECT_TRUE(second.has("Retry-After"));
  write_file(folder / "go", "");
  EXPECT_EQ(first.receive().body, "done");
}

TEST(Overloaded, WorkersAreLeftForOthers) {
  ScriptedServer server("-processes 2");
  for (const unsigned status : {1U, 2U}) {
    const HttpResponse response = server.ask_for(Script().read().end(0, status));
    EXPECT_EQ(response.status, 503);
    server.expect_well();
  }
  server.expect_log("protocol status");
}

// ---- both ways at once ----

TEST(FullDuplex, AMebibyteOfAnswerBeforeTenMebibytesAreRead) {
  ScriptedServer server("-processes 1");
  const std::string body(10'485'760, 'b');
  for (const std::size_t bytes : {1'048'576, 5'000'000}) {
    const HttpResponse response =
        server.post_to(Script().out(head).out('a', bytes).flush().read().body_bytes().end_of_out().end(), body);
    EXPECT_EQ(response.status, 200);
    EXPECT_TRUE(response.body == std::string(bytes, 'a') + "10485760") << response.body.size();
  }
}

TEST(FullDuplex, AMegabyteOfErrorTextWhileItReads) {
  ScriptedServer server("-processes 1");
  server.allow_log("stderr: e");
  server.allow_log("not logged");
  const std::string body(10'485'760, 'b');
  const HttpResponse response = server.post_to(
      Script().read_bytes(100'000).line('e', 10'000).flush().read().out(head).body_bytes().end_of_out().end(), body);
  EXPECT_EQ(response.body, "10485760");
  server.expect_log("cppfcgi:.*stderr: eeee");
}

TEST(FullDuplex, AnAnswerWithoutReadingTenMebibytes) {
  ScriptedServer server("-processes 1");
  const HttpResponse response =
      server.post_to(Script().out(head + "early").end_of_out().end(), std::string(10'485'760, 'b'));
  EXPECT_EQ(response.body, "early");
  server.expect_well();
}

// ---- stderr ----

TEST(ErrorText, IsLoggedWithTheClientsAddressInTheHostsLog) {
  ScriptedServer server(
      "-processes 1",
      {.config = "<VirtualHost *>\n  ServerName other.example\n  ErrorLog @ROOT@/logs/other\n</VirtualHost>\n"
                 "<VirtualHost *>\n  ServerName localhost\n</VirtualHost>\n"});
  const Script script =
      Script().read().err("first line\nsecond").err(" half\n").err("no end").out(head + "body").end_of_out().end();
  EXPECT_EQ(server.ask_for(script).body, "body");
  server.expect_log("client 127\\.0\\.0\\.1:[0-9]+\\].*first line");
  server.expect_log("second half");
  server.expect_log("no end");
  EXPECT_EQ(
      ask(server.port(), "GET " + script.at("/s") + " HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n")
          .body,
      "body");
  EXPECT_TRUE(matches(read_file(server.root() + "/logs/other"), "client 127.*first line"));
  EXPECT_EQ(server.count_log("first line"), 1U);
}

TEST(ErrorText, CannotForgeLinesOfTheLog) {
  ScriptedServer server("-processes 1");
  server.expect_log("stderr: innocent");
  server.allow_log("stderr: ");
  server.ask_for(Script()
                     .read()
                     .err("innocent\r[Tue Nov 24 00:00:00 2026] [core:emerg] forged\x1b[31m\n")
                     .out(head)
                     .end_of_out()
                     .end());
  server.wait_for_log("innocent");
  EXPECT_EQ(server.error_log().find("\x1b[31m"), std::string::npos);
  EXPECT_EQ(server.count_log("^\\[Tue Nov 24 00:00:00 2026\\] \\[core:emerg\\] forged"), 0U);
}

TEST(ErrorText, FloodsAreBounded) {
  ScriptedServer server("-processes 1");
  server.allow_log("stderr: ");
  server.expect_log("not logged");
  const HttpResponse response =
      server.ask_for(Script().read().err('f', 50'000'000).out(head + "after the flood").end_of_out().end());
  EXPECT_EQ(response.body, "after the flood");
  EXPECT_LT(server.error_log().size(), 2'000'000U);
}

TEST(ErrorText, WithoutAnAnswerIsNoAnswer) {
  ScriptedServer server("-processes 1");
  server.allow_log("stderr: ");
  server.expect_log("cppfcgi:error");
  EXPECT_EQ(server.ask_for(Script().read().line('e', 1'000).end_of_out().end()).status, 502);
}

// ---- clients that go ----

class Gone : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Mpm, Gone, testing::Values("event", "worker", "prefork"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(Gone, WhileTheWorkerIsBusyItIsToldSo) {
  ScriptedServer server("-processes 1", {.mpm = GetParam()});
  const Signals folder;
  HttpConnection connection(server.port());
  ASSERT_TRUE(connection.send(
      request_text("GET", Script().read().touch(folder / "begun").hang().touch(folder / "told").end().at("/s"))));
  ASSERT_TRUE(comes(folder / "begun"));
  connection.close();
  EXPECT_TRUE(comes(folder / "told"));
  server.expect_well();
}

TEST_P(Gone, InTheMiddleOfAnAnswerFreesTheWorker) {
  ScriptedServer server("-processes 1", {.mpm = GetParam()});
  for (const bool is_reset : {false, true}) {
    const Signals folder;
    HttpConnection connection(server.port());
    const Script script = Script().read().out(head).out('a', 100'000'000).touch(folder / "through").end_of_out().end();
    ASSERT_TRUE(connection.send(request_text("GET", script.at("/s"))));
    connection.receive_bytes(1'000'000);
    if (is_reset) {
      connection.reset();
    } else {
      connection.close();
    }
    server.expect_well();
  }
}

TEST_P(Gone, InTheMiddleOfAStreamFreesTheWorker) {
  ScriptedServer server("-processes 1", {.mpm = GetParam()});
  const Signals folder;
  HttpConnection connection(server.port());
  const Script script =
      Script().read().out("Content-Type: text/event-stream\n\nfirst").flush().hang().touch(folder / "told");
  ASSERT_TRUE(connection.send(request_text("GET", script.at("/s"))));
  connection.receive_until("first");
  connection.close();
  EXPECT_TRUE(comes(folder / "told"));
  server.expect_well();
}

// A client that reads slowly has its own pace; the worker is somebody else's meanwhile.
TEST_P(Gone, OrSlowClientsHoldNoWorker) {
  ScriptedServer server("-processes 1", {.mpm = GetParam()});
  HttpConnection slow(server.port());
  const Script script = Script().read().out(head).out('a', 30'000'000).end_of_out().end();
  ASSERT_TRUE(slow.send(request_text("GET", script.at("/s"))));
  ASSERT_TRUE(slow.has_input());
  server.expect_well();
  const HttpResponse response = slow.receive();
  EXPECT_EQ(response.ending, Ending::whole);
  EXPECT_TRUE(response.body == std::string(30'000'000, 'a')) << response.body.size();
}

TEST(Http2Client, ThatResetsItsStreamFreesTheWorker) {
  ScriptedServer server("-processes 1", {.has_http2 = true});
  server.allow_log("http2:");
  const Signals folder;
  const Script script =
      Script().read().out("Content-Type: text/event-stream\n\nfirst").flush().hang().touch(folder / "told");
  const Fetched fetched =
      fetch({.url = server.url(script.at("/s")), .version = HttpVersion::http2, .consume = [](std::string_view) {
               return false;
             }});
  EXPECT_FALSE(fetched.is_whole());
  EXPECT_TRUE(comes(folder / "told"));
  server.expect_well();
}

// ---- the end of a connection to a worker ----

// One that says it takes more connections than requests, so that they are kept.
const char* const kept =
    "-processes 1 -initial-env SCRIPTED_THREADS=8 "
    "-initial-env SCRIPTED_VALUES=FCGI_MAX_CONNS=8&FCGI_MAX_REQS=1&FCGI_MPXS_CONNS=0";

class AfterTheEnd : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Of, AfterTheEnd, testing::Values("-processes 1", kept),
                         [](const auto& test) { return test.param == kept ? "kept" : "closed"; });

TEST_P(AfterTheEnd, NothingReachesTheNextRequest) {
  ScriptedServer server(GetParam());
  server.allow_log("of pool");
  std::string stray;
  append_stream(stray, RecordType::stdout_stream, 1, head + "stray");
  append_end_request(stray, 1, 0, ProtocolStatus::request_complete);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(server.ask_for(answer("mine").append(Script().raw(stray))).body, "mine");
    server.expect_well();
    EXPECT_EQ(server.ask_for(answer("mine").append(Script().flush().raw("garbage").raw('g', 5'000))).body, "mine");
    server.expect_well();
    EXPECT_EQ(server.ask_for(Script().end().append(answer("late"))).status, 502);
    server.expect_well();
  }
}

}  // namespace
}  // namespace cppfcgi::test
