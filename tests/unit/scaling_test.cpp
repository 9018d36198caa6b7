// How many workers a pool wants: the rules of scaling.h, one by one.
#include "mod_cppfcgi/manager/scaling.h"

#include <gtest/gtest.h>

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using Time = Scaling::Time;

// 1 to 40 workers, under a clock that the test turns; workers are ready as soon as they are wanted, unless it says
// otherwise.
struct Pace {
  explicit Pace(Scaling::Limits limits = {.least = 1, .most = 40, .idle_timeout = 10s}) : scaling(limits) {
    scaling.begin(limits.least, now);
  }
  std::uint32_t look(const Demand& demand, std::uint32_t starting = 0, std::uint32_t capacity = 1) {
    const std::uint32_t target = scaling.target();
    scaling.look(demand, {.ready = target - starting, .starting = starting, .capacity = capacity}, now);
    return scaling.target();
  }
  std::uint32_t wait(std::uint32_t waiting, std::uint32_t starting = 0, std::uint32_t capacity = 1) {
    return look({.waiting = waiting, .needed = scaling.target()}, starting, capacity);
  }
  // Two looks at a queue that does not move: the second sees that.
  std::uint32_t wait_long(std::uint32_t waiting, std::uint32_t capacity = 1) {
    wait(waiting, 0, capacity);
    now += 10ms;
    return wait(waiting, 1, capacity);
  }

  Time now{1h};
  Scaling scaling;
};

TEST(Scaling, StartsOneAtTheFirstLookAtAQueue) {
  Pace pace;
  EXPECT_EQ(pace.wait(30), 2u);
}

TEST(Scaling, StartsNoneWhereOneStartsAlready) {
  Pace pace({.least = 2, .most = 40});
  EXPECT_EQ(pace.wait(30, 1), 2u);
}

TEST(Scaling, StartsNoneSoonerThanALookLater) {
  Pace pace;
  pace.wait(30);
  pace.now += 9ms;
  EXPECT_EQ(pace.wait(30, 1), 2u);
}

TEST(Scaling, StartsSeveralWhereManyWaitAndNobodyIsServed) {
  Pace pace;
  EXPECT_EQ(pace.wait_long(5), 6u);
}

TEST(Scaling, CountsTheStartingAgainstTheWaiting) {
  Pace pace;
  ASSERT_EQ(pace.wait_long(5), 6u);
  pace.now += 10ms;
  EXPECT_EQ(pace.wait(5, 5), 6u);
  EXPECT_EQ(pace.wait(7, 5), 8u);
}

TEST(Scaling, StartsNoMoreAtOnceThanABatch) {
  Pace pace;
  EXPECT_EQ(pace.wait_long(39), 1u + Scaling::first_batch);
  pace.now += 10ms;
  EXPECT_EQ(pace.wait(31, Scaling::first_batch), 1u + Scaling::first_batch) << "the first are not ready yet";
  pace.now += 10ms;
  EXPECT_EQ(pace.wait(31), 18u) << "as many as are ready";
}

