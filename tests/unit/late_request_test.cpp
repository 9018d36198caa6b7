// The rules of mod_cppfcgi/core/late_request.h, with a socket pair in the worker's place.
#include "mod_cppfcgi/core/late_request.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "mod_cppfcgi/core/drainer.h"
#include "shared/futex.h"
#include "tests/support/wait.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using Clock = LateRequest::Clock;

constexpr std::int32_t pid = 101;
constexpr std::string_view opening = "an opening of sixteen bytes, say";

// A worker of capacity 1 that holds a request, and its end of the connection.
struct LateRequestTest : testing::Test {
  std::unique_ptr<Directory> directory = std::make_unique<Directory>();
  std::unique_ptr<Load> load = std::make_unique<Load>();
  Claims claims{*directory, *load, wake_one};
  Fd nudge{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::string body = std::string(5'000'000, 'b');
  RequestSource source{opening, {}};
  RequestSource large_source{opening, {.memory = body}};
  Fd worker;
  std::optional<Conversation> conversation;
  Clock::time_point now = Clock::now();

  void SetUp() override {
    directory->slots[0].state = SlotState{.generation = 1, .phase = Phase::ready, .capacity = 1}.pack();
    directory->pools[0].slot_count = 1;
    directory->pools[0].key = 7;
    converse(source);
  }
  void converse(RequestSource& request) {
    int pair[2] = {};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    worker = Fd(pair[1]);
    conversation.emplace(Connection{.fd = Fd(pair[0])}, request, Exchange::Rules{});
    std::array<std::byte, 100> buffer;
    EXPECT_EQ(conversation->receive_now(buffer).outcome, Conversation::Outcome::nothing);
  }
  LateRequest make_late() {
    return LateRequest(HeldClaim(claims, 0, pid, claims.try_claim(0, pid).value()), *conversation, nudge.get());
  }
  void say(std::string_view bytes) {
    ASSERT_EQ(::send(worker.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  static std::string end() {
    std::string out;
    append_end_request(out, Exchange::request_id, 0, ProtocolStatus::request_complete);
    return out;
  }
  // All that has come to the worker; `is_ended`: and nothing more will.
  std::string heard(bool* is_ended = nullptr) const {
    std::string all;
    std::array<char, 65'536> buffer;
    for (;;) {
      const ssize_t got = ::recv(worker.get(), buffer.data(), buffer.size(), 0);
      if (is_ended != nullptr) *is_ended = got == 0;
      if (got <= 0) return all;
      all.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }
  bool is_claimable() {
    const auto claim = claims.try_claim(0, pid);
    if (claim) claims.release(0, *claim, pid);
    return claim.has_value();
  }
};

TEST_F(LateRequestTest, LeavesWhoCannotBeEndedUnmarkedAtItsEnd) {
  LateRequest late = LateRequest::abandoned(HeldClaim(claims, 0, pid, claims.try_claim(0, pid).value()), *conversation,
                                            nudge.get(), now + 1s, LateRequest::AtEnd::let_go);
  EXPECT_FALSE(late.settle(now));
  EXPECT_FALSE(claims.try_claim(0, pid)) << "it has the request still";
  EXPECT_TRUE(late.settle(now + 1s));
  EXPECT_FALSE(claims.is_late(0, 1));
  EXPECT_TRUE(claims.try_claim(0, pid));
}

TEST_F(LateRequestTest, MarksTheWorkerAndTellsItAndTheManager) {
  const LateRequest late = make_late();
  EXPECT_TRUE(claims.is_late(0, 1));
  std::uint64_t nudges = 0;
  EXPECT_EQ(::read(nudge.get(), &nudges, sizeof nudges), static_cast<ssize_t>(sizeof nudges));
  std::string abort;
  append_record(abort, RecordType::abort_request, Exchange::request_id, {});
  EXPECT_TRUE(heard().ends_with(abort));
}

TEST_F(LateRequestTest, WithinARecordTheWorkerIsToldByTheEndOfTheConnection) {
  converse(large_source);
  const LateRequest late = make_late();
  bool is_ended = false;
  heard(&is_ended);
  EXPECT_TRUE(is_ended);
}

TEST_F(LateRequestTest, AWorkerThatEndsItIsAsGoodAsAny) {
  LateRequest late = make_late();
  EXPECT_FALSE(late.settle(now));
  EXPECT_FALSE(is_claimable());
  say(end());
  EXPECT_TRUE(late.settle(now));
  EXPECT_TRUE(is_claimable());
}

TEST_F(LateRequestTest, SoIsOneThatClosesTheConnection) {
  LateRequest late = make_late();
  worker.reset();
  EXPECT_TRUE(late.settle(now));
  EXPECT_TRUE(is_claimable());
}

TEST_F(LateRequestTest, AnAbandonedOneHoldsItsClaimUntilItsWorkerEndsIt) {
  LateRequest request = LateRequest::abandoned(HeldClaim(claims, 0, pid, claims.try_claim(0, pid).value()),
                                               *conversation, nudge.get(), now + 10s);
  EXPECT_FALSE(request.settle(now));
  EXPECT_FALSE(claims.is_late(0, 1));
  EXPECT_FALSE(is_claimable()) << "it is still at work";
  say(end());
  EXPECT_TRUE(request.settle(now + 9s));
  EXPECT_TRUE(is_claimable());
}

TEST_F(LateRequestTest, AnAbandonedOneIsLateWhenItsTimeIsOver) {
  LateRequest request = LateRequest::abandoned(HeldClaim(claims, 0, pid, claims.try_claim(0, pid).value()),
                                               *conversation, nudge.get(), now + 10s);
  EXPECT_FALSE(request.settle(now + 10s));
  EXPECT_TRUE(claims.is_late(0, 1));
  EXPECT_FALSE(request.settle(now + 10s + LateRequest::patience / 2));
  EXPECT_TRUE(request.settle(now + 10s + LateRequest::patience));
  EXPECT_FALSE(is_claimable()) << "the manager ends it";
}

TEST_F(LateRequestTest, OutputIsNoEnd) {
  LateRequest late = make_late();
  std::string output;
  append_stream(output, RecordType::stdout_stream, Exchange::request_id, "A: b\n\nbody");
  say(output);
  EXPECT_FALSE(late.settle(now));
  say("this is no record at all");
  EXPECT_FALSE(late.settle(now));
}

TEST_F(LateRequestTest, AWorkerThatDoesNotEndItKeepsItsMark) {
  LateRequest late = make_late();
  EXPECT_FALSE(late.settle(now + LateRequest::patience - 10ms));
  EXPECT_EQ(claims.in_flight(0, 1), 1U);
  EXPECT_TRUE(late.settle(Clock::now() + LateRequest::patience));
  EXPECT_EQ(claims.in_flight(0, 1), 0U);
  EXPECT_TRUE(claims.is_late(0, 1));
  EXPECT_FALSE(is_claimable());
}

TEST_F(LateRequestTest, TheDrainerWaitsForIt) {
  Drainer drainer{{.folder = "/tmp"}};
  drainer.wait_for(make_late());
  say(end());
  EXPECT_TRUE(test::wait_until([&] { return is_claimable(); }));
  converse(source);
  drainer.wait_for(make_late());
  EXPECT_TRUE(test::wait_until([&] { return claims.in_flight(0, 1) == 0; })) << "it slept when this one came";
  EXPECT_TRUE(claims.is_late(0, 1));
  drainer.stop();
}

}  // namespace
}  // namespace cppfcgi
