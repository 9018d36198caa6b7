// Tally: what happens too often for a line in the log each time. Says when a line is due, and how many it speaks for.
// Any thread may call. Pure: time is an argument.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace cppfcgi {

class Tally {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds period{1};

  // One more. 0: no line is due; else so many have come since the last line, this one included.
  std::uint32_t add(Clock::time_point now) {
    const std::uint32_t untold = untold_.fetch_add(1, std::memory_order_relaxed) + 1;
    Clock::rep due = due_.load(std::memory_order_relaxed);
    const Clock::rep at = now.time_since_epoch().count();
    if (at < due || !due_.compare_exchange_strong(due, at + Clock::duration(period).count())) return 0;
    untold_.fetch_sub(untold, std::memory_order_relaxed);
    return untold;
  }

 private:
  std::atomic<std::uint32_t> untold_{0};
  std::atomic<Clock::rep> due_{0};
};

}  // namespace cppfcgi
