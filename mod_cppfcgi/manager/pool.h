// Pool: the whole policy of one pool as a value machine: when a worker is started, counts as ready, is replaced, ended
// or waited for. Pure: no system call, clock or log; time is an argument, what happened goes in, what to do comes out.
// Not here: how any of it is done (pool_keeper.cpp does it, spawn.cpp starts the process).
//
// A slot's way (the phase is public, see scoreboard.h; the reason beside it is why the slot stands there):
//
//            start                answered, closed or long silent             due for a successor, removed, hung …
//   Empty ──────────▶ Starting ──────────────────────────────────▶ Ready ─────────────────────▶ Draining
//     ▲                  │ │                                         │         claims are gone, or │
//     │   exited (early) │ │ removed, shut down                      │         the time for it is  │
//     ├──────────────────┘ └───────────────▶ Stopping ◀──────────────┼─────────────────────────────┘
//     │   exited (crashed, short-lived)          │  SIGTERM, and SIGKILL when its time is over
//     ├──────────────────────────────────────────┼───────────────────┘
//     └──────────────────────────────────────────┘ exited
//
// Starts: a worker that dies once it was ready is replaced at once. After deaths before that Backoff (backoff.h) says
// when the next start may be; while its breaker is open there is one at a time, until a worker is ready. A worker that
// was only silent, that has died unused, or that `min_server_life` has been set for, is trusted when it has lived long
// enough: before that its death counts, too.
//
// Planned exits are make-before-break: a worker that is due (it has served or lived for long, grown large, or is of an
// earlier edition) goes on until one more than the pool wants is ready; there is one slot more than workers, so they
// come one after the other. An edition is what workers are made of: settings and program. A new program is on trial
// first: one worker, which takes no requests until it is ready and has passed the check. Then all others are due; or
// the deploy is refused and nothing has happened.
//
// How many workers there are to be, between the least and the most, Scaling says (scaling.h), from what the keeper sees
// in load. Claims take the lowest slots first, so that the last fall idle; one that is not needed any more is drained.
//
// The hang ladder: late (its requests are over their time: nobody claims it) ── late_grace ─▶ Draining, hung: stacks
// into the log ── then ─▶ Stopping: SIGTERM, SIGKILL. Its successor starts when it is given up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "mod_cppfcgi/manager/backoff.h"
#include "mod_cppfcgi/manager/pool_events.h"
#include "mod_cppfcgi/manager/random.h"
#include "mod_cppfcgi/manager/scaling.h"
#include "shared/pool_config.h"
#include "shared/scoreboard.h"

