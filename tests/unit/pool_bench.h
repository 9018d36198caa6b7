// Bench: a Pool under a clock that the test turns, and what its tests share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <vector>

#include "mod_cppfcgi/manager/pool.h"

namespace cppfcgi {

inline void PrintTo(const Action& action, std::ostream* out) {
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
inline void PrintTo(Phase phase, std::ostream* out) {
  static constexpr const char* names[] = {"empty", "starting", "ready", "draining", "stopping"};
  *out << names[static_cast<int>(phase)];
}

namespace test {

using namespace std::chrono_literals;

// A pool under a clock that the test turns.
class Bench {
 public:
  explicit Bench(const PoolPolicy& policy, std::uint32_t slots = 0)
      : pool(policy, 42, std::vector<std::uint32_t>(std::max({slots, policy.workers, policy.most}))) {}

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

inline PoolPolicy workers(std::uint32_t count) {
  PoolPolicy policy;
  policy.workers = count;
  return policy;
}

using Phases = std::vector<Phase>;

// A pool of so many ready workers, with a slot more.
inline Bench serving(const PoolPolicy& policy) {
  Bench bench(policy, policy.workers + 1);
  bench.begin();
  bench.make_all_ready();
  return bench;
}

}  // namespace test
}  // namespace cppfcgi
