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
  static constexpr std::uint32_t longest_seconds = 60;

  // A worker has had a request for so long. Two threads at a time may lose one of them, which is as well.
  void add(std::chrono::nanoseconds service) {
    const std::int64_t us = std::chrono::duration_cast<std::chrono::microseconds>(service).count();
    const std::int64_t mean = mean_us_.load(std::memory_order_relaxed);
    mean_us_.store(mean == 0 ? us : mean + (us - mean) / weight, std::memory_order_relaxed);
  }

  // Whole seconds, at least 1. `capacity`: requests that the pool's workers take at once.
  std::uint32_t seconds(std::uint32_t waiting, std::uint32_t capacity) const {
    if (capacity == 0) return 1;
    const std::int64_t us = mean_us_.load(std::memory_order_relaxed) * (std::int64_t{waiting} + 1) / capacity;
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>((us + 999'999) / 1'000'000, 1, longest_seconds));
  }

 private:
  static constexpr std::int64_t weight = 8;  // the last eight count most
  std::atomic<std::int64_t> mean_us_{0};
};

}  // namespace cppfcgi
