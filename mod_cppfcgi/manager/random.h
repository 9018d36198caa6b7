// Random: numbers for jitter, which have to differ and need not surprise anybody. SplitMix64. Pure.
#pragma once

#include <cstdint>

namespace cppfcgi {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  // 0 … 1, without the latter.
  double next() {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
  }

 private:
  std::uint64_t state_;
};

}  // namespace cppfcgi
