// The rules of shared/claims.h, on areas in plain memory; the last tests run them from many threads at once.
#include "shared/claims.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "shared/futex.h"

namespace cppfcgi {
namespace {

constexpr std::int32_t alice = 101;
constexpr std::int32_t bob = 102;

struct Board {
  std::unique_ptr<Directory> directory = std::make_unique<Directory>();
  std::unique_ptr<Load> load = std::make_unique<Load>();
  Claims claims{*directory, *load, wake_one};

  // One pool in row 0 with these capacities; a capacity of 0 is a slot without a ready worker.
  explicit Board(const std::vector<int>& capacities) {
    for (std::uint32_t slot = 0; slot < capacities.size(); ++slot) {
      if (capacities[slot] > 0) publish(slot, 1, Phase::ready, capacities[slot]);
    }
    directory->pools[0].slot_count = static_cast<std::uint32_t>(capacities.size());
    directory->pools[0].key = 7;
  }
  void publish(std::uint32_t slot, std::uint32_t generation, Phase phase, int capacity) {
    directory->slots[slot].state =
        SlotState{.generation = generation, .phase = phase, .capacity = static_cast<std::uint8_t>(capacity)}.pack();
  }
  Ticket enqueue(std::int32_t pid) { return claims.enqueue(0, pid, max_waiting).value().ticket; }
};

TEST(Claims, TakesTheLeastBusyWorkerAndTheLowestSlotFirst) {
  Board board({2, 2});
  std::vector<std::uint32_t> slots;
  while (const auto claim = board.claims.try_claim(0, alice)) slots.push_back(claim->slot);
  EXPECT_EQ(slots, (std::vector<std::uint32_t>{0, 1, 0, 1}));
}

TEST(Claims, TakesOnlyReadyWorkers) {
  Board board({1, 1, 1});
  board.publish(0, 1, Phase::starting, 1);
  board.publish(1, 1, Phase::draining, 1);
  EXPECT_EQ(board.claims.try_claim(0, alice)->slot, 2U);
  EXPECT_FALSE(board.claims.try_claim(0, alice));
}

TEST(Claims, KnowWhatTheWorkersTakeAtOnce) {
  Board board({0, 4, 8});
  board.publish(2, 1, Phase::starting, 8);
  EXPECT_EQ(board.claims.capacity(0).ready, 4U);
  EXPECT_EQ(board.claims.capacity(0).of_one, 8U);
  EXPECT_EQ(Board({0, 0}).claims.capacity(0).of_one, 1U) << "until one has said more";
}

TEST(Claims, WhoeverLeavesFromTheMiddleOfTheQueueMakesRoom) {
  Board board({1});
  board.claims.try_claim(0, alice);
  const Ticket first = board.enqueue(alice), second = board.enqueue(bob), third = board.enqueue(bob);
  EXPECT_FALSE(board.claims.enqueue(0, alice, 3));
  EXPECT_FALSE(board.claims.leave(second, bob));
  EXPECT_EQ(board.claims.waiting(0), 2U);
  EXPECT_TRUE(board.claims.enqueue(0, alice, 3));
  EXPECT_FALSE(board.claims.enqueue(0, alice, 3));
  EXPECT_FALSE(board.claims.leave(third, bob));
  EXPECT_FALSE(board.claims.leave(first, alice));
  EXPECT_EQ(board.claims.waiting(0), 1U);
}

// Many clients come and go behind one that waits on: the ring has an end.
TEST(Claims, TheRingIsNotOverrunByThoseWhoLeave) {
  Board board({1});
  board.claims.try_claim(0, alice);
  const Ticket first = board.enqueue(alice);
  std::uint32_t came = 0;
  for (std::uint32_t i = 0; i < 2 * max_waiting; ++i) {
    const auto queued = board.claims.enqueue(0, bob, 10);
    if (!queued) break;
    ++came;
    board.claims.leave(queued->ticket, bob);
  }
  EXPECT_EQ(came, max_waiting - 1);
  board.claims.leave(first, alice);
  EXPECT_TRUE(board.claims.enqueue(0, bob, 10)) << "once the first has gone";
}

TEST(Claims, AvoidsWhoHasJustFailedUnlessItIsTheOnlyOne) {
  Board board({1, 1});
  EXPECT_EQ(board.claims.try_claim(0, alice, Failed{.slot = 0, .generation = 1})->slot, 1U);
  EXPECT_EQ(board.claims.try_claim(0, alice, Failed{.slot = 1, .generation = 1})->slot, 0U);
  EXPECT_FALSE(board.claims.try_claim(0, alice));
}

TEST(Claims, AvoidsAllSlotsOfAnEndpointThatHasJustFailed) {
  Board board({1, 1, 1, 1});
  const Failed failed{.slot = 2, .generation = 1, .period = 2};
  EXPECT_EQ(board.claims.try_claim(0, alice, failed)->slot, 1U);
  EXPECT_EQ(board.claims.try_claim(0, alice, failed)->slot, 3U);
  EXPECT_EQ(board.claims.try_claim(0, alice, failed)->slot, 0U) << "where no other will do";
}

TEST(Claims, TakesEndpointsInTurnThoughEachHasSeveralSlots) {
  Board board({2, 2, 2, 2});
  std::vector<std::uint32_t> endpoints;
  while (const auto claim = board.claims.try_claim(0, alice)) endpoints.push_back(claim->slot % 2);
  EXPECT_EQ(endpoints, (std::vector<std::uint32_t>{0, 1, 0, 1, 0, 1, 0, 1}));
}

TEST(Claims, TakesNoneThatIsGoneThoughTheDirectoryDoesNotSaySoYet) {
  Board board({1});
  const Failed gone{.slot = 0, .generation = 1, .is_gone = true};
  EXPECT_FALSE(board.claims.try_claim(0, alice, gone));
  board.publish(0, 2, Phase::ready, 1);
  EXPECT_TRUE(board.claims.try_claim(0, alice, gone)) << "its successor is as good as any";
}

TEST(Claims, ReleasingTwiceFreesOnce) {
  Board board({1});
  const auto claim = board.claims.try_claim(0, alice).value();
  board.claims.release(0, claim, alice);
  const auto other = board.claims.try_claim(0, bob);
  board.claims.release(0, claim, alice);
  EXPECT_TRUE(other);
  EXPECT_EQ(board.claims.in_flight(0, 1), 1U);
}

TEST(Claims, CountsWhatAGenerationHasInFlight) {
  Board board({2});
  board.claims.try_claim(0, alice);
  board.publish(0, 2, Phase::ready, 2);
  board.claims.try_claim(0, alice);
  EXPECT_EQ(board.claims.in_flight(0, 1), 1U);
  EXPECT_EQ(board.claims.in_flight(0, 2), 1U);
}

TEST(Claims, HandsAReleasedClaimToTheFirstThatWaits) {
  Board board({1});
  const auto claim = board.claims.try_claim(0, alice).value();
  const Ticket first = board.enqueue(bob);
  const Ticket second = board.enqueue(bob);
  board.claims.release(0, claim, alice);
  EXPECT_TRUE(board.claims.granted(first, bob));
  EXPECT_FALSE(board.claims.granted(second, bob));
  EXPECT_FALSE(board.claims.try_claim(0, alice)) << "the claim is bob's";
}

TEST(Claims, PassesOverThoseWhoLeft) {
  Board board({1});
  const auto claim = board.claims.try_claim(0, alice).value();
  const Ticket first = board.enqueue(bob);
  const Ticket second = board.enqueue(bob);
  EXPECT_FALSE(board.claims.leave(first, bob));
  board.claims.release(0, claim, alice);
  EXPECT_TRUE(board.claims.granted(second, bob));
}

TEST(Claims, LeavingAfterTheGrantGivesTheClaim) {
  Board board({1});
  const auto claim = board.claims.try_claim(0, alice).value();
  const Ticket ticket = board.enqueue(bob);
  board.claims.release(0, claim, alice);
  const auto late = board.claims.leave(ticket, bob);
  ASSERT_TRUE(late);
  board.claims.release(0, *late, bob);
  EXPECT_TRUE(board.claims.try_claim(0, alice));
}

TEST(Claims, RefusesMoreThanTheLimitInTheQueue) {
  Board board({0});
  EXPECT_TRUE(board.claims.enqueue(0, alice, 2)->is_first);
  EXPECT_FALSE(board.claims.enqueue(0, alice, 2)->is_first);
  EXPECT_FALSE(board.claims.enqueue(0, alice, 2));
}

TEST(Claims, DispatchServesThoseWhoWaitedForAWorkerToBecomeReady) {
  Board board({0});
  const Ticket first = board.enqueue(alice);
  const Ticket second = board.enqueue(bob);
  board.publish(0, 1, Phase::ready, 2);
  board.claims.dispatch(0, 1);
  EXPECT_TRUE(board.claims.granted(first, alice));
  EXPECT_TRUE(board.claims.granted(second, bob));
}

TEST(Claims, SweepFreesWhatADeadProcessHeldAndServesOthers) {
  Board board({2});
  board.claims.try_claim(0, alice);
  board.claims.try_claim(0, alice);
  const Ticket dead = board.enqueue(alice);
  const Ticket living = board.enqueue(bob);
  EXPECT_EQ(board.claims.sweep(alice), 2U);
  EXPECT_FALSE(board.claims.granted(dead, alice));
  EXPECT_TRUE(board.claims.granted(living, bob));
  EXPECT_TRUE(board.claims.try_claim(0, bob));
}

TEST(Claims, AClaimOnAWorkerThatIsGoneIsFreedAndNotHandedOn) {
  Board board({1});
  const auto claim = board.claims.try_claim(0, alice).value();
  const Ticket ticket = board.enqueue(bob);
  board.publish(0, 2, Phase::starting, 1);
  board.claims.release(0, claim, alice);
  EXPECT_FALSE(board.claims.granted(ticket, bob));
  board.publish(0, 2, Phase::ready, 1);
  board.claims.dispatch(0, 1);
  EXPECT_EQ(board.claims.granted(ticket, bob)->worker.generation, 2U);
}

TEST(Claims, NobodyClaimsALateWorker) {
  Board board({2, 1});
  const auto claim = board.claims.try_claim(0, alice).value();
  board.claims.mark_late(claim);
  EXPECT_TRUE(board.claims.is_late(0, 1));
  EXPECT_EQ(board.claims.try_claim(0, bob)->slot, 1U);
  EXPECT_FALSE(board.claims.try_claim(0, bob));
}

TEST(Claims, AClaimOnALateWorkerIsFreedAndHandedToNobody) {
  Board board({1});
  const auto claim = board.claims.try_claim(0, alice).value();
  const Ticket ticket = board.enqueue(bob);
  board.claims.mark_late(claim);
  board.claims.release(0, claim, alice);
  EXPECT_FALSE(board.claims.granted(ticket, bob));
  EXPECT_EQ(board.claims.in_flight(0, 1), 0U);
}

TEST(Claims, WhoeverWaitsIsServedOnceTheLastMarkIsGone) {
  Board board({2});
  const auto first = board.claims.try_claim(0, alice).value();
  const auto second = board.claims.try_claim(0, alice).value();
  board.claims.mark_late(first);
  board.claims.mark_late(second);
  const Ticket ticket = board.enqueue(bob);
  board.claims.release(0, second, alice);
  board.claims.unmark_late(0, first, alice);
  EXPECT_FALSE(board.claims.granted(ticket, bob)) << "the other is late still";
  board.claims.unmark_late(0, second, alice);
  EXPECT_TRUE(board.claims.granted(ticket, bob));
}

TEST(Claims, AMarkIsOfItsGenerationAlone) {
  Board board({1});
  const auto old = board.claims.try_claim(0, alice).value();
  board.claims.mark_late(old);
  board.publish(0, 2, Phase::ready, 2);
  EXPECT_TRUE(board.claims.try_claim(0, bob)) << "the late one is gone";
  board.claims.unmark_late(0, old, alice);
  EXPECT_FALSE(board.claims.is_late(0, 2));
  const auto next = board.claims.try_claim(0, bob);
  EXPECT_FALSE(next) << "the old claim is held still";
}

TEST(Claims, AMarkThatComesTooLateHitsNoSuccessor) {
  Board board({1});
  const auto old = board.claims.try_claim(0, alice).value();
  board.publish(0, 2, Phase::ready, 1);
  board.claims.mark_late({.slot = 0, .worker = {.generation = 2}});
  board.claims.mark_late(old);
  EXPECT_EQ(board.load->slots[0].late.load(), std::uint64_t{2} << 32 | 1) << "neither taken away nor added to";
}

TEST(Claims, CountsMarksWithinTheirBounds) {
  struct Case {
    const char* what;
    std::uint64_t before, marked, unmarked;
  };
  constexpr std::uint64_t ours = std::uint64_t{1} << 32;
  constexpr std::uint64_t theirs = std::uint64_t{9} << 32;
  for (const Case& c :
       {Case{"none", 0, ours | 1, 0}, Case{"one", ours | 1, ours | 2, ours},
        Case{"of another generation", theirs | 5, ours | 1, theirs | 5}, Case{"none left", ours, ours | 1, ours},
        Case{"all bits", ~std::uint64_t{0}, ours | 1, ~std::uint64_t{0}},
        Case{"as many as fit", ours | 0xffffffff, ours | 0xffffffff, ours | 0xfffffffe}}) {
    Board board({1});
    const Claim claim{.slot = 0, .worker = {.generation = 1}};
    board.load->slots[0].late = c.before;
    board.claims.mark_late(claim);
    EXPECT_EQ(board.load->slots[0].late.load(), c.marked) << c.what;
    board.load->slots[0].late = c.before;
    board.claims.unmark_late(0, claim, alice);
    EXPECT_EQ(board.load->slots[0].late.load(), c.unmarked) << c.what;
  }
}

TEST(Claims, OneOfThoseWhoCountRequestsLearnsThatItIsTimeToRecycle) {
  Board board({2});
  const auto claim = board.claims.try_claim(0, alice).value();
  EXPECT_FALSE(board.claims.count_request(claim)) << "0: never";
  board.directory->slots[0].recycle_at = 3'000;
  std::atomic<int> told{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1'000; ++k) told += board.claims.count_request(claim);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(told, 1);
  EXPECT_EQ(board.load->slots[0].requests, 4'001U);
}

TEST(Claims, AGrantThatIsNotReadYetOutlastsAWholeRoundOfTheRing) {
  Board board({1});
  auto claim = board.claims.try_claim(0, alice);
  const Ticket slow = board.enqueue(bob);
  board.claims.release(0, *claim, alice);
  for (std::uint32_t round = 0; round < 2 * max_waiting; ++round) board.claims.leave(board.enqueue(alice), alice);
  EXPECT_TRUE(board.claims.granted(slow, bob));
}

TEST(Claims, SurvivesRandomBytesInTheLoad) {
  Board board({1, 4, 64});
  std::mt19937_64 random(42);
  auto* words = reinterpret_cast<std::uint64_t*>(&board.load->pools[0]);
  auto* cells = reinterpret_cast<std::uint64_t*>(&board.load->slots[0]);
  for (int round = 0; round < 200; ++round) {
    for (std::size_t i = 0; i < sizeof(PoolLoad) / 8; ++i) words[i] = random();
    for (std::size_t i = 0; i < 3 * sizeof(SlotLoad) / 8; ++i) cells[i] = random() % 3 ? 0 : random();
    const auto claim = board.claims.try_claim(0, alice);
    if (claim) {
      board.claims.mark_late(*claim);
      board.claims.unmark_late(0, *claim, alice);
      board.claims.release(0, *claim, alice);
    }
    if (const auto queued = board.claims.enqueue(0, alice, 10)) board.claims.leave(queued->ticket, alice);
    board.claims.dispatch(0, alice);
    board.claims.sweep(alice);
  }
  SUCCEED() << "came back each time, within bounds";
}

// Also: a ticket was passed over where its waiter wrote it between two looks at it, and slept for ever. One run of
// sixty with 3,000 rounds found that.
TEST(Claims, ManyThreadsNeverExceedACapacityAndAllAreServed) {
  constexpr int threads = 8;
  constexpr int rounds = 20'000;
  Board board({1, 2});
  std::atomic<int> busy[2] = {};
  std::atomic<int> served = 0;
  auto work = [&](std::int32_t pid) {
    for (int round = 0; round < rounds; ++round) {
      auto claim = board.claims.try_claim(0, pid);
      if (!claim) {
        const Ticket ticket = board.enqueue(pid);
        if ((claim = board.claims.try_claim(0, pid))) {
          if (const auto both = board.claims.leave(ticket, pid)) board.claims.release(0, *both, pid);
        }
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!claim && !(claim = board.claims.granted(ticket, pid))) {
          ASSERT_TRUE(wait_while(board.claims.futex(ticket), board.claims.waiting_word(ticket, pid), deadline))
              << "starved";
        }
      }
      EXPECT_LE(++busy[claim->slot], claim->slot == 0 ? 1 : 2);
      --busy[claim->slot];
      board.claims.release(0, *claim, pid);
      ++served;
    }
  };
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) all.emplace_back(work, 1000 + i);
  for (std::thread& thread : all) thread.join();
  EXPECT_EQ(served, threads * rounds);
  EXPECT_EQ(board.claims.in_flight(0, 1) + board.claims.in_flight(1, 1), 0U);
}

std::vector<Shared<std::uint32_t>*> woken;

TEST(Claims, WakesAllThatWait) {
  const auto directory = std::make_unique<Directory>();
  const auto load = std::make_unique<Load>();
  Claims claims(*directory, *load, [](Shared<std::uint32_t>* word) { woken.push_back(word); });
  std::vector<Shared<std::uint32_t>*> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(claims.futex(claims.enqueue(0, 101, 10)->ticket));
  claims.enqueue(1, 101, 10);  // in another pool
  claims.wake_waiting(0);
  EXPECT_EQ(woken, waiting);
}

}  // namespace
}  // namespace cppfcgi
