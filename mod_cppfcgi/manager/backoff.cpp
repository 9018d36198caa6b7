#include "mod_cppfcgi/manager/backoff.h"

#include <algorithm>
#include <utility>

namespace cppfcgi {

// Deaths of workers that were started together count as a few at most: they have one cause.
void Backoff::died_early(Time started, Duration longest, Time now, Random& random) {
  if (early_deaths_ >= breaker_limit && started <= last_death_) return;
  ++early_deaths_;
  wait(started, longest, now, random);
}

void Backoff::died_young(Time started, Duration longest, Time now, Random& random) {
  ++short_lives_;
  if (streak() > 0) wait(started, longest, now, random);
}

void Backoff::wait(Time started, Duration longest, Time now, Random& random) {
  last_death_ = now;
  longest = std::max(longest, first_delay);
  Duration pause = first_delay;
  for (std::uint32_t i = 1; i < streak() && pause < longest; ++i) pause *= 2;
  pause = std::min(pause, longest);
  // It may have been the program from before the change; the one from after it has not been tried.
  if (started < last_change_) pause = first_delay;
  const double shortened = static_cast<double>(pause.count()) * (1.0 - random.next() / 4);
  next_start_ = now + Duration(static_cast<Duration::rep>(shortened));
}

void Backoff::became_ready(Time now) {
  early_deaths_ = 0;
  forget(now);
}

void Backoff::lived(Time now) {
  short_lives_ = 0;
  forget(now);
}

void Backoff::forget(Time now) {
  if (streak() == 0) next_start_ = now;
}

void Backoff::program_changed(Time now) {
  last_change_ = now;
  hurry(now);
}

void Backoff::hurry(Time now) { next_start_ = std::min(next_start_, std::max(now, last_death_ + first_delay)); }

bool Backoff::has_just_opened() { return is_open() && !std::exchange(was_open_, true); }

bool Backoff::has_just_closed() { return !is_open() && std::exchange(was_open_, false); }

Duration Backoff::pause(Time now) const {
  return std::chrono::ceil<Duration>(std::max(next_start_ - now, Time::duration::zero()));
}

// Deaths in a row that make starts wait.
std::uint32_t Backoff::streak() const {
  return early_deaths_ + (short_lives_ >= breaker_limit ? short_lives_ - breaker_limit + 1 : 0);
}

}  // namespace cppfcgi
