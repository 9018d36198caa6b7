// Pool's rules, each by its name; and a simulation of random workers under a virtual clock.
#include "mod_cppfcgi/manager/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <random>

namespace cppfcgi {

void PrintTo(const Action& action, std::ostream* out) {
  static constexpr const char* names[] = {"start",
                                          "publish",
                                          "ask",
                                          "stop_asking",
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
  EXPECT_EQ(bench.happen(Happened::notified), (Actions{{Do::ask, 0}}));
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

// ---- Simulation: random workers, in virtual time ----

// What a started worker is going to do.
struct Fate {
  std::uint32_t generation = 0;
  Time speaks;  // answers or closes
  Time dies;
  bool obeys = true;  // SIGTERM
  bool lives = true;
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed)
      : random_(seed),
        policy_(policy()),
        bench_(policy_, policy_.workers + pick(2)),
        fates_(bench_.pool.slot_count()) {}

  void run(int steps) {
    obey(bench_.begin());
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      if (chance(0.002)) is_broken_ = !is_broken_;
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
    return policy;
  }
  std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
  bool chance(double part) { return std::uniform_real_distribution<double>(0, 1)(random_) < part; }

  // The next thing that happens, by its time.
  void act() {
    std::uint32_t slot = 0;
    std::optional<Time> first = bench_.pool.next_deadline();
    Happened what = Happened::time_passed;
    for (std::uint32_t i = 0; i < fates_.size(); ++i) {
      const Fate& fate = fates_[i];
      if (!fate.lives || fate.generation == 0) continue;
      if (bench_.phase(i) == Phase::starting && (!first || fate.speaks < *first))
        first = fate.speaks, slot = i, what = Happened::answered;
      if (!first || fate.dies < *first) first = fate.dies, slot = i, what = Happened::exited;
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
        case Do::publish:
        case Do::ask:
        case Do::stop_asking:
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
    if (is_broken_) fate.speaks = Time::max();
  }

  void check() {
    std::uint32_t active = 0;
    for (std::uint32_t i = 0; i < fates_.size(); ++i) {
      const Phase phase = bench_.phase(i);
      active += phase == Phase::starting || phase == Phase::ready;
      EXPECT_EQ(phase != Phase::empty, fates_[i].lives && fates_[i].generation > 0) << "slot " << i;
      if (phase == Phase::ready) {
        EXPECT_GE(bench_.pool.state(i).capacity, 1);
      }
    }
    EXPECT_LE(active, policy_.workers);
    EXPECT_TRUE(active == policy_.workers || bench_.pool.next_deadline())
        << "a worker is missing and nothing is waited for";
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
    return std::count(phases.begin(), phases.end(), Phase::ready) == static_cast<std::ptrdiff_t>(policy_.workers);
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
