// WaitingTime: how long a request that comes now would wait for a worker, by what the last requests took in theirs: for
// Retry-After, and for who may wait at all. What is known stands in the pool's Load. Any thread may call. Pure.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "shared/scoreboard.h"

namespace cppfcgi {

class WaitingTime {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint32_t longest_seconds = 60;

  explicit WaitingTime(PoolLoad& load) : load_(&load) {}

  // A worker has taken a request.
  void began(Clock::time_point now) { load_->moved.store(now.time_since_epoch().count(), std::memory_order_relaxed); }

  // A worker has had a request for so long. Two threads at a time may lose one of them, which is as well.
  void add(std::chrono::nanoseconds service, Clock::time_point now) {
    began(now);
    const std::int64_t us = std::max<std::int64_t>(std::chrono::ceil<std::chrono::microseconds>(service).count(), 1);
    const std::int64_t mean = mean_us();
    load_->service_us.store(mean == 0 ? us : mean + (us - mean) / weight, std::memory_order_relaxed);
  }

  // None has ended yet.
  bool knows_nothing() const { return mean_us() == 0; }
  // No worker has been free for so long: they may hang. An idle pool's workers take the first of a burst.
  bool is_stuck(Clock::time_point now, std::chrono::nanoseconds since) const {
    // Another's clock may have been read a little later. Unsigned, since it may be anything.
    const auto moved = static_cast<std::uint64_t>(load_->moved.load(std::memory_order_relaxed));
    const auto passed = static_cast<std::int64_t>(static_cast<std::uint64_t>(now.time_since_epoch().count()) - moved);
    return passed >= since.count();
  }
  // `capacity`: requests that the pool's workers take at once.
  std::chrono::microseconds expected(std::uint32_t waiting, std::uint32_t capacity) const {
    if (capacity == 0) return std::chrono::microseconds(0);
    return std::chrono::microseconds(mean_us() * (std::min(waiting, max_waiting) + 1) / capacity);
  }
  // The same in whole seconds, at least 1.
  std::uint32_t seconds(std::uint32_t waiting, std::uint32_t capacity) const {
    const auto whole = std::chrono::ceil<std::chrono::seconds>(expected(waiting, capacity)).count();
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(whole, 1, longest_seconds));
  }

 private:
  static constexpr std::int64_t weight = 8;  // the last eight count most
  static constexpr std::int64_t longest_us = 3'600'000'000;
  std::int64_t mean_us() const {
    return std::clamp<std::int64_t>(load_->service_us.load(std::memory_order_relaxed), 0, longest_us);
  }
  PoolLoad* load_;
};

}  // namespace cppfcgi
