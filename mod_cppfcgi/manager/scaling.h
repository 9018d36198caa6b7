// Scaling: how many workers a pool wants, between its least and its most, by what clients feel: whether requests wait,
// and how many workers they keep busy. Pure, like Pool, which owns it and does what follows.
//
//   up      At the first look at a queue one worker is started, unless one starts already. A look later (10 ms) those
//           who wait are counted, less those who will be served before a new worker could be ready (the queue's own
//           trend over the time that starts take), less what those that start already will take. Many start at the
//           same time, but never more than are ready, or `first_batch`: so that each batch is seen in memory and load
//           before the next.
//   down    The n-th worker counts as needed when n were at work since the last look. Who was not for `idle_timeout`
//           goes, one after the other, from the end. A queue, a start and an adoption count as need.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace cppfcgi {

// What the load area tells at one look, bounded by the pool's own size; true or not.
struct Demand {
  std::uint32_t waiting = 0;          // requests
  std::uint32_t needed = 0;           // workers that have had work since the last look
  std::optional<std::uint32_t> idle;  // the last slot whose worker is ready and has nothing to do
  std::uint32_t room = ~0U;           // for so many workers more, beyond the first
  friend bool operator==(const Demand&, const Demand&) = default;
};

class Scaling {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::milliseconds;

  struct Limits {
    std::uint32_t least = 1;
    std::uint32_t most = 1;
    Duration idle_timeout{60'000};
  };
  // What the pool has.
  struct Crew {
    std::uint32_t ready = 0;
    std::uint32_t starting = 0;
    std::uint32_t capacity = 1;   // of one worker
    bool is_backing_off = false;  // workers die before they are ready
    bool is_shrinking = false;    // one that was not needed is ending
  };

  explicit Scaling(const Limits& limits) : limits_(limits), target_(limits.least), last_needed_(limits.most + 1) {}

  void set_limits(const Limits& limits, Time now);  // `most` stays
  void begin(std::uint32_t present, Time now);      // so many are there already
  void became_ready(Duration after_start, std::uint32_t ready, std::uint32_t capacity, Time now);

  // May raise the target. Lowering it is Pool's, which knows whom it can spare.
  void look(const Demand& demand, const Crew& crew, Time now);
  bool has_surplus(Time now) const;  // the target's last worker was not needed for long
  void lower() { --target_; }

  std::uint32_t target() const { return target_; }
  bool is_held_back() const {
    return is_held_back_;
  }  // at the last look more were wanted than the machine has room for
  std::optional<Time> next_look(const Crew& crew) const;  // nullopt: not before somebody is known to wait

  static constexpr Duration quick_look{10};       // while requests wait
  static constexpr Duration slowest_look{1'000};  // while there are more than the least
  static constexpr std::uint32_t first_batch = 8;

 private:
  // The queue, as it was at one moment.
  struct Mark {
    Time at;
    std::uint32_t waiting = 0;
  };
  void watch_queue(std::uint32_t waiting, Time now);
  std::uint32_t growth(const Demand& demand, const Crew& crew, Time now) const;
  double left_when_ready(std::uint32_t waiting, Time now) const;
  void raise(std::uint32_t target, Time now);
  bool is_fixed() const { return limits_.least >= limits_.most; }
  Duration slow_look() const;

  Limits limits_;
  std::uint32_t target_;
  std::vector<Time> last_needed_;  // of the n-th worker, from 1
  Duration start_takes_{0};        // about
  std::optional<Mark> mark_;       // of a queue: where its trend is measured from
  std::optional<Mark> next_mark_;  // takes its place when it is old
  bool is_held_back_ = false;
  std::optional<Time> last_look_;
};

}  // namespace cppfcgi
