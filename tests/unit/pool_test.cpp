// Pool's rules for workers that come and go unplanned, each by its name.
#include "mod_cppfcgi/manager/pool.h"

#include <gtest/gtest.h>

#include "tests/unit/pool_bench.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using test::Bench;
using test::Phases;
using test::workers;

// ---- Starts ----

TEST(Pool, StartsNothingBeforeItsSocketsListen) {
  Bench bench(workers(2));
  EXPECT_EQ(bench.on({Happened::time_passed}), Actions{});
  EXPECT_FALSE(bench.pool.next_deadline());
}

TEST(Pool, StartsAllWorkersAtOnceAndAsksEach) {
  Bench bench(workers(2));
  EXPECT_EQ(bench.begin(),
            (Actions{{Do::start, 0}, {Do::publish, 0}, {Do::ask, 0}, {Do::start, 1}, {Do::publish, 1}, {Do::ask, 1}}));
}

TEST(Pool, PausesBetweenFirstStartsWhereThatIsAskedFor) {
  PoolPolicy policy = workers(3);
  policy.init_start_delay = 200ms;
  Bench bench(policy);
  bench.begin();
  bench.happen(Happened::answered, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::empty, Phase::empty}));
  EXPECT_EQ(bench.until_next(), 200ms);
  bench.pass();
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::starting, Phase::empty}));
}

TEST(Pool, DoesNotPauseWhenItReplacesAWorker) {
  PoolPolicy policy = workers(2);
  policy.init_start_delay = 10s;
  policy.ready_timeout = 60s;
  Bench bench(policy);
  bench.begin();
  bench.happen(Happened::answered, 0);
  bench.happen(Happened::exited, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::starting, Phase::empty}));
}

TEST(Pool, CountsGenerationsOnFromTheRowsLast) {
  const std::uint32_t last[] = {7};
  Pool pool(workers(1), 1, last);
  pool.on({Happened::began}, Time{});
  EXPECT_EQ(pool.state(0).generation, 8u);
}

TEST(Pool, KeepsSpareSlotsEmpty) {
  Bench bench(workers(1), 2);
  bench.begin();
  bench.make_all_ready();
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::empty}));
  EXPECT_FALSE(bench.pool.next_deadline());
}

// ---- Readiness ----

TEST(Pool, IsReadyWithTheCapacityThatTheWorkerTells) {
  Bench bench(workers(1));
  bench.begin();
  EXPECT_EQ(bench.happen(Happened::answered, 0, {.capacity = 8, .connections = 100, .is_multiplexed = true}),
            (Actions{{Do::publish, 0}}));
  EXPECT_EQ(
      bench.pool.state(0),
      (SlotState{.generation = 1, .phase = Phase::ready, .capacity = 8, .is_multiplexed = true, .connections = 100}));
}

TEST(Pool, TellsOfAWorkerThatSaysItIsReadyThatItBeginsWithTheWholeRequest) {
  Bench bench(workers(1));
  bench.begin();
  bench.happen(Happened::notified);
  bench.happen(Happened::answered);
  EXPECT_TRUE(bench.pool.state(0).begins_whole);
  bench.happen(Happened::exited);
  bench.happen(Happened::answered);
  EXPECT_FALSE(bench.pool.state(0).begins_whole) << "another worker, which has not said so";
  Pool adopter(workers(1), 1, std::array<std::uint32_t, 1>{7});
  adopter.on({.what = Happened::adopted, .generation = 7, .phase = Phase::ready, .begins_whole = true}, Time{});
  EXPECT_TRUE(adopter.state(0).begins_whole);
}

TEST(Pool, IsReadyWithOneRequestAtATimeWhereTheQuestionIsRefused) {
  Bench bench(workers(1));
  bench.begin();
  bench.happen(Happened::closed);
  EXPECT_EQ(bench.pool.state(0), (SlotState{.generation = 1, .phase = Phase::ready, .capacity = 1, .connections = 1}));
}

