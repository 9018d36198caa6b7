// Pool's rules, each by its name; and a simulation of random workers under a virtual clock.
#include "mod_cppfcgi/manager/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <random>
#include <set>

namespace cppfcgi {

void PrintTo(const Action& action, std::ostream* out) {
  static constexpr const char* names[] = {"start",
                                          "publish",
                                          "ask",
                                          "stop_asking",
                                          "check",
                                          "commit",
                                          "report_refusal",
                                          "report_hang",
                                          "read_stacks",
                                          "terminate",
                                          "kill",
                                          "report_death",
                                          "report_breaker_opened",
                                          "report_breaker_closed"};
  *out << names[static_cast<int>(action.what)] << ' ' << action.slot << " reason " << static_cast<int>(action.reason)
       << " delay " << action.delay.count();
}
void PrintTo(Phase phase, std::ostream* out) {
  static constexpr const char* names[] = {"empty", "starting", "ready", "draining", "stopping"};
  *out << names[static_cast<int>(phase)];
}

namespace {

using namespace std::chrono_literals;

// A pool under a clock that the test turns.
class Bench {
 public:
  explicit Bench(const PoolPolicy& policy, std::uint32_t slots = 0)
      : pool(policy, 42, std::vector<std::uint32_t>(std::max(slots, policy.workers))) {}

  Actions on(Event event) {
    actions = pool.on(event, now);
    return actions;
  }
  Actions happen(Happened what, std::uint32_t slot = 0, Offer offer = {}) {
    return on({.what = what, .slot = slot, .generation = pool.state(slot).generation, .offer = offer});
  }
  Actions begin() { return on({Happened::began}); }
  Actions pass(Duration time) {
    now += time;
    return on({Happened::time_passed});
  }
  // Goes to the next deadline.
  Actions pass() {
    EXPECT_TRUE(pool.next_deadline()) << "nothing to wait for";
    now = std::max(now, pool.next_deadline().value_or(now));
    return on({Happened::time_passed});
  }
  Duration until_next() const { return std::chrono::ceil<Duration>(pool.next_deadline().value_or(now) - now); }
  void make_all_ready() {
    for (std::uint32_t slot = 0; slot < pool.slot_count(); ++slot) {
      if (phase(slot) == Phase::starting) happen(Happened::answered, slot);
    }
  }
  Phase phase(std::uint32_t slot) const { return pool.state(slot).phase; }
  std::vector<Phase> phases() const {
    std::vector<Phase> all;
    for (std::uint32_t slot = 0; slot < pool.slot_count(); ++slot) all.push_back(phase(slot));
    return all;
  }
  std::size_t count(Do what) const {
    return static_cast<std::size_t>(
        std::count_if(actions.begin(), actions.end(), [what](const Action& action) { return action.what == what; }));
  }

  Time now{1h};
  Pool pool;
  Actions actions;  // of the last event
};

PoolPolicy workers(std::uint32_t count) {
  PoolPolicy policy;
  policy.workers = count;
  return policy;
}

using Phases = std::vector<Phase>;

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

// ---- Planned exits: a successor first ----

// A pool of so many ready workers, with a slot more.
Bench serving(const PoolPolicy& policy) {
  Bench bench(policy, policy.workers + 1);
  bench.begin();
  bench.make_all_ready();
  return bench;
}

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

// ---- Simulation: random workers, in virtual time ----

// What a started worker is going to do.
struct Fate {
  std::uint32_t generation = 0;
  Time speaks;  // answers or closes
  Time dies;
  Time checked = Time::max();
  Time read = Time::max();  // its stacks
  Time drains;
  bool obeys = true;  // SIGTERM
  bool lives = true;
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed)
      : random_(seed),
        policy_(policy()),
        bench_(policy_, policy_.workers + (chance(0.8) ? 1 : 0)),
        fates_(bench_.pool.slot_count()),
        phases_(bench_.pool.slot_count(), Phase::empty) {}

  void run(int steps) {
    obey(bench_.begin());
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      if (chance(0.002)) is_broken_ = !is_broken_;
      meddle();
      act();
      check();
    }
    is_broken_ = false;
    recover();
    end();
  }

