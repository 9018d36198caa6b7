// Poisons: requests that workers died of. One bad URL, asked for again and again, must not end worker after worker
// until the pool's breaker opens for everybody; so a request that has cost several workers in a row is refused for a
// while.
//
//   unknown ──death──▶ suspect ──enough deaths in a row──▶ refused ──the while is over──▶ suspect: one more will do
//      ▲                  │
//      └── a good answer, or nothing heard of it for long ──┘
//
// Requests are known by a fingerprint, in a small table in Load that all of httpd's children share: eight places for
// each fingerprint, the oldest goes. Lock-free, and whatever stands there, by whomever: nobody is refused for longer
// than the while. Pure: time is an argument.
#pragma once

#include <atomic>
#include <cstdint>

#include "shared/scoreboard.h"

namespace cppfcgi {

class Poisons {
 public:
  using Seconds = std::uint32_t;  // of the monotonic clock, which all processes share
  static constexpr std::uint32_t enough_deaths = 3;
  static constexpr Seconds refusal_seconds = 60;
  static constexpr Seconds memory_seconds = 600;

  explicit Poisons(Load& load) : load_(&load) {}

  // False, nearly always: nobody is under suspicion, and nobody need know a fingerprint.
  bool has_any() const { return load_->poison_count.load(std::memory_order_relaxed) != 0; }

  // How long it is refused from now; 0: it is not.
  Seconds refused_for(std::uint64_t fingerprint, Seconds now);

  // A worker died of it: how many did in a row, this one included; 0: this one was counted before (several of its
  // requests may be the same). From enough_deaths on it is refused.
  std::uint32_t add_death(std::uint64_t fingerprint, std::uint64_t worker, Seconds now);

  // A worker has answered it.
  void clear(std::uint64_t fingerprint);

 private:
  PoisonRow* find(std::uint64_t fingerprint);
  PoisonRow* make(std::uint64_t fingerprint, Seconds now);
  void free(PoisonRow& row, std::uint64_t fingerprint);
  void tidy(Seconds now);
  void count_again();

  Load* load_;
  std::atomic<std::uint32_t> next_tidied_{0};
};

}  // namespace cppfcgi
