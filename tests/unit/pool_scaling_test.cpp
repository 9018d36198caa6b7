// A pool that is scaled: how what Scaling wants goes together with all else that a pool does.
#include <gtest/gtest.h>

#include "tests/unit/pool_bench.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using test::Bench;
using test::Phases;

PoolPolicy scaled(std::uint32_t least, std::uint32_t most) {
  PoolPolicy policy;
  policy.workers = least;
  policy.most = most;
  policy.idle_process_timeout = 10s;
  return policy;
}

class ScaledPool : public testing::Test {
 protected:
  explicit ScaledPool(const PoolPolicy& policy = scaled(1, 4)) : bench_(policy, policy.most + 1) {
    bench_.begin();
    bench_.make_all_ready();
  }
  Actions wait(std::uint32_t waiting) {
    return bench_.on({.what = Happened::looked, .demand = {.waiting = waiting, .needed = bench_.pool.target()}});
  }
  Actions need(std::uint32_t workers, std::optional<std::uint32_t> idle = {}) {
    return bench_.on({.what = Happened::looked, .demand = {.needed = workers, .idle = idle}});
  }
  // Up to all four of them.
  void grow() {
    wait(3);
    bench_.now += 10ms;
    wait(3);
    bench_.make_all_ready();
    ASSERT_EQ(bench_.phases(), (Phases{ready, ready, ready, ready, empty}));
  }
  void end(std::uint32_t slot) {
    bench_.happen(Happened::drained, slot);
    bench_.happen(Happened::exited, slot);
  }

  static constexpr Phase empty = Phase::empty, starting = Phase::starting, ready = Phase::ready,
                         draining = Phase::draining;
  Bench bench_;
};

TEST_F(ScaledPool, BeginsWithItsLeast) { EXPECT_EQ(bench_.phases(), (Phases{ready, empty, empty, empty, empty})); }

TEST_F(ScaledPool, StartsAtOnceWhenARequestWaits) {
  wait(1);
  EXPECT_EQ(bench_.phases(), (Phases{ready, starting, empty, empty, empty}));
}

TEST_F(ScaledPool, EndsTheLastOneByOneWhenTheyAreNotNeeded) {
  grow();
  bench_.now += 10s;
  need(1, 3);
  EXPECT_EQ(bench_.phases(), (Phases{ready, ready, ready, draining, empty}));
  EXPECT_EQ(bench_.pool.reason(3), Reason::idle);
  need(1, 2);
  EXPECT_EQ(bench_.phase(2), ready) << "one after the other";
  end(3);
  need(1, 2);
  EXPECT_EQ(bench_.phases(), (Phases{ready, ready, draining, empty, empty}));
  end(2);
  need(1, 1);
  end(1);
  need(0, 0);
  EXPECT_EQ(bench_.phases(), (Phases{ready, empty, empty, empty, empty}));
  EXPECT_EQ(bench_.pool.next_look(), std::nullopt);
}

TEST_F(ScaledPool, EndsNobodyWhoIsAtWork) {
  grow();
  bench_.now += 10s;
  need(1);
  EXPECT_EQ(bench_.phases(), (Phases{ready, ready, ready, ready, empty}));
}

TEST_F(ScaledPool, ReplacesAWorkerThatCrashesAboveTheLeast) {
  grow();
  bench_.now += 5s;
  bench_.happen(Happened::exited, 2);
  EXPECT_EQ(bench_.phases(), (Phases{ready, ready, starting, ready, empty}));
}

TEST_F(ScaledPool, RecyclesAWorkerBeforeItGoesAtAnySize) {
  grow();
  bench_.happen(Happened::worn, 1);
  EXPECT_EQ(bench_.phases(), (Phases{ready, ready, ready, ready, starting}));
  bench_.make_all_ready();
  EXPECT_EQ(bench_.phases(), (Phases{ready, draining, ready, ready, ready}));
}

TEST_F(ScaledPool, LetsWhoIsDueGoWithoutASuccessorWhenFewerAreNeeded) {
  grow();
  bench_.happen(Happened::worn, 1);
  bench_.now += 10s;
  need(1, 3);
  EXPECT_EQ(bench_.phase(1), draining);
  EXPECT_EQ(bench_.pool.reason(1), Reason::recycled);
  EXPECT_EQ(bench_.phase(3), ready);
}

