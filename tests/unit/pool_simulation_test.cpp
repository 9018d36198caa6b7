// A pool of random workers under a virtual clock, its invariants checked after each event.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/unit/pool_bench.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using test::Bench;
using test::Phases;

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
        bench_(policy_, std::max(policy_.workers, policy_.most) + (chance(0.8) ? 1 : 0)),
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
    if (chance(0.5)) {
      policy.workers -= pick(2);
      policy.most = policy.workers + 1 + pick(8);
      policy.idle_process_timeout = Duration(1 + pick(5'000));
    }
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
    if (chance(0.02)) meet(bench_.happen(Happened::worn, slot));
    if (chance(0.02)) meet(bench_.happen(Happened::late, slot));
    if (chance(0.05)) meet(bench_.happen(Happened::recovered, slot));
    if (chance(0.01)) meet(bench_.happen(Happened::unresponsive, slot));
    if (chance(0.01)) meet(bench_.on({Happened::deployed}));
    if (chance(0.005)) meet(bench_.on({Happened::withdrawn}));
    if (chance(0.005)) meet(bench_.on({Happened::settings_changed}));
    if (chance(0.005)) meet(bench_.on({Happened::program_changed}));
    const auto look = bench_.pool.next_look();
    if (look && (*look <= bench_.now || chance(0.3))) this->look(std::max(*look, bench_.now));
    if (policy_.most > policy_.workers && chance(0.1)) this->look(bench_.now);
  }

  void meet(const Actions& actions) {
    obey(actions);
    check();
  }

  // What load says may be anything.
  void look(Time when) {
    bench_.now = when;
    Demand demand{.waiting = chance(0.3) ? pick(100) : 0, .needed = pick(10), .room = chance(0.9) ? pick(50) : 0};
    if (chance(0.8)) demand.idle = pick(bench_.pool.slot_count());
    meet(bench_.on({.what = Happened::looked, .demand = demand}));
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
          EXPECT_LE(action.delay, std::max(policy_.restart_delay, Backoff::first_delay));
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
    const std::uint32_t target = bench_.pool.target();
    EXPECT_GE(target, policy_.workers);
    EXPECT_LE(target, std::max(policy_.workers, policy_.most));
    EXPECT_LE(active, std::max(policy_.workers, policy_.most) + 1);
    EXPECT_TRUE(!has_planned_exit || ready >= target) << "a worker went before its successor was ready";
    const bool has_killed = std::count(phases_.begin(), phases_.end(), Phase::stopping) > 0;
    EXPECT_TRUE(active >= target || bench_.pool.next_deadline() || has_killed)
        << "a worker is missing and nothing is waited for: " << testing::PrintToString(phases_) << " of " << target;
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
    return std::count(phases.begin(), phases.end(), Phase::ready) >= static_cast<std::ptrdiff_t>(bench_.pool.target());
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
