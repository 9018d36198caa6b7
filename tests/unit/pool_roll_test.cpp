// Pool's rules for planned exits, deploys, workers that hang, and refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/unit/pool_bench.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using test::Bench;
using test::Phases;
using test::serving;
using test::workers;

// ---- Planned exits: a successor first ----

TEST(Pool, ReplacesAWornWorkerWhenItsSuccessorIsReady) {
  Bench bench = serving(workers(2));
  EXPECT_EQ(bench.happen(Happened::worn, 0), (Actions{{Do::start, 2}, {Do::publish, 2}, {Do::ask, 2}}));
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::ready, Phase::starting}));
  bench.happen(Happened::answered, 2);
  EXPECT_EQ(bench.phases(), (Phases{Phase::draining, Phase::ready, Phase::ready}));
  EXPECT_EQ(bench.pool.reason(0), Reason::recycled);
  bench.happen(Happened::drained, 0);
  EXPECT_EQ(bench.happen(Happened::exited, 0), (Actions{{Do::publish, 0}}));
  EXPECT_EQ(bench.phases(), (Phases{Phase::empty, Phase::ready, Phase::ready}));
  EXPECT_FALSE(bench.pool.next_deadline());
}

TEST(Pool, ReplacesWornWorkersOneAfterTheOther) {
  Bench bench = serving(workers(2));
  bench.happen(Happened::worn, 0);
  EXPECT_EQ(bench.happen(Happened::worn, 1), Actions{});
  bench.happen(Happened::answered, 2);
  bench.happen(Happened::drained, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::stopping, Phase::ready, Phase::ready})) << "a third beside two";
  bench.happen(Happened::exited, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::starting, Phase::ready, Phase::ready}));
}

TEST(Pool, KeepsAWornWorkerWhileItsSuccessorCannotBeStarted) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::worn, 0);
  for (int i = 0; i < 5; ++i) {
    bench.happen(Happened::exited, 1);
    EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::empty}));
    EXPECT_GE(bench.until_next(), 75ms);
    bench.pass();
    EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::starting}));
  }
  bench.happen(Happened::answered, 1);
  EXPECT_EQ(bench.phases(), (Phases{Phase::draining, Phase::ready}));
}

TEST(Pool, ReplacesAWornWorkerThatDiesBeforeItsTurnAtOnce) {
  Bench bench = serving(workers(2));
  bench.happen(Happened::worn, 0);
  bench.happen(Happened::exited, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::empty, Phase::ready, Phase::starting})) << "the successor is there already";
}

TEST(Pool, GivesADrainingWorkerTimeForWhatItWorksOn) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::worn, 0);
  bench.happen(Happened::answered, 1);
  EXPECT_EQ(bench.until_next(), 60s);
  bench.pass();
  EXPECT_EQ(bench.phase(0), Phase::stopping);
}

TEST(Pool, ReportsAWorkerThatCrashesWhileItDrains) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::worn, 0);
  bench.happen(Happened::answered, 1);
  EXPECT_EQ(bench.happen(Happened::exited, 0), (Actions{{Do::publish, 0}, {Do::report_death, 0, Reason::crashed}}));
}

TEST(Pool, ReplacesAWorkerThatHasLivedLongEnough) {
  PoolPolicy policy = workers(1);
  policy.max_lifetime = 10s;
  Bench bench = serving(policy);
  EXPECT_GE(bench.until_next(), 9s);
  EXPECT_LE(bench.until_next(), 10s);
  bench.pass();
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::starting}));
}

