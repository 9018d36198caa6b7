// Requests whose time is over: what their client gets and when, what becomes of the worker, and what of those that wait
// for it. The manager's part, the end of a worker that does not come back, is its own tests' matter.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

bool comes(const std::string& path) {
  return wait_until([&] { return ::access(path.c_str(), F_OK) == 0; });
}

const std::string head = "Content-Type: text/plain\n\n";
constexpr Milliseconds limit(400);
const std::string in_time = "-processes 1 -request-timeout 400ms ";
// Connections to it are kept, and kept ones block in recv().
const std::string kept =
    "-initial-env SCRIPTED_THREADS=8 -initial-env SCRIPTED_VALUES=FCGI_MAX_CONNS=8&FCGI_MAX_REQS=1&FCGI_MPXS_CONNS=0 ";
// Well above the 50 ms that are promised, since the machine may be busy; well below any other time that plays a part.
constexpr Milliseconds slack(350);

struct Asked {
  HttpResponse response;
  Clock::duration time{};
};
Asked ask_and_time(const ScriptedServer& server, const Script& script) {
  const auto began = Clock::now();
  HttpResponse response = server.ask_for(script);
  return {std::move(response), Clock::now() - began};
}

void expect_504_in_time(const Asked& asked) {
  EXPECT_EQ(asked.response.status, 504);
  EXPECT_EQ(asked.response.ending, Ending::whole);
  EXPECT_GE(asked.time, limit);
  EXPECT_LT(asked.time, limit + slack);
}

// The one of two workers that answers while both are idle.
pid_t first_worker(const ScriptedServer& server) {
  const Signals folder;
  HttpConnection other(server.port());
  const Script busy = Script().read().touch(folder / "begun").wait_for(folder / "go").out(head).end_of_out().end();
  EXPECT_TRUE(other.send(request_text("GET", busy.at("/s"))));
  EXPECT_TRUE(comes(folder / "begun"));
  server.expect_well();  // so both are ready
  write_file(folder / "go", "");
  EXPECT_EQ(other.receive().status, 200);
  return std::atoi(server.ask_for(Script().read().out(head).pid().end_of_out().end()).body.c_str());
}

// All its threads, which takes a moment.
bool is_stopped(pid_t pid) {
  const std::filesystem::directory_iterator threads("/proc/" + std::to_string(pid) + "/task");
  return std::all_of(begin(threads), end(threads), [](const auto& thread) {
    return read_file(thread.path().string() + "/status").find("State:\tT") != std::string::npos;
  });
}