namespace cppfcgi {

struct PoolPolicy {
  std::uint32_t workers = 1;  // to keep, at least
  std::uint32_t most = 0;     // by demand; below `workers`: no more than these
  Duration idle_process_timeout{60'000};
  Duration init_start_delay{0};
  Duration restart_delay{60'000};
  Duration min_server_life{0};
  Duration ready_timeout{1'000};
  Duration stop_grace{2'000};
  Duration drain_grace{60'000};
  Duration max_lifetime{0};        // 0: any
  std::uint64_t max_requests = 0;  // 0: any number
  bool has_deploy_check = false;

  PoolPolicy() = default;
  explicit PoolPolicy(const PoolConfig& config);
};

class Pool {
 public:
  // A slot for each of `last_generations`: the number of the last worker that the slot's row has seen. At least as many
  // as workers at most; those beyond are room for successors: without one, planned exits do not come.
  Pool(const PoolPolicy& policy, std::uint64_t seed, std::span<const std::uint32_t> last_generations);

  Actions on(const Event& event, Time now);
  void set_policy(const PoolPolicy& policy);  // but for the most workers
  std::optional<Time> next_deadline() const;  // when to say time_passed; nullopt: nothing to wait for
  std::optional<Time> next_look() const;      // when to say looked; nullopt: not before somebody waits

  std::uint32_t slot_count() const { return static_cast<std::uint32_t>(slots_.size()); }
  SlotState state(std::uint32_t slot) const;
  Reason reason(std::uint32_t slot) const { return slots_[slot].reason; }
  bool is_scaled() const { return policy_.most > policy_.workers; }
  std::uint32_t target() const { return scaling_.target(); }  // how many workers there are to be
  bool is_held_back() const { return scaling_.is_held_back(); }
  bool is_backing_off() const { return backoff_.is_at_work(); }
  bool is_trial(std::uint32_t slot) const { return trial_ == slot; }
  // From SIGTERM to SIGKILL. Who hangs seldom minds the first.
  Duration stop_grace(std::uint32_t slot) const {
    return slots_[slot].reason == Reason::hung ? std::min(policy_.stop_grace, hung_grace) : policy_.stop_grace;
  }
  // How many requests the worker may serve, less a little by chance, so that not all are due together; 0: any number.
  std::uint64_t allowance(std::uint32_t slot) const { return slots_[slot].allowance; }
  // The breaker is open and nobody serves: how long until the next try.
  std::optional<Duration> refuses_for() const;
  bool is_over() const;  // removed or shut down, and all workers have ended

  static constexpr std::uint32_t silence_trust = 10;  // ready_timeouts that a silent worker must live to be trusted
  static constexpr std::uint32_t spoken_patience =
      10;                                         // ready_timeouts for silence where others of the pool have spoken
  static constexpr Duration late_grace{500};      // for a late request to end after all
  static constexpr Duration stacks_grace{2'000};  // for its stacks to be read
  static constexpr Duration hung_grace{1'000};    // at most, from SIGTERM to SIGKILL
  static constexpr Duration check_grace{10'000};  // for the deploy check
  static constexpr Duration unused_trust{1'000};  // that an unused worker must live to be trusted
  static constexpr double jitter = 0.1;           // of lifetime and allowance, downwards

 private:
  enum class Mode : std::uint8_t { waiting, running, removed, shut_down };
  enum class Voice : std::uint8_t { unheard, silent, heard };
  struct Slot {
    Phase phase = Phase::empty;
    Reason reason = Reason::none;
    Voice voice = Voice::unheard;
    bool was_started = false;
    bool is_late = false;
    bool is_checking = false;  // on trial: ready but for the check
    bool is_worn = false;
    bool begins_whole = false;  // it has said that it is ready, as our library alone does
    std::uint32_t generation = 0;
    std::uint32_t edition = 0;
    Offer offer;
    Time started;
    std::uint64_t allowance = 0;
    std::optional<Time> deadline;   // of the phase
    std::optional<Time> lifes_end;  // ready: when it is due by age
  };

  void take(const Event& event);
  void be_notified(std::uint32_t slot);
  void hear(std::uint32_t slot, Offer offer, Voice voice);
  void become_ready(std::uint32_t slot, Offer offer, Voice voice);
  void bury(std::uint32_t slot, bool is_unused);
  Reason bury_ready(Slot& slot, bool is_unused);
  void mark_late(std::uint32_t slot);
  void unmark_late(std::uint32_t slot);
  void hang(std::uint32_t slot);
  void begin_edition(Reason why);
  void begin_trial();
  void end_trial(Reason why);
  void give_up_trial();
  void commit_trial();
  Reason due(const Slot& slot) const;
  void look(const Demand& demand);
  void shrink(const Demand& demand);
  void retire();
  void drain(std::uint32_t slot, Reason reason);
  void stop(std::uint32_t slot, Reason reason);
  void end(Mode mode);
  void adopt(const Event& event);
  void expire(std::uint32_t slot);
  void settle();
  void start_wanted();
  void start(std::uint32_t slot, std::uint32_t edition);
  std::optional<Time> next_start(std::uint32_t slot) const;

  std::uint32_t active() const;
  std::uint32_t ready() const;
  std::uint32_t wanted() const;
  bool has_due() const;
  bool needs_start() const { return mode_ == Mode::running && active() < wanted(); }
  Scaling::Crew crew() const;
  bool is_any_starting() const;
  bool is_in(std::uint32_t slot, Phase phase) const { return slots_[slot].phase == phase; }
  Duration trust_age(const Slot& slot, bool is_unused) const;
  void note(Do what, std::uint32_t slot, Reason reason = Reason::none, Duration delay = Duration{0});

  PoolPolicy policy_;
  Scaling scaling_;
  Random random_;
  std::vector<Slot> slots_;
  Mode mode_ = Mode::waiting;
  std::uint32_t edition_ = 1;                // that is started
  std::uint32_t last_edition_ = 1;           // edition_, or the one on trial
  Reason edition_reason_ = Reason::changed;  // why earlier ones are due
  bool has_deploy_ = false;                  // a program waits for its trial
  std::optional<std::uint32_t> trial_;       // the slot where it is on trial
  bool has_spoken_ = false;                  // a worker of this pool has said that it is ready
  Backoff backoff_;
  Time next_first_start_{};  // no slot's first start before this
  Time end_{};               // of a shut down: SIGKILL
  Time now_{};               // of the event at work
  Actions actions_;
};

}  // namespace cppfcgi