 private:
  PoolPolicy policy() {
    PoolPolicy policy;
    policy.workers = 1 + pick(8);
    policy.init_start_delay = Duration(pick(2) * pick(50));
    policy.restart_delay = Duration(100 + pick(5'000));
    policy.min_server_life = Duration(pick(2) * pick(3'000));
    policy.ready_timeout = Duration(1 + pick(500));
    policy.stop_grace = Duration(pick(1'000));
    policy.max_lifetime = Duration(pick(2) * (1'000 + pick(100'000)));
    policy.has_deploy_check = chance(0.5);
    return policy;
  }
  std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
  bool chance(double part) { return std::uniform_real_distribution<double>(0, 1)(random_) < part; }

  // What nobody can foresee.
  void meddle() {
    const std::uint32_t slot = pick(bench_.pool.slot_count());
    if (chance(0.02)) obey(bench_.happen(Happened::worn, slot));
    if (chance(0.02)) obey(bench_.happen(Happened::late, slot));
    if (chance(0.05)) obey(bench_.happen(Happened::recovered, slot));
    if (chance(0.01)) obey(bench_.happen(Happened::unresponsive, slot));
    if (chance(0.01)) obey(bench_.on({Happened::deployed}));
    if (chance(0.005)) obey(bench_.on({Happened::withdrawn}));
    if (chance(0.005)) obey(bench_.on({Happened::settings_changed}));
    if (chance(0.005)) obey(bench_.on({Happened::program_changed}));
  }

  // The next thing that happens, by its time.
  void act() {
    std::uint32_t slot = 0;
    std::optional<Time> first = bench_.pool.next_deadline();
    Happened what = Happened::time_passed;
    for (std::uint32_t i = 0; i < fates_.size(); ++i) {
      const Fate& fate = fates_[i];
      if (!fate.lives || fate.generation == 0) continue;
      const auto consider = [&](Time when, Happened then) {
        if (!first || when < *first) first = when, slot = i, what = then;
      };
      if (bench_.phase(i) == Phase::starting) consider(fate.speaks, Happened::answered);
      if (bench_.phase(i) == Phase::starting) consider(fate.checked, Happened::check_passed);
      if (bench_.phase(i) == Phase::draining) consider(fate.drains, Happened::drained);
      consider(fate.read, Happened::stacks_read);
      consider(fate.dies, Happened::exited);
    }
    if (!first) return;
    const Time before = bench_.now;
    bench_.now = std::max(bench_.now, *first);
    idle_turns_ = bench_.now == before && what == Happened::time_passed ? idle_turns_ + 1 : 0;
    EXPECT_LT(idle_turns_, 3) << "a deadline that does nothing";
    if (what == Happened::exited) fates_[slot].lives = false;
    if (what == Happened::answered) {
      fates_[slot].speaks = Time::max();
      if (chance(0.2)) what = Happened::closed;
      if (chance(0.1)) what = Happened::notified;
    }
    if (what == Happened::check_passed) {
      fates_[slot].checked = Time::max();
      if (chance(0.3)) what = Happened::check_failed;
    }
    if (what == Happened::drained) fates_[slot].drains = Time::max();
    if (what == Happened::stacks_read) fates_[slot].read = Time::max();
    obey(bench_.happen(what, slot));
  }

  void obey(const Actions& actions) {
    for (const Action& action : actions) {
      Fate& fate = fates_[action.slot];
      switch (action.what) {
        case Do::start:
          EXPECT_TRUE(fate.generation == 0 || !fate.lives) << "started beside a living worker";
          start(fate, bench_.pool.state(action.slot).generation);
          break;
        case Do::terminate:
          EXPECT_TRUE(fate.lives);
          if (fate.obeys) fate.dies = std::min(fate.dies, bench_.now + Duration(pick(20)));
          break;
        case Do::kill:
          EXPECT_TRUE(fate.lives);
          fate.dies = bench_.now;
          break;
        case Do::report_death:
          EXPECT_LE(action.delay, std::max(policy_.restart_delay, Pool::first_delay));
          break;
        case Do::check:
          if (chance(0.9)) fate.checked = bench_.now + Duration(pick(100));
          break;
        case Do::read_stacks:
          if (chance(0.9)) fate.read = bench_.now + Duration(pick(300));
          break;
        case Do::commit:
        case Do::publish:
        case Do::ask:
        case Do::stop_asking:
        case Do::report_refusal:
        case Do::report_hang:
        case Do::report_breaker_opened:
        case Do::report_breaker_closed:
          break;
      }
    }
  }

  void start(Fate& fate, std::uint32_t generation) {
    EXPECT_GT(generation, fate.generation);
    fate = {.generation = generation, .obeys = chance(0.8)};
    fate.speaks = chance(0.1) ? Time::max() : bench_.now + Duration(pick(300));
    fate.dies = bench_.now + Duration(is_broken_ ? pick(50) : pick(100'000));
    fate.drains = bench_.now + Duration(pick(100'000));
    if (is_broken_) fate.speaks = Time::max();
  }

  void check() {
    std::uint32_t active = 0;
    std::uint32_t ready = 0;
    bool has_planned_exit = false;
    for (std::uint32_t i = 0; i < fates_.size(); ++i) {
      const Phase phase = bench_.phase(i);
      const Reason reason = bench_.pool.reason(i);
      ready += phase == Phase::ready;
      const bool is_planned = reason == Reason::recycled || reason == Reason::redeployed || reason == Reason::changed;
      has_planned_exit |= is_planned && phase == Phase::draining && phases_[i] == Phase::ready;
      phases_[i] = phase;
      active += phase == Phase::starting || phase == Phase::ready;
      EXPECT_EQ(phase != Phase::empty, fates_[i].lives && fates_[i].generation > 0) << "slot " << i;
      if (phase == Phase::ready) {
        EXPECT_GE(bench_.pool.state(i).capacity, 1);
      }
    }
    EXPECT_LE(active, policy_.workers + 1);
    EXPECT_TRUE(!has_planned_exit || ready >= policy_.workers) << "a worker went before its successor was ready";
    const bool has_killed = std::count(phases_.begin(), phases_.end(), Phase::stopping) > 0;
    EXPECT_TRUE(active >= policy_.workers || bench_.pool.next_deadline() || has_killed)
        << "a worker is missing and nothing is waited for: " << testing::PrintToString(phases_) << " of "
        << policy_.workers;
    if (const auto due = bench_.pool.next_deadline()) {
      EXPECT_GT(*due, bench_.now) << "what is due was not done";
    }
  }

  // Once programs are sound, all workers are ready again after the longest pause, however long they were broken.
  void recover() {
    for (Fate& fate : fates_) {
      if (fate.generation > 0 && fate.lives) fate.dies = bench_.now;
    }
    const Time until = bench_.now + policy_.restart_delay + policy_.init_start_delay * 9 + 20s;
    while (bench_.now < until && !::testing::Test::HasFailure()) {
      act();
      check();
      for (Fate& fate : fates_) {
        if (fate.lives && fate.dies > bench_.now) fate.dies = Time::max();
      }
      if (all_ready()) return;
    }
    EXPECT_TRUE(all_ready()) << "not all are back";
  }

  bool all_ready() const {
    const Phases phases = bench_.phases();
    return std::count(phases.begin(), phases.end(), Phase::ready) >= static_cast<std::ptrdiff_t>(policy_.workers);
  }

  void end() {
    const Time until = bench_.now + policy_.stop_grace + 1ms;
    obey(bench_.on({Happened::shut_down}));
    while (!bench_.pool.is_over() && bench_.now < until && !::testing::Test::HasFailure()) act();
    EXPECT_TRUE(bench_.pool.is_over());
    EXPECT_LE(bench_.now, until);
  }

  std::mt19937_64 random_;
  PoolPolicy policy_;
  Bench bench_;
  std::vector<Fate> fates_;
  Phases phases_;  // at the last check
  bool is_broken_ = false;
  int idle_turns_ = 0;
};

TEST(PoolSimulation, KeepsItsPromisesWhateverWorkersDo) {
  for (std::uint64_t seed = 1; seed <= 300 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation(seed).run(2'000);
  }
}

}  // namespace
}  // namespace cppfcgi