class Late : public testing::TestWithParam<const char*> {
 protected:
  static std::string options() { return in_time + GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Connections, Late, testing::Values("", kept.c_str()),
                         [](const auto& test) { return *test.param == '\0' ? "closed" : "kept"; });

TEST_P(Late, ASilentWorkerThatHeedsItsAbortServesOn) {
  ScriptedServer server(options());
  server.expect_log("-request-timeout");
  server.expect_well();
  const std::vector<pid_t> worker = server.workers();
  expect_504_in_time(ask_and_time(server, Script().read().hang().end()));
  server.expect_well();
  EXPECT_EQ(server.workers(), worker);
}

TEST_P(Late, AnAnswerThatHasBegunIsCutAtOnce) {
  ScriptedServer server(options());
  server.expect_log("-request-timeout.*is cut");
  const Asked asked =
      ask_and_time(server, Script().read().out("Content-Type: text/event-stream\n\nsome").flush().hang().end());
  EXPECT_EQ(asked.response.ending, Ending::cut);
  EXPECT_GE(asked.time, limit);
  EXPECT_LT(asked.time, limit + slack);
  server.expect_well();
}

// Bytes are no sign of an end.
TEST_P(Late, AWorkerThatNeverStopsWritingIsLateToo) {
  ScriptedServer server(options());
  server.expect_log("-request-timeout");
  server.allow_log("stderr: ");
  server.allow_log("not logged");
  const Asked asked = ask_and_time(server, Script().read().line('e', 10'000'000).out(head).end_of_out().end());
  EXPECT_EQ(asked.response.status, 504);
  EXPECT_LT(asked.time, limit + slack);
}

TEST_P(Late, AStoppedWorkerCostsOneRequestAndNobodyElse) {
  ScriptedServer server("-processes 2 -request-timeout 400ms " + std::string(GetParam()));
  server.expect_log("-request-timeout");
  server.allow_log("of pool|pool .*worker");
  const pid_t stopped = first_worker(server);
  ASSERT_GT(stopped, 0);
  ASSERT_EQ(::kill(stopped, SIGSTOP), 0);
  ASSERT_TRUE(wait_until([&] { return is_stopped(stopped); }));
  expect_504_in_time(ask_and_time(server, answer("never")));
  for (int i = 0; i < 20; ++i) server.expect_well();
  ::kill(stopped, SIGKILL);
}

TEST_P(Late, TheTimeIsTheWorkersAndNotThatOfTheQueue) {
  ScriptedServer server(options());
  const Signals folder;
  HttpConnection first(server.port());
  HttpConnection second(server.port());
  const auto ask = [&](HttpConnection& client, const std::string& name) {
    const Script script = Script()
                              .read()
                              .touch(folder / (name + " begun"))
                              .wait_for(folder / (name + " go"))
                              .out(head + name)
                              .end_of_out()
                              .end();
    ASSERT_TRUE(client.send(request_text("GET", script.at("/s"))));
  };
  ask(first, "first");
  ASSERT_TRUE(comes(folder / "first begun"));
  ask(second, "second");
  EXPECT_FALSE(second.has_input(Milliseconds(200)));
  write_file(folder / "first go", "");
  EXPECT_EQ(first.receive().body, "first");
  ASSERT_TRUE(comes(folder / "second begun"));
  EXPECT_FALSE(second.has_input(Milliseconds(250)));
  write_file(folder / "second go", "");
  EXPECT_EQ(second.receive().body, "second");
}

TEST(LateRequest, WhoeverWaitsForAWorkerIsServedOnceItHasHeededItsAbort) {
  ScriptedServer server(in_time);
  server.expect_log("-request-timeout");
  const Signals folder;
  HttpConnection late(server.port());
  ASSERT_TRUE(late.send(request_text("GET", Script().read().touch(folder / "begun").hang().end().at("/s"))));
  ASSERT_TRUE(comes(folder / "begun"));
  HttpConnection waiting(server.port());
  ASSERT_TRUE(waiting.send(request_text("GET", answer("served").at("/s"))));
  EXPECT_EQ(late.receive().status, 504);
  EXPECT_EQ(waiting.receive().body, "served");
}

// It has the abort and does not end: marked, it gets no request, though its claim is free again.
TEST(LateRequest, AWorkerThatDoesNotComeBackGetsNoRequest) {
  ScriptedServer server("-processes 2 -idle-timeout 300ms");
  server.expect_log("-idle-timeout");
  server.allow_log("of pool|pool .*worker");
  const Signals folder;
  EXPECT_EQ(server.ask_for(Script().read().pid().touch(folder / "begun").wait_for("/nonexistent/file")).status, 504);
  for (int i = 0; i < 50; ++i) server.expect_well();
  EXPECT_EQ(server.count_log("-idle-timeout"), 1U);
}

TEST(LateRequest, TheClientGetsTheOperatorsOwnPage) {
  ScriptedServer server(in_time, {.config = "ErrorDocument 504 /late.txt\n"});
  server.write("htdocs/late.txt", "come again");
  server.expect_log("-request-timeout");
  const Asked asked = ask_and_time(server, Script().read().hang().end());
  EXPECT_EQ(asked.response.status, 504);
  EXPECT_EQ(asked.response.body, "come again");
  EXPECT_LT(asked.time, limit + slack);
}

// The page is the application's own, and it has one worker, which is late.
TEST(LateRequest, ThePageMayComeFromTheSamePool) {
  ScriptedServer server(in_time, {.config = "ErrorDocument 504 /s/late\n"});
  server.expect_log("-request-timeout");
  const Asked asked = ask_and_time(server, Script().read().hang().end());
  EXPECT_EQ(asked.response.status, 504);
  EXPECT_EQ(asked.response.body, "hello");
}

TEST(LateRequest, OverHttp2TheClientGets504OrAReset) {
  ScriptedServer server(in_time, {.has_http2 = true});
  server.expect_log("-request-timeout");
  server.allow_log("http2:");
  const Fetched page = fetch({.url = server.url(Script().read().hang().end().at("/s")), .version = HttpVersion::http2});
  EXPECT_EQ(page.status, 504);
  EXPECT_TRUE(page.is_whole());
  const Script begun = Script().read().out("Content-Type: text/event-stream\n\nsome").flush().hang().end();
  const Fetched cut = fetch({.url = server.url(begun.at("/s")), .version = HttpVersion::http2});
  EXPECT_FALSE(cut.is_whole());
  server.expect_well();
}

// The client takes its time over an answer that is larger than any buffer between; the worker has long ended its part.
TEST(LateRequest, ASlowClientCostsTheWorkerNoTime) {
  ScriptedServer server(in_time);
  HttpConnection slow(server.port());
  ASSERT_TRUE(slow.send(request_text("GET", Script().read().out(head).out('a', 30'000'000).end_of_out().end().at("/s"),
                                     {"Connection: close"})));
  ASSERT_TRUE(slow.has_input());
  EXPECT_FALSE(wait_until([&] { return server.count_log("-request-timeout") > 0; }, limit + slack));
  EXPECT_EQ(slow.receive().body.size(), 30'000'000U);
}

// The handler's thread is stuck in its write to the client, and the worker is told all the same.
TEST(LateRequest, AClientThatIsStuckDelaysNothing) {
  ScriptedServer server(in_time);
  server.allow_log("-request-timeout");
  server.allow_log("of pool");
  const Signals folder;
  HttpConnection stuck(server.port());
  const Script script = Script()
                            .read()
                            .out(head)
                            .out('a', 30'000'000)
                            .flush()
                            .touch(folder / "written")
                            .hang()
                            .touch(folder / "told")
                            .end();
  ASSERT_TRUE(stuck.send(request_text("GET", script.at("/s"), {"Connection: close"})));
  ASSERT_TRUE(comes(folder / "told"));
  server.expect_well();
  EXPECT_EQ(stuck.receive().ending, Ending::cut);
}

}  // namespace
}  // namespace cppfcgi::test
