// What is tried again, how often, and what its client is told in the end: 503 promises that nothing has begun.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "tests/httpd/scripted_server.h"
#include "tests/support/areas.h"

namespace cppfcgi::test {
namespace {

bool comes(const std::string& path) {
  return wait_until([&] { return ::access(path.c_str(), F_OK) == 0; });
}

const std::string head = "Content-Type: text/plain\n\n";

// ---- -retries ----

class Retries : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Number, Retries, testing::Values(0, 1, 2), testing::PrintToStringParamName());

TEST_P(Retries, AreHowManyMoreWorkersAnIdempotentRequestMayTake) {
  ScriptedServer server("-processes 4 -retries " + std::to_string(GetParam()));
  server.allow_log("pool ");
  EXPECT_EQ(server.ask_for(Script().read().signal(SIGKILL)).status, 502);
  server.expect_well();
  const auto crashed = [&] { return static_cast<int>(server.count_log("killed by signal 9")); };
  EXPECT_TRUE(wait_until([&] { return crashed() == 1 + GetParam(); })) << crashed();
  EXPECT_EQ(server.count_log("worker [0-9]+ (.pid [0-9]+. )?of pool .*the client gets 502"), 1U);
}

TEST(Retry, OfWhatNoWorkerBeginsIsNotCounted) {
  ScriptedServer server("-processes 2 -retries 0");
  server.expect_log("protocol status");
  EXPECT_EQ(server.ask_for(Script().read().end(0, 2)).status, 503);
  EXPECT_GT(server.count_log("trying another worker"), 1U);
}

// ---- 503 promises that nothing has begun ----

TEST(Retry, WhatMayHaveBegunGets502WhereNoOtherWorkerCanBeHad) {
  ScriptedServer server("-processes 1 -appConnTimeout 300ms");
  server.allow_log("pool ");
  const Signals folder;
  HttpConnection client(server.port());
  const Script script = Script().read().touch(folder / "begun").wait_for(folder / "go").signal(SIGKILL);
  ASSERT_TRUE(client.send(request_text("GET", script.at("/s"))));
  ASSERT_TRUE(comes(folder / "begun"));
  std::filesystem::rename(server.root() + "/bin/scripted", server.root() + "/bin/away");
  write_file(folder / "go", "");
  EXPECT_EQ(client.receive().status, 502);
  // No worker came in time, none is tried just now, or the second was lost as well.
  server.expect_log("worker 0 .pid [0-9]+. of pool .*the client gets 502");
}

// ---- the breaker ----

// Its workers end before they are ready, and what the manager says about that is written in its place.
TEST(Breaker, RefusesWhoeverComesAndWhoeverWaits) {
  ScriptedServer server("-processes 1 -initial-env \"SCRIPTED_START=exit 1\"");
  server.allow_log("pool ");
  server.expect_log("no worker gets ready");
  const Areas areas(server.pid());
  HttpConnection waiting(server.port());
  ASSERT_TRUE(waiting.send(request_text("GET", answer("never").at("/s"))));
  PoolLoad& queue = areas.load().pools[0];
  ASSERT_TRUE(wait_until([&] { return queue.tail.load() - queue.head.load() == 1; }));
  const auto began = Clock::now();
  areas.directory().pools[0].refuses_for = 7;
  const HttpResponse told = waiting.receive();
  EXPECT_EQ(told.status, 503);
  EXPECT_LT(Clock::now() - began, Milliseconds(600));
  for (int i = 0; i < 20; ++i) {
    const HttpResponse response = server.ask_for(answer("never"));
    EXPECT_EQ(response.status, 503);
    EXPECT_GT(std::atoi(response.header("Retry-After").c_str()), 0);
  }
  EXPECT_LT(server.count_log("no worker gets ready"), 15U) << "a line a second for each of httpd's children";
}

TEST(Breaker, RefusesNobodyWhomAWorkerCanServe) {
  ScriptedServer server("-processes 1");
  server.expect_well();
  const Areas areas(server.pid());
  areas.directory().pools[0].refuses_for = 7;
  server.expect_well();
}

}  // namespace
}  // namespace cppfcgi::test