TEST(Pool, AllowsEachWorkerALittleLessThanTheMostRequests) {
  PoolPolicy policy = workers(50);
  policy.max_requests = 1'000;
  Bench bench = serving(policy);
  std::set<std::uint64_t> allowances;
  for (std::uint32_t slot = 0; slot < 50; ++slot) {
    EXPECT_GE(bench.pool.allowance(slot), 900u);
    EXPECT_LE(bench.pool.allowance(slot), 1'000u);
    allowances.insert(bench.pool.allowance(slot));
  }
  EXPECT_GT(allowances.size(), 10u) << "all are due at the same time";
}

TEST(Pool, AllowsAtLeastOneRequestAndAnyNumberWhereThereIsNoLimit) {
  PoolPolicy policy = workers(1);
  EXPECT_EQ(serving(policy).pool.allowance(0), 0u);
  policy.max_requests = 1;
  EXPECT_EQ(serving(policy).pool.allowance(0), 1u);
}

TEST(Pool, RollsAllWorkersWhenTheirSettingsHaveChanged) {
  Bench bench = serving(workers(2));
  bench.on({Happened::settings_changed});
  for (int rolled = 0; rolled < 2; ++rolled) {
    const auto phases = bench.phases();
    const auto successor =
        static_cast<std::uint32_t>(std::find(phases.begin(), phases.end(), Phase::starting) - phases.begin());
    ASSERT_LT(successor, 3u);
    bench.happen(Happened::answered, successor);
    const auto after = bench.phases();
    const auto old = static_cast<std::uint32_t>(std::find(after.begin(), after.end(), Phase::draining) - after.begin());
    ASSERT_LT(old, 3u);
    EXPECT_EQ(bench.pool.reason(old), Reason::changed);
    bench.happen(Happened::drained, old);
    bench.happen(Happened::exited, old);
  }
  EXPECT_FALSE(bench.pool.next_deadline()) << "all are new";
}

// ---- Deploys ----

TEST(Pool, TriesANewProgramInOneWorkerThatServesNobody) {
  Bench bench = serving(workers(2));
  EXPECT_EQ(bench.on({Happened::deployed}), (Actions{{Do::start, 2}, {Do::publish, 2}, {Do::ask, 2}}));
  EXPECT_TRUE(bench.pool.is_trial(2));
}

TEST(Pool, CommitsToTheNewProgramWhenItsFirstWorkerIsReady) {
  Bench bench = serving(workers(2));
  bench.on({Happened::deployed});
  bench.happen(Happened::answered, 2);
  EXPECT_EQ(bench.count(Do::commit), 1u);
  EXPECT_EQ(bench.phases(), (Phases{Phase::draining, Phase::ready, Phase::ready}));
  EXPECT_EQ(bench.pool.reason(0), Reason::redeployed);
  EXPECT_FALSE(bench.pool.is_trial(2));
  bench.happen(Happened::drained, 0);
  bench.happen(Happened::exited, 0);
  EXPECT_EQ(bench.phase(0), Phase::starting) << "the other old one is due";
}

TEST(Pool, RefusesANewProgramWhoseWorkerDies) {
  Bench bench = serving(workers(2));
  bench.on({Happened::deployed});
  EXPECT_EQ(bench.happen(Happened::exited, 2),
            (Actions{{Do::publish, 2}, {Do::report_refusal, 2, Reason::died_early}}));
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::ready, Phase::empty}));
  EXPECT_FALSE(bench.pool.is_backing_off());
  EXPECT_FALSE(bench.pool.next_deadline()) << "it is not tried again";
}

TEST(Pool, RefusesANewProgramThatCannotBeStarted) {
  Bench bench = serving(workers(1));
  bench.on({Happened::deployed});
  bench.happen(Happened::start_failed, 1);
  EXPECT_EQ(bench.count(Do::report_refusal), 1u);
}

TEST(Pool, RefusesANewProgramThatIsNotReadyInTimeWhereTheOldOneSpoke) {
  Bench bench = serving(workers(1));
  bench.on({Happened::deployed});
  EXPECT_EQ(bench.until_next(), 10s);
  bench.pass();
  EXPECT_EQ(bench.pool.reason(1), Reason::not_ready);
  EXPECT_EQ(bench.phase(1), Phase::stopping);
  EXPECT_EQ(bench.phase(0), Phase::ready);
}

TEST(Pool, ServesNobodyWithANewProgramBeforeItHasPassedTheCheck) {
  PoolPolicy policy = workers(1);
  policy.has_deploy_check = true;
  Bench bench = serving(policy);
  bench.on({Happened::deployed});
  EXPECT_EQ(bench.happen(Happened::answered, 1, {.capacity = 4}), (Actions{{Do::check, 1}}));
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::starting}));
  bench.happen(Happened::check_passed, 1);
  EXPECT_EQ(bench.phases(), (Phases{Phase::draining, Phase::ready}));
  EXPECT_EQ(bench.pool.state(1).capacity, 4);
}

