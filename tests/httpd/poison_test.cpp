// Requests that workers die of: how many they may cost, who is refused then and who is not. The table's own rules:
// tests/unit/poison_test.cpp.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "tests/httpd/scripted_server.h"
#include "tests/support/areas.h"

namespace cppfcgi::test {
namespace {

const std::string head = "Content-Type: text/plain\n\n";
const Script crash = Script().read().signal(SIGKILL);

bool comes(const std::string& path) {
  return wait_until([&] { return ::access(path.c_str(), F_OK) == 0; });
}

bool has_any(const std::vector<pid_t>& workers) {
  return std::ranges::any_of(workers, [](pid_t worker) {
    const auto id = process_id(worker);
    return id && is_alive(*id);
  });
}

struct Poison : testing::Test {
  ScriptedServer server{"-processes 4"};

  void SetUp() override { server.allow_log("of pool"); }
  std::size_t deaths() const { return server.count_log("killed by signal 9"); }
  bool has_deaths(std::size_t count) {
    return wait_until([&] { return deaths() >= count; }) && deaths() == count;
  }
  bool is_any_published(const std::vector<pid_t>& workers) const {
    const Areas areas(server.pid());
    return std::ranges::any_of(areas.directory().slots, [&](const SlotRow& row) {
      return std::ranges::find(workers, row.pid.load()) != workers.end();
    });
  }
  // A worker is killed from outside while it has this request; "go" is all that keeps it from a good answer.
  int ask_and_kill(const Script& script, const Signals& folder) {
    HttpConnection client(server.port());
    EXPECT_TRUE(client.send(request_text("POST", script.at("/s"), {}, "body")));
    EXPECT_TRUE(comes(folder / "begun"));
    const std::vector<pid_t> workers = server.workers();
    for (const pid_t worker : workers) ::kill(worker, SIGKILL);
    const int status = client.receive("POST").status;
    // One that is about to die may yet accept the next request; of one that the manager has not missed yet nobody knows
    // whether it did.
    EXPECT_TRUE(wait_until([&] { return !has_any(workers) && !is_any_published(workers); }));
    ::unlink((folder / "begun").c_str());
    return status;
  }
};

TEST_F(Poison, CostsThreeWorkersAndIsRefused) {
  server.expect_log("3 workers in a row died of POST /s.*refused for 60 s");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.post_to(crash, "body").status, 502);
  for (int i = 0; i < 20; ++i) {
    const HttpResponse refused = server.post_to(crash, "body");
    EXPECT_EQ(refused.status, 503);
    const int seconds = std::atoi(refused.header("Retry-After").c_str());
    EXPECT_GT(seconds, 0);
    EXPECT_LE(seconds, 60);
  }
  EXPECT_TRUE(has_deaths(3)) << deaths();
  EXPECT_EQ(server.count_log("workers in a row died"), 1U);
}

TEST_F(Poison, CostsNoMoreWhereItIsTriedAgain) {
  server.expect_log("3 workers in a row died of GET /s");
  EXPECT_EQ(server.ask_for(crash).status, 502);
  EXPECT_EQ(server.ask_for(crash).status, 502) << "its second try would be one too many";
  EXPECT_EQ(server.ask_for(crash).status, 503);
  EXPECT_TRUE(has_deaths(3)) << deaths();
}

TEST_F(Poison, CountsAnAnswerThatItBeganToo) {
  server.expect_log("3 workers in a row died");
  const Script begun = Script().read().out("Content-Type: text/event-stream\n\nsome").flush().signal(SIGKILL);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.ask_for(begun).ending, Ending::cut);
  EXPECT_EQ(server.ask_for(begun).status, 503);
}

TEST_F(Poison, OthersAreServed) {
  server.expect_log("3 workers in a row died");
  for (int i = 0; i < 3; ++i) server.post_to(crash, "body");
  ASSERT_EQ(server.post_to(crash, "body").status, 503);
  for (int i = 0; i < 20; ++i) server.expect_well();
  EXPECT_EQ(server.post_to(answer("ok"), "body").status, 200);
  EXPECT_EQ(server.post_to(crash, "another body").status, 502) << "another request, for all that anybody knows";
  EXPECT_EQ(ask(server.port(), "POST " + crash.at("/s") +
                                   " HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\nContent-Length: "
                                   "4\r\n\r\nbody")
                .status,
            502);
}

TEST_F(Poison, AGoodAnswerBringsItBackToNothing) {
  const Signals folder;
  const Script script =
      Script().read().touch(folder / "begun").wait_for(folder / "go").out(head + "ok").end_of_out().end();
  EXPECT_EQ(ask_and_kill(script, folder), 502);
  EXPECT_EQ(ask_and_kill(script, folder), 502);
  write_file(folder / "go", "");
  EXPECT_EQ(server.post_to(script, "body").body, "ok");
  EXPECT_EQ(Areas(server.pid()).load().poison_count, 0U);
  ::unlink((folder / "go").c_str());
  ::unlink((folder / "begun").c_str());
  EXPECT_EQ(ask_and_kill(script, folder), 502);
  EXPECT_EQ(ask_and_kill(script, folder), 502) << "four deaths, not in a row";
}

// Nobody died: the worker has closed its connection, which is another matter.
TEST_F(Poison, ALostAnswerIsNoDeath) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(server.post_to(Script().read().out("Content-").close(), "body").status, 502);
  EXPECT_EQ(Areas(server.pid()).load().poison_count, 0U);
}

// The body lies in a file: its length, its first and its last 64 KiB tell it from others.
TEST_F(Poison, LargeBodiesAreToldApart) {
  server.expect_log("3 workers in a row died");
  const std::string large(1'000'000, 'b');
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.post_to(crash, large).status, 502);
  EXPECT_EQ(server.post_to(crash, large).status, 503);
  EXPECT_EQ(server.post_to(crash, large + "b").status, 502);
  EXPECT_EQ(server.post_to(crash, "c" + large.substr(1)).status, 502);
}

}  // namespace
}  // namespace cppfcgi::test