TEST(Pool, CountsALongSilentWorkerAsReadyForOneRequestAndStopsAskingIt) {
  Bench bench(workers(1));
  bench.begin();
  EXPECT_EQ(bench.until_next(), 1'000ms);
  EXPECT_EQ(bench.pass(), (Actions{{Do::stop_asking, 0}, {Do::publish, 0}}));
  EXPECT_EQ(bench.pool.state(0).capacity, 1);
}

TEST(Pool, WaitsForTheAnswerOfAWorkerThatSaysItIsReady) {
  Bench bench(workers(1));
  bench.begin();
  bench.pass(900ms);
  EXPECT_EQ(bench.happen(Happened::notified), Actions{});
  bench.pass(900ms);
  EXPECT_EQ(bench.phase(0), Phase::starting);
  bench.pass(100ms);
  EXPECT_EQ(bench.phase(0), Phase::ready);
}

TEST(Pool, AsksASilentWorkerAgainWhenItSaysThatItIsReady) {
  Bench bench(workers(1));
  bench.begin();
  bench.pass(1s);
  EXPECT_EQ(bench.happen(Happened::notified), (Actions{{Do::publish, 0}, {Do::ask, 0}}));
  EXPECT_EQ(bench.happen(Happened::answered, 0, {.capacity = 4}), (Actions{{Do::publish, 0}}));
  EXPECT_EQ(bench.pool.state(0).capacity, 4);
}

TEST(Pool, IsPatientWithASilentWorkerWhereOthersOfThePoolHaveSpoken) {
  Bench bench(workers(1));
  bench.begin();
  bench.happen(Happened::answered);
  bench.happen(Happened::exited);
  bench.pass(1s);
  EXPECT_EQ(bench.phase(0), Phase::starting);
  bench.pass(9s);
  EXPECT_EQ(bench.phase(0), Phase::ready);
}

TEST(Pool, IgnoresWhatAnEarlierGenerationSaid) {
  Bench bench(workers(1));
  bench.begin();
  bench.happen(Happened::answered);
  bench.happen(Happened::exited);
  for (const Happened late : {Happened::answered, Happened::closed, Happened::exited, Happened::notified}) {
    EXPECT_EQ(bench.on({.what = late, .slot = 0, .generation = 1}), Actions{});
  }
  EXPECT_EQ(bench.phase(0), Phase::starting);
}

// ---- Deaths ----

TEST(Pool, ReplacesAReadyWorkerThatDiesAtOnce) {
  Bench bench(workers(2));
  bench.begin();
  bench.make_all_ready();
  EXPECT_EQ(
      bench.happen(Happened::exited, 1),
      (Actions{
          {Do::publish, 1}, {Do::start, 1}, {Do::publish, 1}, {Do::ask, 1}, {Do::report_death, 1, Reason::crashed}}));
}

TEST(Pool, ReplacesReadyWorkersAtOnceHoweverManyDie) {
  Bench bench(workers(1));
  bench.begin();
  for (int i = 0; i < 100; ++i) {
    bench.happen(Happened::answered);
    bench.happen(Happened::exited);
    ASSERT_EQ(bench.phase(0), Phase::starting) << i;
  }
}

TEST(Pool, BacksOffWhenAWorkerDiesBeforeItIsReady) {
  Bench bench(workers(1));
  bench.begin();
  bench.happen(Happened::exited);
  EXPECT_EQ(bench.phase(0), Phase::empty);
  EXPECT_EQ(bench.actions.back().what, Do::report_death);
  EXPECT_EQ(bench.actions.back().reason, Reason::died_early);
  EXPECT_EQ(bench.actions.back().delay, bench.until_next());
  bench.pass();
  EXPECT_EQ(bench.phase(0), Phase::starting);
}

TEST(Pool, DoublesThePauseWithEachEarlyDeathUpToTheLongest) {
  PoolPolicy policy = workers(1);
  policy.restart_delay = 5s;
  Bench bench(policy);
  bench.begin();
  Duration full = 100ms;
  for (int death = 0; death < 12; ++death) {
    bench.happen(Happened::exited);
    EXPECT_LE(bench.until_next(), full) << death;
    EXPECT_GE(bench.until_next(), full * 3 / 4) << death;
    full = std::min(full * 2, Duration{5'000});
    bench.pass();
    ASSERT_EQ(bench.phase(0), Phase::starting);
  }
}

TEST(Pool, TreatsAFailedStartLikeAnEarlyDeath) {
  Bench bench(workers(1));
  bench.begin();
  bench.happen(Happened::start_failed);
  EXPECT_EQ(bench.actions.back().reason, Reason::died_early);
  EXPECT_GT(bench.until_next(), 0ms);
}

TEST(Pool, NeverStartsInALoopWithoutPauseEvenWhereTheLongestPauseIsZero) {
  PoolPolicy policy = workers(1);
  policy.restart_delay = 0ms;
  Bench bench(policy);
  bench.begin();
  for (int i = 0; i < 5; ++i) {
    bench.happen(Happened::exited);
    EXPECT_GE(bench.until_next(), 75ms);
    bench.pass();
  }
}

TEST(Pool, StartsOneAtATimeAfterThreeEarlyDeathsInARow) {
  Bench bench(workers(4));
  bench.begin();
  for (std::uint32_t slot : {0, 1, 2}) bench.happen(Happened::exited, slot);
  EXPECT_EQ(bench.count(Do::report_breaker_opened), 1u);
  bench.happen(Happened::exited, 3);
  EXPECT_EQ(bench.count(Do::report_breaker_opened), 0u);
  bench.pass();
  EXPECT_EQ(bench.count(Do::start), 1u);
  bench.pass(100ms);
  EXPECT_EQ(bench.count(Do::start), 0u) << "another start beside the first";
}

TEST(Pool, StartsAllAtOnceWhenTheFirstIsReadyAgain) {
  Bench bench(workers(4));
  bench.begin();
  for (std::uint32_t slot : {0, 1, 2, 3}) bench.happen(Happened::exited, slot);
  bench.pass();
  bench.happen(Happened::answered, 0);
  EXPECT_EQ(bench.phases(), (Phases{Phase::ready, Phase::starting, Phase::starting, Phase::starting}));
  EXPECT_EQ(bench.count(Do::report_breaker_closed), 1u);
}

TEST(Pool, ForgetsEarlyDeathsWhenAWorkerIsReady) {
  Bench bench(workers(1));
  bench.begin();
  for (int i = 0; i < 6; ++i) {
    bench.happen(Happened::exited);
    bench.pass();
  }
  bench.happen(Happened::answered);
  bench.happen(Happened::exited);
  bench.happen(Happened::exited);
  EXPECT_LE(bench.until_next(), 100ms);
}

TEST(Pool, CountsDeathsOfWorkersStartedTogetherAsAFew) {
  Bench bench(workers(50));
  bench.begin();
  for (std::uint32_t slot = 0; slot < 50; ++slot) bench.happen(Happened::exited, slot);
  EXPECT_LE(bench.until_next(), 400ms);
}

TEST(Pool, LeavesReadyWorkersAloneWhileOthersCannotBeStarted) {
  Bench bench(workers(2));
  bench.begin();
  bench.happen(Happened::answered, 0);
  for (int i = 0; i < 5; ++i) {
    bench.happen(Happened::exited, 1);
    bench.pass();
  }
  EXPECT_EQ(bench.phase(0), Phase::ready);
}

TEST(Pool, TriesAtOnceWhenTheProgramHasChanged) {
  Bench bench(workers(1));
  bench.begin();
  for (int i = 0; i < 8; ++i) {
    bench.happen(Happened::exited);
    bench.pass();
  }
  bench.happen(Happened::exited);
  bench.pass(2s);
  ASSERT_EQ(bench.phase(0), Phase::empty);
  bench.happen(Happened::program_changed);
  EXPECT_EQ(bench.phase(0), Phase::starting);
}

// A deploy writes the new program beside the old one, and renames it: the first may bring a try of the old one, during
// which the second comes.
TEST(Pool, TriesAgainSoonWhenTheProgramHasChangedDuringATry) {
  Bench bench(workers(1));
  bench.begin();
  for (int i = 0; i < 8; ++i) {
    bench.happen(Happened::exited);
    bench.pass();
  }
  ASSERT_EQ(bench.phase(0), Phase::starting);
  bench.now += 1ms;
  bench.happen(Happened::program_changed);
  bench.now += 1ms;
  bench.happen(Happened::exited);
  EXPECT_LE(bench.until_next(), 100ms);
  bench.pass();
  bench.happen(Happened::exited);
  EXPECT_GT(bench.until_next(), 1s) << "and no sooner again and again";
}

TEST(Pool, TriesNotMoreThanTenTimesASecondHoweverOftenTheProgramChanges) {
  Bench bench(workers(1));
  bench.begin();
  bench.happen(Happened::exited);
  bench.happen(Happened::program_changed);
  EXPECT_EQ(bench.phase(0), Phase::empty);
}

TEST(Pool, BacksOffFromTheThirdShortLifeInARow) {
  PoolPolicy policy = workers(1);
  policy.min_server_life = 30s;
  Bench bench(policy);
  bench.begin();
  for (int life = 1; life <= 4; ++life) {
    bench.happen(Happened::answered);
    bench.pass(5s);
    bench.happen(Happened::exited);
    EXPECT_EQ(bench.phase(0), life < 3 ? Phase::starting : Phase::empty) << life;
    if (life == 4) {
      EXPECT_GT(bench.until_next(), 100ms) << "doubled";
    }
    if (life >= 3) bench.pass();
  }
}

TEST(Pool, ForgetsShortLivesWhenAWorkerLivesLongEnough) {
  PoolPolicy policy = workers(1);
  policy.min_server_life = 30s;
  Bench bench(policy);
  bench.begin();
  for (int life = 0; life < 3; ++life) {
    bench.happen(Happened::answered);
    bench.happen(Happened::exited);
  }
  bench.pass();
  bench.happen(Happened::answered);
  bench.pass(30s);
  EXPECT_FALSE(bench.pool.is_backing_off());
  bench.happen(Happened::exited);
  EXPECT_EQ(bench.phase(0), Phase::starting);
}

TEST(Pool, DoesNotTrustAMerelySilentWorkerUntilItHasLivedAWhile) {
  Bench bench(workers(1));
  bench.begin();
  for (int life = 1; life <= 3; ++life) {
    bench.pass();  // silent, so ready
    ASSERT_EQ(bench.phase(0), Phase::ready);
    bench.pass(500ms);
    bench.happen(Happened::exited);
  }
  EXPECT_EQ(bench.phase(0), Phase::empty) << "a program that needs 1.5 s to fail is not started in a loop";
}

// ---- Ends ----

TEST(Pool, DrainsReadyWorkersOfARemovedPoolAndStopsStartingOnes) {
  Bench bench(workers(2));
  bench.begin();
  bench.happen(Happened::answered, 0);
  EXPECT_EQ(bench.on({Happened::removed}), (Actions{{Do::publish, 0}, {Do::publish, 1}, {Do::terminate, 1}}));
  EXPECT_EQ(bench.phases(), (Phases{Phase::draining, Phase::stopping}));
}

TEST(Pool, TerminatesADrainedWorkerAndIsOverWhenItHasEnded) {
  Bench bench(workers(1));
  bench.begin();
  bench.make_all_ready();
  bench.on({Happened::removed});
  EXPECT_EQ(bench.happen(Happened::drained), (Actions{{Do::publish, 0}, {Do::terminate, 0}}));
  EXPECT_FALSE(bench.pool.is_over());
  EXPECT_EQ(bench.happen(Happened::exited), (Actions{{Do::publish, 0}}));
  EXPECT_TRUE(bench.pool.is_over());
  EXPECT_FALSE(bench.pool.next_deadline());
}

TEST(Pool, TerminatesAWorkerThatDoesNotDrainAndKillsOneThatDoesNotEnd) {
  Bench bench(workers(1));
  bench.begin();
  bench.make_all_ready();
  bench.on({Happened::removed});
  EXPECT_EQ(bench.until_next(), 2'000ms);
  EXPECT_EQ(bench.pass(), (Actions{{Do::publish, 0}, {Do::terminate, 0}}));
  EXPECT_EQ(bench.until_next(), 2'000ms);
  EXPECT_EQ(bench.pass(), (Actions{{Do::kill, 0}}));
  EXPECT_FALSE(bench.pool.next_deadline()) << "no more can be done";
}

TEST(Pool, EndsAllWithinTheGraceWhenItIsShutDown) {
  Bench bench(workers(1));
  bench.begin();
  bench.make_all_ready();
  bench.on({Happened::shut_down});
  EXPECT_EQ(bench.until_next(), 1'000ms);
  bench.pass();
  EXPECT_EQ(bench.count(Do::terminate), 1u);
  EXPECT_EQ(bench.until_next(), 1'000ms);
  bench.pass();
  EXPECT_EQ(bench.count(Do::kill), 1u);
}

TEST(Pool, HurriesWhenItIsShutDownWhileItDrains) {
  PoolPolicy policy = workers(1);
  policy.stop_grace = 60s;
  Bench bench(policy);
  bench.begin();
  bench.make_all_ready();
  bench.on({Happened::removed});
  bench.on({Happened::shut_down});
  EXPECT_EQ(bench.until_next(), 30s);
  bench.pass();
  EXPECT_EQ(bench.until_next(), 30s);
}

TEST(Pool, ReplacesNothingWhileItEnds) {
  Bench bench(workers(2));
  bench.begin();
  bench.make_all_ready();
  bench.on({Happened::shut_down});
  bench.happen(Happened::exited, 0);
  EXPECT_EQ(bench.count(Do::start), 0u);
  EXPECT_EQ(bench.count(Do::report_death), 0u);
}

TEST(Pool, IsOverAtOnceWhereNoWorkerLives) {
  Bench bench(workers(2));
  bench.on({Happened::shut_down});
  EXPECT_TRUE(bench.pool.is_over());
}

TEST(Pool, StartsAgainWhatHasEndedWhenAConfigurationKnowsItAgain) {
  Bench bench(workers(2));
  bench.begin();
  bench.make_all_ready();
  bench.on({Happened::removed});
  bench.happen(Happened::drained, 0);
  bench.happen(Happened::exited, 0);
  bench.on({Happened::restored});
  EXPECT_EQ(bench.phases(), (Phases{Phase::starting, Phase::draining}));
}

// ---- Adoption ----

TEST(Pool, KeepsAnAdoptedWorkerWithItsGenerationAndCapacity) {
  const std::uint32_t last[] = {7, 3};
  Pool pool(workers(2), 1, last);
  pool.on({.what = Happened::adopted, .slot = 0, .generation = 7, .offer = {.capacity = 5}, .phase = Phase::ready},
          Time{});
  const Actions actions = pool.on({Happened::began}, Time{});
  EXPECT_EQ(actions, (Actions{{Do::start, 1}, {Do::publish, 1}, {Do::ask, 1}}));
  EXPECT_EQ(pool.state(0), (SlotState{.generation = 7, .phase = Phase::ready, .capacity = 5, .connections = 1}));
}

TEST(Pool, AsksAnAdoptedWorkerThatWasStillStarting) {
  const std::uint32_t last[] = {7};
  Pool pool(workers(1), 1, last);
  const Actions actions =
      pool.on({.what = Happened::adopted, .slot = 0, .generation = 7, .phase = Phase::starting}, Time{});
  EXPECT_EQ(actions, (Actions{{Do::publish, 0}, {Do::ask, 0}}));
}

}  // namespace
}  // namespace cppfcgi