TEST_F(ScaledPool, RollsAllWhenSettingsChange) {
  grow();
  bench_.on({Happened::settings_changed});
  for (std::uint32_t slot : {0u, 1u, 2u, 3u}) {
    bench_.make_all_ready();
    end(slot);
  }
  bench_.make_all_ready();
  EXPECT_EQ(bench_.pool.target(), 4u);
  const Phases phases = bench_.phases();
  EXPECT_EQ(std::count(phases.begin(), phases.end(), ready), 4);
}

TEST_F(ScaledPool, TriesANewProgramInASlotOfItsOwn) {
  bench_.on({Happened::deployed});
  EXPECT_EQ(bench_.phases(), (Phases{ready, starting, empty, empty, empty}));
  wait(1);
  EXPECT_EQ(bench_.phases(), (Phases{ready, starting, starting, empty, empty})) << "who is on trial serves nobody";
}

TEST_F(ScaledPool, ReplacesWhoHangs) {
  grow();
  bench_.happen(Happened::unresponsive, 2);
  EXPECT_EQ(bench_.phases(), (Phases{ready, ready, draining, ready, starting}));
}

TEST_F(ScaledPool, StartsNobodyOnceItIsRemoved) {
  grow();
  bench_.on({Happened::removed});
  wait(9);
  EXPECT_EQ(bench_.count(Do::start), 0u);
  EXPECT_EQ(bench_.pool.next_look(), std::nullopt);
}

TEST_F(ScaledPool, FollowsAChangedLeast) {
  bench_.pool.set_policy(scaled(3, 4));
  bench_.pass(0ms);
  EXPECT_EQ(bench_.phases(), (Phases{ready, starting, starting, empty, empty}));
}

TEST(ScaledPoolFromNothing, StartsWithTheFirstRequestAndEndsWhenItIsNotUsed) {
  Bench bench(scaled(0, 4), 5);
  bench.begin();
  bench.on({.what = Happened::looked, .demand = {}});
  EXPECT_EQ(bench.phase(0), Phase::empty);
  EXPECT_EQ(bench.pool.next_look(), std::nullopt);
  bench.on({.what = Happened::looked, .demand = {.waiting = 1}});
  bench.make_all_ready();
  EXPECT_EQ(bench.phase(0), Phase::ready);
  bench.now += 10s;
  bench.on({.what = Happened::looked, .demand = {.idle = 0}});
  EXPECT_EQ(bench.phase(0), Phase::draining);
}

TEST(ScaledPoolFromNothing, RefusesNobodyWhomItHasNotTriedToServe) {
  Bench bench(scaled(0, 4), 5);
  bench.begin();
  bench.on({.what = Happened::looked, .demand = {.waiting = 1}});
  for (int deaths = 0; deaths < 5; ++deaths) {
    bench.happen(Happened::exited);
    bench.pass();
  }
  bench.happen(Happened::exited);
  EXPECT_TRUE(bench.pool.refuses_for());
  bench.now += 10s;
  bench.on({.what = Happened::looked, .demand = {}});
  bench.happen(Happened::exited);
  EXPECT_EQ(bench.pool.target(), 0u);
  EXPECT_FALSE(bench.pool.refuses_for()) << "nobody is tried any more: the next who comes is why to try again";
  bench.now += 60s;
  bench.on({.what = Happened::looked, .demand = {.waiting = 1}});
  EXPECT_EQ(bench.count(Do::start), 1u);
}

TEST(ScaledPoolAfterAManager, KeepsWhatItAdoptsForAnIdleTime) {
  Bench bench(scaled(1, 4), 5);
  for (const std::uint32_t slot : {0u, 2u, 3u})
    bench.on({.what = Happened::adopted, .slot = slot, .generation = 7, .phase = Phase::ready});
  bench.begin();
  EXPECT_EQ(bench.pool.target(), 3u);
  bench.on({.what = Happened::looked, .demand = {.idle = 3}});
  EXPECT_EQ(bench.phase(3), Phase::ready);
  bench.now += 10s;
  bench.on({.what = Happened::looked, .demand = {.idle = 3}});
  EXPECT_EQ(bench.phase(3), Phase::draining);
}

TEST(FixedPoolAfterAManager, EndsWhoIsOneTooMany) {
  Bench bench(test::workers(2), 3);
  for (const std::uint32_t slot : {0u, 1u, 2u})
    bench.on({.what = Happened::adopted, .slot = slot, .generation = 7, .phase = Phase::ready});
  bench.begin();
  ASSERT_TRUE(bench.pool.next_look());
  bench.on({.what = Happened::looked, .demand = {.idle = 1}});
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::draining, Phase::ready}));
  EXPECT_EQ(bench.pool.next_look(), std::nullopt);
}

}  // namespace
}  // namespace cppfcgi
