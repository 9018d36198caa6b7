// WaitingTime: how long a request that comes now would wait for a worker, by what the last requests took in theirs: for
// Retry-After. Any thread may call. Pure.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace cppfcgi {

class WaitingTime {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint32_t longest_seconds = 60;

  // A worker has had a request for so long. Two threads at a time may lose one of them, which is as well.
  void add(std::chrono::nanoseconds service, Clock::time_point now) {
    last_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
    const std::int64_t us = std::chrono::duration_cast<std::chrono::microseconds>(service).count();
    const std::int64_t mean = mean_us_.load(std::memory_order_relaxed);
    mean_us_.store(mean == 0 ? us : mean + (us - mean) / weight, std::memory_order_relaxed);
  }

  // How long a request that comes now waits is not known: none has ended, or not for so long.
  bool is_unknown(Clock::time_point now, Clock::duration since) const {
    const Clock::time_point last{Clock::duration(last_.load(std::memory_order_relaxed))};
    return last == Clock::time_point() || now - last >= since;
  }
  // `capacity`: requests that the pool's workers take at once.
  std::chrono::microseconds expected(std::uint32_t waiting, std::uint32_t capacity) const {
    if (capacity == 0) return std::chrono::microseconds(0);
    return std::chrono::microseconds(mean_us_.load(std::memory_order_relaxed) * (std::int64_t{waiting} + 1) / capacity);
  }
  // The same in whole seconds, at least 1.
  std::uint32_t seconds(std::uint32_t waiting, std::uint32_t capacity) const {
    const auto whole = std::chrono::ceil<std::chrono::seconds>(expected(waiting, capacity)).count();
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(whole, 1, longest_seconds));
  }

 private:
  static constexpr std::int64_t weight = 8;  // the last eight count most
  std::atomic<std::int64_t> mean_us_{0};
  std::atomic<Clock::rep> last_{0};
};

}  // namespace cppfcgi
