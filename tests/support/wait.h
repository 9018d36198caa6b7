// Waiting in tests: for a condition, never for time. Every wait has a deadline, after which the test fails instead of
// hanging.
#pragma once

#include <poll.h>

#include <chrono>

namespace cppfcgi::test {

using Milliseconds = std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// A moment until which something may take.
class Deadline {
 public:
  explicit Deadline(Milliseconds from_now) : end_(Clock::now() + from_now) {}
  bool has_passed() const { return Clock::now() >= end_; }
  int left_ms() const {  // as poll() wants it; never negative
    const auto left = std::chrono::ceil<Milliseconds>(end_ - Clock::now()).count();
    return left > 0 ? static_cast<int>(left) : 0;
  }

 private:
  Clock::time_point end_;
};

// True as soon as the condition holds; false when it does not within the deadline. Looks every few milliseconds.
template <class Condition>
bool wait_until(Condition condition, Milliseconds within = Milliseconds(10'000)) {
  const Deadline deadline(within);
  for (;;) {
    if (condition()) return true;
    if (deadline.has_passed()) return condition();
    ::poll(nullptr, 0, 3);
  }
}

}  // namespace cppfcgi::test