TEST(Scaling, NeverWantsMoreThanTheMost) {
  Pace pace({.least = 1, .most = 3});
  EXPECT_EQ(pace.wait_long(1'000), 3u);
  pace.now += 10ms;
  EXPECT_EQ(pace.wait(1'000), 3u);
}

TEST(Scaling, StartsFewerWhereAWorkerTakesSeveralRequests) {
  Pace pace;
  EXPECT_EQ(pace.wait_long(12, 4), 4u) << "three for twelve";
}

TEST(Scaling, LeavesAQueueThatWillBeGoneBeforeAWorkerCouldBeReady) {
  Pace pace;
  pace.scaling.became_ready(100ms, 1, 1, pace.now);
  pace.wait(30);
  pace.now += 10ms;
  EXPECT_EQ(pace.wait(25, 1), 2u) << "five served in 10 ms: thirty in 60";
}

TEST(Scaling, StartsForWhatWillBeLeftOfAQueueThatMoves) {
  Pace pace;
  pace.scaling.became_ready(20ms, 1, 1, pace.now);
  pace.wait(14);
  pace.now += 10ms;
  EXPECT_EQ(pace.wait(12, 1), 2u + 7)
      << "two served in 10 ms: eight will be left, one of them for the worker that starts";
}

TEST(Scaling, StartsForAQueueThatStays) {
  Pace pace;
  pace.scaling.became_ready(5s, 1, 1, pace.now);
  for (int i = 0; i < 100; ++i, pace.now += 10ms) pace.wait(10, pace.scaling.target() - 1);
  EXPECT_EQ(pace.scaling.target(), 9u) << "a batch, however fast others are served meanwhile";
}

TEST(Scaling, WantsNoMoreWhileWorkersDieBeforeTheyAreReady) {
  Pace pace;
  pace.scaling.look({.waiting = 20}, {.ready = 1, .is_backing_off = true}, pace.now);
  EXPECT_EQ(pace.scaling.target(), 1u);
}

TEST(Scaling, WantsNoMoreWhereThoseThatItWantsAreNotThere) {
  Pace pace({.least = 3, .most = 40});
  pace.scaling.look({.waiting = 20}, {.ready = 1}, pace.now);
  EXPECT_EQ(pace.scaling.target(), 3u);
}

TEST(Scaling, WantsOneFromNothing) {
  Pace pace({.least = 0, .most = 40});
  EXPECT_EQ(pace.scaling.target(), 0u);
  pace.scaling.look({.waiting = 20, .room = 0}, {.is_backing_off = true}, pace.now);
  EXPECT_EQ(pace.scaling.target(), 1u) << "the first comes whatever the machine has";
  EXPECT_FALSE(pace.scaling.is_held_back());
}

TEST(Scaling, IsHeldBackByTheMachine) {
  Pace pace;
  EXPECT_EQ(pace.look({.waiting = 20, .room = 0}), 1u);
  EXPECT_TRUE(pace.scaling.is_held_back());
  pace.now += 10ms;
  EXPECT_EQ(pace.look({.waiting = 0, .room = 0}), 1u);
  EXPECT_FALSE(pace.scaling.is_held_back());
}

// ---- down ----

TEST(Scaling, HasASurplusWhenTheLastWasNotNeededForItsTime) {
  Pace pace;
  ASSERT_EQ(pace.wait_long(3), 4u);
  for (int i = 0; i < 99; ++i) {
    pace.now += 100ms;
    pace.look({.needed = 3});
    EXPECT_FALSE(pace.scaling.has_surplus(pace.now)) << i;
  }
  pace.now += 100ms;
  pace.look({.needed = 3});
  EXPECT_TRUE(pace.scaling.has_surplus(pace.now));
  pace.scaling.lower();
  EXPECT_FALSE(pace.scaling.has_surplus(pace.now)) << "the third was needed";
}

TEST(Scaling, NeverFallsBelowTheLeast) {
  Pace pace({.least = 2, .most = 40, .idle_timeout = 10s});
  pace.now += 1h;
  pace.look({});
  EXPECT_FALSE(pace.scaling.has_surplus(pace.now));
}

TEST(Scaling, CountsAQueueAsNeedOfAll) {
  Pace pace;
  pace.wait_long(3);
  pace.now += 9s;
  pace.look({.waiting = 1, .needed = 0}, 1);
  pace.now += 9s;
  pace.look({.needed = 0});
  EXPECT_FALSE(pace.scaling.has_surplus(pace.now));
}

TEST(Scaling, GivesAWorkerThatStartsSlowlyItsTime) {
  Pace pace;
  pace.wait_long(3);
  pace.now += 9s;
  pace.scaling.became_ready(9s, 4, 1, pace.now);
  pace.now += 9s;
  pace.look({});
  EXPECT_FALSE(pace.scaling.has_surplus(pace.now));
}

TEST(Scaling, GivesWhatWasThereBeforeItsTime) {
  Scaling scaling({.least = 1, .most = 40, .idle_timeout = 10s});
  const Time now{1h};
  scaling.begin(12, now);
  EXPECT_EQ(scaling.target(), 12u);
  EXPECT_FALSE(scaling.has_surplus(now + 9s));
  EXPECT_TRUE(scaling.has_surplus(now + 10s));
}

TEST(Scaling, FollowsOtherLimits) {
  Pace pace;
  pace.scaling.set_limits({.least = 5, .most = 40, .idle_timeout = 1s}, pace.now);
  EXPECT_EQ(pace.scaling.target(), 5u);
  pace.scaling.set_limits({.least = 2, .most = 40, .idle_timeout = 1s}, pace.now);
  EXPECT_EQ(pace.scaling.target(), 5u);
  EXPECT_TRUE(pace.scaling.has_surplus(pace.now + 1s));
}

// ---- when to look ----

TEST(Scaling, LooksOnceAtTheStartAndNeverAgainAtItsLeast) {
  Pace pace;
  EXPECT_EQ(pace.scaling.next_look({.ready = 1}), Time{});
  pace.look({.needed = 1});
  EXPECT_EQ(pace.scaling.next_look({.ready = 1}), std::nullopt);
}

TEST(Scaling, NeverLooksWhereTheNumberIsFixed) {
  Pace pace({.least = 3, .most = 3});
  EXPECT_EQ(pace.scaling.next_look({.ready = 3}), std::nullopt);
  EXPECT_EQ(pace.wait(50), 3u);
  EXPECT_EQ(pace.scaling.next_look({.ready = 3}), std::nullopt);
}

TEST(Scaling, LooksOftenWhileSomebodyWaitsAndRarelyAfter) {
  Pace pace;
  pace.wait(1);
  EXPECT_EQ(pace.scaling.next_look({.ready = 1, .starting = 1}), pace.now + 10ms);
  pace.look({.needed = 2});
  EXPECT_EQ(pace.scaling.next_look({.ready = 2}), pace.now + 500ms) << "a twentieth of the idle time";
}

TEST(Scaling, LooksRarelyWhereItCanGrowNoMore) {
  Pace pace({.least = 1, .most = 2, .idle_timeout = 1h});
  ASSERT_EQ(pace.wait(9), 2u);
  EXPECT_EQ(pace.scaling.next_look({.ready = 2}), pace.now + 1s);
}

TEST(Scaling, LooksSoonForTheNextThatIsNotNeeded) {
  Pace pace;
  pace.wait_long(3);
  pace.now += 10s;
  pace.look({});
  EXPECT_EQ(pace.scaling.next_look({.ready = 4, .is_shrinking = true}), pace.now + 500ms);
  EXPECT_EQ(pace.scaling.next_look({.ready = 4}), pace.now + 10ms);
}

}  // namespace
}  // namespace cppfcgi
