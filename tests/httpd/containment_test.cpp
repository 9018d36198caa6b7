// What one request does to its worker is nobody else's matter: however a worker dies or hangs, its one request is
// answered at once, its siblings go on, and a successor is there before long. Through a real httpd, a real manager and
// our library.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>

#include "tests/support/areas.h"
#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Pids = std::vector<pid_t>;

// A shared machine stalls now and then: what must be quick has to be so in one of a few tries.
constexpr int tries = 4;

class Contained : public HttpdServer {
 public:
  explicit Contained(const std::string& options)
      : HttpdServer({.config = "FastCgiServer @ROOT@/bin/crasher -mount /w " + options + "\n"}) {
    install("tests/process/programs/crasher");
    start();
    // Every line about a worker may come; which must, each test says.
    allow_log("of pool .*/bin/crasher");
  }
  // All of them, once they are there.
  Pids workers(std::size_t count) const {
    Pids now;
    EXPECT_TRUE(wait_until([&] { return (now = processes_of("crasher")).size() == count; })) << now.size();
    return now;
  }
};

struct Answer {
  HttpResponse response;
  Clock::duration took{};
};

Answer timed_post(const Contained& server, const std::string& how) {
  const auto began = Clock::now();
  Answer answer{.response = post(server.port(), "/w?" + how, "x")};
  answer.took = Clock::now() - began;
  return answer;
}

Pids gone_of(const Pids& before, const Pids& after) {
  Pids gone;
  std::copy_if(before.begin(), before.end(), std::back_inserter(gone),
               [&](pid_t pid) { return std::find(after.begin(), after.end(), pid) == after.end(); });
  return gone;
}

// ---- deaths ----

struct Death {
  std::string how;
  std::string told;  // in the log
};

void PrintTo(const Death& death, std::ostream* out) { *out << death.how; }

class Dying : public testing::TestWithParam<Death> {};
INSTANTIATE_TEST_SUITE_P(
    By, Dying,
    testing::Values(Death{"segv", "crashed: SIGSEGV at 0x0 in .*touch_nothing, request [^ ]+ POST /w.segv"},
                    Death{"overflow", "crashed: SIGSEGV at 0x[0-9a-f]+ .stack overflow. in .*overflow"},
                    Death{"abort", "crashed: SIGABRT in .*Cart::total"}, Death{"bus", "crashed: SIGBUS"},
                    Death{"uncaught", "crashed: .*no such"},
                    Death{"exit=3", "called exit.3. in request [^ ]+ POST /w.exit=3"}),
    [](const auto& test) { return test.param.how.substr(0, test.param.how.find('=')); });

TEST_P(Dying, ItsOneRequestEndsAtOnceAndASuccessorIsReadySoon) {
  Contained server("-processes 3");
  const Pids before = server.workers(3);
  auto answered = Clock::duration::max();
  auto replaced = Clock::duration::max();
  for (int i = 0; i < tries; ++i) {
    // Another body each time: it is another request, and none is refused as one that workers have died of.
    const auto began = Clock::now();
    const HttpResponse response = post(server.port(), "/w?" + GetParam().how, std::to_string(i));
    answered = std::min(answered, Clock::now() - began);
    EXPECT_EQ(response.status, 502);
    ASSERT_TRUE(wait_until([&] { return server.count_log("; replaced by pid") == static_cast<std::size_t>(i) + 1; }));
    replaced = std::min(replaced, Clock::now() - began);
  }
  EXPECT_LE(answered, 100ms);
  EXPECT_LE(replaced, 350ms) << "the answer, and 250 ms for the successor";
  EXPECT_LE(gone_of(before, server.workers(3)).size(), static_cast<std::size_t>(tries)) << "a sibling died";
  server.expect_log(GetParam().told + ".*; replaced by pid [0-9]+ in [0-9]+ ms");
}

TEST(Dying, ASiblingsRequestGoesOn) {
  Contained server("-processes 2");
  HttpConnection slow(server.port());
  ASSERT_TRUE(slow.send(request_text("GET", "/w?wait=500")));
  EXPECT_EQ(timed_post(server, "segv").response.status, 502);
  EXPECT_EQ(slow.receive().status, 200);
}

TEST(Dying, AnIdempotentRequestIsAskedOnceMore) {
  Contained server("-processes 2");
  server.workers(2);
  EXPECT_EQ(get(server.port(), "/w?abort").status, 502);
  // The second may be the first one's successor, which is quick.
  ASSERT_TRUE(wait_until([&] { return server.count_log("; replaced by pid") == 2; }));
  EXPECT_EQ(server.count_log(" crashed: SIGABRT"), 2u) << "at most two workers for one request";
  EXPECT_EQ(get(server.port(), "/w").status, 200);
}

// ---- hanging ----

class Hanging : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(While, Hanging, testing::Values("spin", "deadlock", "deaf", "stop"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(Hanging, TheClientGets504AtTheDeadlineAndTheWorkerIsReplaced) {
  Contained server("-processes 2 -request-timeout 300ms");
  const std::string how = GetParam();
  auto late_by = Clock::duration::max();
  for (int i = 0; i < 2; ++i) {
    const Pids before = server.workers(2);
    const Answer answer = timed_post(server, how);
    EXPECT_EQ(answer.response.status, 504);
    EXPECT_GE(answer.took, 300ms);
    late_by = std::min(late_by, answer.took - 300ms);
    EXPECT_EQ(get(server.port(), "/w").status, 200) << "the other serves";
    ASSERT_TRUE(wait_until([&] {
      const Pids now = server.processes_of("crasher");
      return now.size() == 2 && gone_of(before, now).size() == 1;
    })) << "it is ended, and replaced";
  }
  EXPECT_LE(late_by, 50ms);
  server.expect_log("hangs: requests in it are over their time");
  server.expect_log("of pool .*: thread [0-9]+ ");
  server.expect_log("of pool .*: #[0-9]+ 0x[0-9a-f]+ .*crasher");
}

TEST(Hanging, AWorkerThatObeysItsStopTokenIsKept) {
  HttpdServer server({.config = "FastCgiServer @ROOT@/bin/echo -mount /e -processes 1 -request-timeout 300ms\n"});
  server.install("samples/echo");
  server.start();
  EXPECT_EQ(get(server.port(), "/e/pid").status, 200);
  const Pids before = server.processes_of("echo");
  EXPECT_EQ(get(server.port(), "/e/sleep?ms=60000").status, 504);
  server.expect_log("the client gets 504");
  EXPECT_EQ(get(server.port(), "/e/pid").status, 200);
  EXPECT_EQ(server.processes_of("echo"), before);
}

// ---- clients that go ----

TEST(Abandoned, AWorkerThatWorksOnForNobodyHoldsNobodyUp) {
  Contained server("-processes 2");
  {
    HttpConnection impatient(server.port());
    ASSERT_TRUE(impatient.send(request_text("GET", "/w?wait=4000")));
    ASSERT_TRUE(wait_until([&] {
      const Areas areas(server.pid());
      return areas.load().slots[0].cells[0].holder.load() != 0 || areas.load().slots[1].cells[0].holder.load() != 0;
    }));
  }
  const auto began = Clock::now();
  auto longest = Clock::duration::zero();
  while (Clock::now() - began < 4s) {
    const auto asked = Clock::now();
    EXPECT_EQ(get(server.port(), "/w").status, 200);
    longest = std::max(longest, Clock::now() - asked);
  }
  EXPECT_LT(longest, 500ms) << "a request went to the worker that is still busy";
}

}  // namespace
}  // namespace cppfcgi::test
