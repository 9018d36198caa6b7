// Pool: the whole policy of one pool as a value machine: when a worker is started, counts as ready, is replaced, ended
// or waited for. Pure: no system call, clock or log; time is an argument, what happened goes in, what to do comes out.
// Not here: how any of it is done (pool_keeper.cpp does it, spawn.cpp starts the process).
//
// A slot's way (the phase is public, see scoreboard.h; the reason beside it is why the slot stands there):
//
//            start                answered, closed or long silent             removed, shut down
//   Empty ──────────▶ Starting ──────────────────────────────────▶ Ready ─────────────────────▶ Draining
//     ▲                  │ │                                         │         claims are gone, or │
//     │   exited (early) │ │ removed, shut down                      │         the time for it is  │
//     ├──────────────────┘ └───────────────▶ Stopping ◀──────────────┼─────────────────────────────┘
//     │   exited (crashed, short-lived)          │  SIGTERM, and SIGKILL when its time is over
//     ├──────────────────────────────────────────┼───────────────────┘
//     └──────────────────────────────────────────┘ exited
//
// Starts: a worker that dies once it was ready is replaced at once. Each death before that doubles the pause before the
// pool's next start; from the third in a row the breaker is open: one start at a time, until a worker is ready. That
// one makes the history forgotten, and all others start at once. A worker that was only silent, or that
// `min_server_life` has been set for, is trusted when it has lived long enough: the third death in a row before that
// counts like one before it was ready.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shared/pool_config.h"
#include "shared/scoreboard.h"

namespace cppfcgi {

using Time = std::chrono::steady_clock::time_point;
using Duration = std::chrono::milliseconds;

// Why a slot stands where it does, or why its worker ended.
enum class Reason : std::uint8_t {
  none,
  crashed,      // ended by itself after it was ready
  short_lived,  // so, and sooner than it should
  died_early,   // ended before it was ready, or could not be started
  removed,      // no configuration knows the pool any more
  shut_down,    // the manager ends
};

// What a worker says it can do at the same time.
struct Offer {
  std::uint8_t capacity = 1;
  std::uint8_t connections = 1;
  bool is_multiplexed = false;
  friend bool operator==(const Offer&, const Offer&) = default;
};

enum class Happened : std::uint8_t {
  began,            // the sockets listen: workers may be started
  adopted,          // a living worker of an earlier manager has this slot; before `began`
  start_failed,     // no process came of `start`
  notified,         // the worker says that it is ready
  answered,         // the worker told its capacity
  closed,           // the worker lives and closed the question's connection without a word
  exited,           // the process has ended
  drained,          // nobody holds a claim on the draining worker
  program_changed,  // what could not be started may start now
  time_passed,      // next_deadline() is over
  removed,          // end all workers, with time for what they do
  restored,         // a configuration knows the pool again
  shut_down,        // end all workers soon
};

struct Event {
  Happened what = Happened::time_passed;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  // that it is about: what comes from an earlier one is ignored
  Offer offer{};
  Phase phase = Phase::empty;  // of the adopted
};

enum class Do : std::uint8_t {
  start,                  // a worker, in the slot's generation
  publish,                // the slot's state has changed
  ask,                    // for the capacity
  stop_asking,            // it holds the worker up
  terminate,              // SIGTERM
  kill,                   // SIGKILL
  report_death,           // reason; delay: until the next start, 0 for at once
  report_breaker_opened,  // delay: likewise
  report_breaker_closed,
};

struct Action {
  Do what = Do::publish;
  std::uint32_t slot = 0;
  Reason reason = Reason::none;
  Duration delay{0};
  friend bool operator==(const Action&, const Action&) = default;
};
using Actions = std::vector<Action>;

struct PoolPolicy {
  std::uint32_t workers = 1;  // to keep
  Duration init_start_delay{0};
  Duration restart_delay{60'000};
  Duration min_server_life{0};
  Duration ready_timeout{1'000};
  Duration stop_grace{2'000};

  PoolPolicy() = default;
  explicit PoolPolicy(const PoolConfig& config);
};

class Pool {
 public:
  // A slot for each of `last_generations`: the number of the last worker that the slot's row has seen. At least as many
  // as workers to keep; those beyond are room for successors.
  Pool(const PoolPolicy& policy, std::uint64_t seed, std::span<const std::uint32_t> last_generations);

  Actions on(const Event& event, Time now);
  std::optional<Time> next_deadline() const;  // when to say time_passed; nullopt: nothing to wait for

  std::uint32_t slot_count() const { return static_cast<std::uint32_t>(slots_.size()); }
  SlotState state(std::uint32_t slot) const;
  Reason reason(std::uint32_t slot) const { return slots_[slot].reason; }
  bool is_backing_off() const { return streak() > 0; }
  bool is_over() const;  // removed or shut down, and all workers have ended

  static constexpr Duration first_delay{100};
  static constexpr std::uint32_t breaker_limit = 3;   // early deaths in a row
  static constexpr std::uint32_t silence_trust = 10;  // ready_timeouts that a silent worker must live to be trusted
  static constexpr std::uint32_t spoken_patience =
      10;  // ready_timeouts for silence where others of the pool have spoken

 private:
  enum class Mode : std::uint8_t { waiting, running, removed, shut_down };
  enum class Voice : std::uint8_t { unheard, silent, heard };
  struct Slot {
    Phase phase = Phase::empty;
    Reason reason = Reason::none;
    Voice voice = Voice::unheard;
    bool was_started = false;
    std::uint32_t generation = 0;
    Offer offer;
    Time started;
    std::optional<Time> deadline;  // of the phase
  };

  bool is_current(const Event& event) const;
  void hear(std::uint32_t slot, Offer offer, Voice voice);
  void become_ready(std::uint32_t slot, Offer offer, Voice voice);
  void bury(std::uint32_t slot);
  void count_early_death(const Slot& slot);
  void drain(std::uint32_t slot, Reason reason);
  void stop(std::uint32_t slot, Reason reason);
  void end(Mode mode);
  void adopt(const Event& event);
  void expire(std::uint32_t slot);
  void settle();
  void start(std::uint32_t slot);
  std::optional<Time> next_start(std::uint32_t slot) const;

  std::uint32_t active() const;
  bool is_any_starting() const;
  std::uint32_t streak() const;
  bool is_open() const { return streak() >= breaker_limit; }
  Duration trust_age(const Slot& slot) const;
  void note(Do what, std::uint32_t slot, Reason reason = Reason::none, Duration delay = Duration{0});
  double random();

  PoolPolicy policy_;
  std::uint64_t random_;
  std::vector<Slot> slots_;
  Mode mode_ = Mode::waiting;
  bool has_spoken_ = false;  // a worker of this pool has said that it is ready
  bool was_open_ = false;
  std::uint32_t early_deaths_ = 0;  // in a row
  std::uint32_t short_lives_ = 0;   // in a row
  Time last_death_{};               // that counted
  Time next_start_{};               // no start before this
  Time next_first_start_{};         // no slot's first start before this
  Time end_{};                      // of a shut down: SIGKILL
  Time now_{};                      // of the event at work
  Actions actions_;
};

}  // namespace cppfcgi
