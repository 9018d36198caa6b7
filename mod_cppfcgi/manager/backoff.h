// Backoff: when a pool may start its next worker, by how its last ones have died. Each death before a worker was ready
// doubles the pause before the next start, from first_delay up to the longest; from the third in a row the breaker is
// open. A worker that gets ready makes the history forgotten. So does one that lives long enough to be trusted, where
// workers have died soon after they were ready: the third of these in a row counts like a death before. Pure; owned by
// the Pool.
#pragma once

#include <cstdint>

#include "mod_cppfcgi/manager/pool_events.h"
#include "mod_cppfcgi/manager/random.h"

namespace cppfcgi {

class Backoff {
 public:
  static constexpr Duration first_delay{100};
  static constexpr std::uint32_t breaker_limit = 3;  // deaths in a row

  // A worker that was started then is dead: before it was ready; soon after; or when it had been trusted. `longest`:
  // pause.
  void died_early(Time started, Duration longest, Time now, Random& random);
  void died_young(Time started, Duration longest, Time now, Random& random);
  void died_old() { short_lives_ = 0; }

  void became_ready(Time now);
  // One has lived long enough to be trusted, which matters where counts_lives().
  void lived(Time now);
  bool counts_lives() const { return short_lives_ > 0; }

  void program_changed(Time now);
  void hurry(Time now);  // the cure is here: no longer pause than the first

  bool is_at_work() const { return streak() > 0; }
  bool is_open() const { return streak() >= breaker_limit; }
  bool has_just_opened();  // told once, as is the next
  bool has_just_closed();
  Time next_start() const { return next_start_; }  // none before this
  Duration pause(Time now) const;                  // until then

 private:
  std::uint32_t streak() const;
  void wait(Time started, Duration longest, Time now, Random& random);
  void forget(Time now);

  std::uint32_t early_deaths_ = 0;  // in a row
  std::uint32_t short_lives_ = 0;   // in a row
  bool was_open_ = false;
  Time last_death_{};   // that counted
  Time last_change_{};  // of the program
  Time next_start_{};
};

}  // namespace cppfcgi