TEST(Pool, RefusesANewProgramThatDoesNotPassTheCheckOrNotInTime) {
  PoolPolicy policy = workers(1);
  policy.has_deploy_check = true;
  for (const bool is_late : {false, true}) {
    Bench bench = serving(policy);
    bench.on({Happened::deployed});
    bench.happen(Happened::answered, 1);
    if (is_late) {
      EXPECT_EQ(bench.until_next(), 10s);
      bench.pass();
    } else {
      bench.happen(Happened::check_failed, 1);
    }
    EXPECT_EQ(bench.actions.back(), (Action{Do::report_refusal, 1, Reason::unfit}));
    EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::stopping}));
  }
}

TEST(Pool, StartsTheOldProgramAfterACrashWhileANewOneIsOnTrialOrRefused) {
  Bench bench = serving(workers(2));
  bench.on({Happened::deployed});
  bench.happen(Happened::exited, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::starting, Phase::ready, Phase::starting}));
  EXPECT_FALSE(bench.pool.is_trial(0));
  bench.happen(Happened::answered, 0);
  bench.happen(Happened::exited, 2);
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::ready, Phase::empty})) << "nothing is due";
}

TEST(Pool, TakesANewProgramAtOnceWhereNobodyServes) {
  Bench bench(workers(1), 2);
  bench.begin();
  for (int i = 0; i < 8; ++i) {
    bench.happen(Happened::exited);
    bench.pass();
  }
  bench.happen(Happened::exited);
  bench.pass(200ms);
  bench.on({Happened::deployed});
  EXPECT_EQ(bench.count(Do::commit), 1u);
  EXPECT_EQ(bench.phase(0), Phase::starting);
}

TEST(Pool, TriesTheLatestProgramWhereOneComesDuringATrial) {
  Bench bench = serving(workers(1));
  bench.on({Happened::deployed});
  bench.on({Happened::deployed});
  EXPECT_EQ(bench.phase(1), Phase::stopping);
  EXPECT_EQ(bench.count(Do::report_refusal), 0u);
  bench.happen(Happened::exited, 1);
  EXPECT_TRUE(bench.pool.is_trial(1));
}

TEST(Pool, TriesNothingMoreWhereTheOldProgramIsBack) {
  Bench bench = serving(workers(1));
  bench.on({Happened::deployed});
  bench.on({Happened::withdrawn});
  bench.happen(Happened::exited, 1);
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::empty}));
}

TEST(Pool, WaitsWithATrialUntilASlotIsFree) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::worn, 0);
  bench.on({Happened::deployed});
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::starting}));
  bench.happen(Happened::answered, 1);
  bench.happen(Happened::drained, 0);
  bench.happen(Happened::exited, 0);
  EXPECT_TRUE(bench.pool.is_trial(0));
}

TEST(Pool, RollsWhatAnEarlierManagerHasStartedFromSomethingElse) {
  const std::uint32_t last[] = {7, 0};
  Pool pool(workers(1), 1, last);
  pool.on({.what = Happened::adopted, .slot = 0, .generation = 7, .phase = Phase::ready, .is_outdated = true}, Time{});
  EXPECT_EQ(pool.on({Happened::began}, Time{}), (Actions{{Do::start, 1}, {Do::publish, 1}, {Do::ask, 1}}));
}

// ---- The hang ladder ----

TEST(Pool, EndsAWorkerThatStaysLateAndReadsItsStacksFirst) {
  Bench bench = serving(workers(1));
  EXPECT_EQ(bench.happen(Happened::late, 0), Actions{});
  EXPECT_EQ(bench.until_next(), 500ms);
  bench.pass();
  EXPECT_EQ(bench.actions, (Actions{{Do::publish, 0},
                                    {Do::report_hang, 0, Reason::hung},
                                    {Do::read_stacks, 0},
                                    {Do::start, 1},
                                    {Do::publish, 1},
                                    {Do::ask, 1}}));
  EXPECT_EQ(bench.phase(0), Phase::draining);
  EXPECT_EQ(bench.happen(Happened::drained, 0), Actions{}) << "its stacks are being read";
  EXPECT_EQ(bench.happen(Happened::stacks_read, 0), (Actions{{Do::publish, 0}, {Do::terminate, 0}}));
  EXPECT_EQ(bench.until_next(), 1s);
  bench.happen(Happened::answered, 1);
  bench.pass();
  EXPECT_EQ(bench.actions, (Actions{{Do::kill, 0}}));
  bench.happen(Happened::exited, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::empty, Phase::ready}));
}

