// The rules of mod_cppfcgi/core/claim_wait.h, on areas in plain memory and with threads that really sleep.
#include "mod_cppfcgi/core/claim_wait.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "shared/fd.h"
#include "shared/futex.h"
#include "tests/support/wait.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using test::wait_until;

constexpr std::int32_t pid = 101;

struct Board {
  std::unique_ptr<Directory> directory = std::make_unique<Directory>();
  std::unique_ptr<Load> load = std::make_unique<Load>();
  Claims claims{*directory, *load, wake_one};
  Fd nudge{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

  explicit Board(int capacity) {
    directory->slots[0].state =
        SlotState{.generation = 1, .phase = Phase::ready, .capacity = static_cast<std::uint8_t>(capacity)}.pack();
    directory->pools[0].slot_count = 1;
    directory->pools[0].key = 7;
  }
  std::variant<HeldClaim, ClaimFailure> acquire(std::chrono::milliseconds timeout, std::uint32_t limit = 10,
                                                std::function<bool()> is_abandoned = nullptr) {
    return cppfcgi::acquire(claims, *load,
                            {.pool = 0,
                             .pid = pid,
                             .queue_limit = [limit] { return limit; },
                             .timeout = timeout,
                             .nudge = nudge.get(),
                             .is_abandoned = std::move(is_abandoned)});
  }
  std::uint64_t nudges() {
    std::uint64_t count = 0;
    return ::read(nudge.get(), &count, sizeof count) == sizeof count ? count : 0;
  }
};

ClaimFailure failure(const std::variant<HeldClaim, ClaimFailure>& result) { return std::get<ClaimFailure>(result); }

TEST(HeldClaim, IsGivenBackAtTheEndOfItsScope) {
  Board board(1);
  {
    const auto held = board.acquire(0ms);
    ASSERT_TRUE(std::holds_alternative<HeldClaim>(held));
    EXPECT_EQ(board.claims.in_flight(0, 1), 1U);
  }
  EXPECT_EQ(board.claims.in_flight(0, 1), 0U);
}

TEST(HeldClaim, MovesAndIsGivenBackOnce) {
  Board board(2);
  auto first = std::get<HeldClaim>(board.acquire(0ms));
  HeldClaim second = std::move(first);
  EXPECT_FALSE(first);
  EXPECT_TRUE(second);
  second = std::get<HeldClaim>(board.acquire(0ms));
  EXPECT_EQ(board.claims.in_flight(0, 1), 1U);
  second.release();
  second.release();
  EXPECT_EQ(board.claims.in_flight(0, 1), 0U);
}

TEST(ClaimWait, TimesOutAndCountsIt) {
  Board board(1);
  const auto held = board.acquire(0ms);
  EXPECT_EQ(failure(board.acquire(20ms)), ClaimFailure::timed_out);
  EXPECT_EQ(board.load->pools[0].timed_out, 1U);
  EXPECT_EQ(board.claims.waiting(0), 0U);
}

TEST(ClaimWait, RefusesAtOnceWhereTheQueueIsFull) {
  Board board(1);
  const auto held = board.acquire(0ms);
  EXPECT_EQ(failure(board.acquire(1h, 0)), ClaimFailure::queue_full);
  EXPECT_EQ(board.load->pools[0].refused, 1U);
}

TEST(ClaimWait, IsHandedTheClaimThatComesFree) {
  Board board(1);
  auto held = board.acquire(0ms);
  std::variant<HeldClaim, ClaimFailure> waited = ClaimFailure::abandoned;
  std::thread waiter([&] { waited = board.acquire(10s); });
  EXPECT_TRUE(wait_until([&] { return board.claims.waiting(0) == 1; }));
  std::get<HeldClaim>(held).release();
  waiter.join();
  EXPECT_TRUE(std::holds_alternative<HeldClaim>(waited));
}

TEST(ClaimWait, NudgesTheManagerOncePerQueue) {
  Board board(1);
  const auto held = board.acquire(0ms);
  EXPECT_EQ(board.nudges(), 0U);
  std::vector<std::thread> waiters;
  for (int i = 0; i < 2; ++i) {
    waiters.emplace_back([&] { board.acquire(100ms); });
    EXPECT_TRUE(wait_until([&] { return board.claims.waiting(0) == static_cast<std::uint32_t>(i) + 1; }));
  }
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(board.nudges(), 1U);
}

// Who should have nudged it may have been killed before.
TEST(ClaimWait, NudgesTheManagerAgainAsLongAsItIsTheFirst) {
  Board board(1);
  const auto held = board.acquire(0ms);
  std::thread first([&] { board.acquire(1'000ms); });
  EXPECT_TRUE(wait_until([&] { return board.claims.waiting(0) == 1; }));
  std::uint64_t nudges = 0;
  EXPECT_TRUE(wait_until([&] { return (nudges += board.nudges()) >= 2; }));
  first.join();
}

TEST(ClaimWait, DoesNotWakeTheManagerForAPoolThatCannotGrow) {
  Board board(1);
  const auto held = board.acquire(0ms);
  const auto nudges_where = [&](bool may_grow) {
    cppfcgi::acquire(board.claims, *board.load,
                     {.pid = pid,
                      .queue_limit = [] { return 10U; },
                      .timeout = 1ms,
                      .nudge = board.nudge.get(),
                      .may_grow = [may_grow] { return may_grow; }});
    return board.nudges();
  };
  EXPECT_EQ(nudges_where(true), 1U);
  EXPECT_EQ(nudges_where(false), 0U);
}

// The manager looks at the queue before it looks at the worker's end, and so may others.
TEST(ClaimWait, TakesNoClaimOnTheGoneFromOneWhoDoesNotKnowYet) {
  Board board(1);
  std::atomic<bool> is_over{false};
  std::thread unknowing([&] {
    while (!is_over) board.claims.dispatch(0, 1);
  });
  const auto acquired = cppfcgi::acquire(board.claims, *board.load,
                                         {.pid = pid,
                                          .queue_limit = [] { return 10U; },
                                          .timeout = 100ms,
                                          .nudge = board.nudge.get(),
                                          .failed = Failed{.slot = 0, .generation = 1, .is_gone = true}});
  is_over = true;
  unknowing.join();
  EXPECT_EQ(failure(acquired), ClaimFailure::timed_out);
  EXPECT_EQ(board.claims.in_flight(0, 1), 0U);
}

TEST(ClaimWait, IsRefusedAtOnceWhileTheBreakerIsOpenAndNoWorkerIsFree) {
  Board board(1);
  board.directory->pools[0].refuses_for = 7;
  const auto held = board.acquire(0ms);
  EXPECT_TRUE(std::holds_alternative<HeldClaim>(held)) << "whoever is there serves";
  EXPECT_EQ(failure(board.acquire(1h)), ClaimFailure::breaker_open);
  EXPECT_EQ(board.claims.waiting(0), 0U);
}

TEST(ClaimWait, LeavesTheQueueWhenTheBreakerOpens) {
  Board board(1);
  const auto held = board.acquire(0ms);
  std::variant<HeldClaim, ClaimFailure> waited = ClaimFailure::abandoned;
  std::thread waiter([&] { waited = board.acquire(1h); });
  EXPECT_TRUE(wait_until([&] { return board.claims.waiting(0) == 1; }));
  board.directory->pools[0].refuses_for = 7;
  waiter.join();
  EXPECT_EQ(failure(waited), ClaimFailure::breaker_open);
}

TEST(ClaimWait, LeavesWithItsClient) {
  Board board(1);
  const auto held = board.acquire(0ms);
  EXPECT_EQ(failure(board.acquire(1h, 10, [] { return true; })), ClaimFailure::abandoned);
  EXPECT_EQ(board.claims.waiting(0), 0U);
}

TEST(ClaimWait, LosesNoClaimUnderManyThreads) {
  Board board(3);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<int> got{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        const auto held = board.acquire(30s, max_waiting);
        if (!std::holds_alternative<HeldClaim>(held)) continue;
        ++got;
        const int now = ++inside;
        int before = most;
        while (now > before && !most.compare_exchange_weak(before, now)) {
        }
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, 12 * 500);
  EXPECT_LE(most, 3);
  EXPECT_EQ(board.claims.in_flight(0, 1), 0U);
}

// A dynamic pool ends when unused, and its row goes to another: whoever looked it up before finds out.
std::variant<HeldClaim, ClaimFailure> acquire_of(Board& board, std::uint64_t key, std::chrono::milliseconds timeout) {
  return cppfcgi::acquire(board.claims, *board.load,
                          {.pool = 0, .key = key, .pid = pid, .queue_limit = [] { return 10U; }, .timeout = timeout});
}

TEST(Acquire, TakesNoWorkerOfAnotherPool) {
  Board board(1);
  EXPECT_TRUE(std::holds_alternative<HeldClaim>(acquire_of(board, 7, 0ms)));
  EXPECT_EQ(failure(acquire_of(board, 8, 0ms)), ClaimFailure::pool_gone);
  EXPECT_EQ(board.claims.in_flight(0, 1), 0U);
}

TEST(Acquire, BelievesNoBreakerOfAnotherPool) {
  Board board(1);
  board.directory->slots[0].state = SlotState{.generation = 1}.pack();
  board.directory->pools[0].refuses_for = 5;
  EXPECT_EQ(failure(acquire_of(board, 7, 1s)), ClaimFailure::breaker_open);
  EXPECT_EQ(failure(acquire_of(board, 8, 1s)), ClaimFailure::pool_gone);
}

TEST(Acquire, WakesWhereThePoolEndsMeanwhile) {
  Board board(1);
  const auto held = board.acquire(0ms);
  std::atomic<bool> is_over = false;
  ClaimFailure how{};
  std::thread waiter([&] {
    how = failure(acquire_of(board, 7, 60s));
    is_over = true;
  });
  EXPECT_TRUE(wait_until([&] { return board.claims.waiting(0) == 1; }));
  board.directory->pools[0].key = 0;
  board.claims.wake_waiting(0);
  EXPECT_TRUE(wait_until([&] { return is_over.load(); }));
  waiter.join();
  EXPECT_EQ(how, ClaimFailure::pool_gone);
  EXPECT_EQ(board.claims.waiting(0), 0U);
}

}  // namespace
}  // namespace cppfcgi