TEST(Pool, DoesNotWaitForStacksThatCannotBeRead) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::late, 0);
  bench.pass();
  bench.happen(Happened::answered, 1);
  EXPECT_EQ(bench.until_next(), 2s);
  EXPECT_EQ(bench.pass(), (Actions{{Do::publish, 0}, {Do::terminate, 0}}));
}

TEST(Pool, KeepsALateWorkerThatRecovers) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::late, 0);
  bench.pass(400ms);
  bench.happen(Happened::recovered, 0);
  EXPECT_FALSE(bench.pool.next_deadline());
  EXPECT_EQ(bench.phase(0), Phase::ready);
}

TEST(Pool, EndsAWorkerThatIsSilentWhileIdle) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::unresponsive, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::draining, Phase::starting}));
  EXPECT_EQ(bench.pool.reason(0), Reason::hung);
}

TEST(Pool, EndsAWorkerThatHangsWhileItDrains) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::worn, 0);
  bench.happen(Happened::answered, 1);
  bench.happen(Happened::late, 0);
  EXPECT_EQ(bench.until_next(), 500ms);
  bench.pass();
  EXPECT_EQ(bench.count(Do::read_stacks), 1u);
}

TEST(Pool, GivesADrainingWorkerItsTimeBackWhenItRecovers) {
  Bench bench = serving(workers(1));
  bench.happen(Happened::worn, 0);
  bench.happen(Happened::answered, 1);
  bench.happen(Happened::late, 0);
  bench.happen(Happened::recovered, 0);
  EXPECT_EQ(bench.until_next(), 60s);
}

TEST(Pool, ReplacesSeveralHungWorkersWithinItsSlots) {
  Bench bench = serving(workers(2));
  bench.happen(Happened::late, 0);
  bench.happen(Happened::late, 1);
  bench.pass();
  EXPECT_EQ(bench.phases(), (Phases{Phase::draining, Phase::draining, Phase::starting}));
  bench.happen(Happened::stacks_read, 0);
  bench.happen(Happened::exited, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::starting, Phase::draining, Phase::starting}));
}

// ---- Refusals ----

TEST(Pool, RefusesForAsLongAsTheNextTryIsAwayWhileTheBreakerIsOpenAndNobodyServes) {
  Bench bench(workers(1));
  bench.begin();
  bench.happen(Happened::exited);
  EXPECT_FALSE(bench.pool.refuses_for());
  for (int i = 0; i < 5; ++i) {
    bench.pass();
    bench.happen(Happened::exited);
  }
  EXPECT_EQ(bench.pool.refuses_for(), bench.until_next());
  bench.pass();
  EXPECT_EQ(bench.pool.refuses_for(), 0ms) << "being tried";
  bench.happen(Happened::answered);
  EXPECT_FALSE(bench.pool.refuses_for());
}

TEST(Pool, RefusesNobodyWhileAWorkerServes) {
  Bench bench(workers(2));
  bench.begin();
  bench.happen(Happened::answered, 0);
  for (int i = 0; i < 5; ++i) {
    bench.happen(Happened::exited, 1);
    bench.pass();
  }
  EXPECT_TRUE(bench.pool.is_backing_off());
  EXPECT_FALSE(bench.pool.refuses_for());
}

TEST(Pool, BacksOffFromWorkersThatDieUnused) {
  Bench bench(workers(1));
  bench.begin();
  for (int life = 1; life <= 3; ++life) {
    bench.happen(Happened::answered);
    bench.pass(50ms);
    bench.on({.what = Happened::exited, .slot = 0, .generation = bench.pool.state(0).generation, .is_unused = true});
    EXPECT_EQ(bench.phase(0), life < 3 ? Phase::starting : Phase::empty) << life;
  }
}

}  // namespace
}  // namespace cppfcgi
