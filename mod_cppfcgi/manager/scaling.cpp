#include "mod_cppfcgi/manager/scaling.h"

#include <algorithm>
#include <cmath>

namespace cppfcgi {
namespace {

constexpr Scaling::Duration trend_window{250};  // a trend is that of the last one to two of them
constexpr int looks_in_timeout = 20;

}  // namespace

void Scaling::set_limits(const Limits& limits, Time now) {
  limits_.least = limits.least;
  limits_.idle_timeout = limits.idle_timeout;
  if (target_ < limits_.least) raise(limits_.least, now);
}

void Scaling::begin(std::uint32_t present, Time now) {
  raise(std::clamp(present, limits_.least, std::max(limits_.least, limits_.most)), now);
}

// Workers that have only just become ready could not be needed before.
void Scaling::became_ready(Duration after_start, std::uint32_t ready, std::uint32_t capacity, Time now) {
  start_takes_ = start_takes_.count() == 0 ? after_start : (start_takes_ * 3 + after_start) / 4;
  const std::uint32_t known = std::min<std::uint32_t>(ready, target_);
  for (std::uint32_t n = 1; n <= known && n < last_needed_.size(); ++n) last_needed_[n] = now;
  // What it takes out of the queue now says nothing of how fast the others do that.
  for (std::optional<Mark>* mark : {&mark_, &next_mark_}) {
    if (*mark) (*mark)->waiting -= std::min((*mark)->waiting, capacity);
  }
}

void Scaling::look(const Demand& demand, const Crew& crew, Time now) {
  last_look_ = now;
  is_held_back_ = false;
  if (is_fixed()) return;
  const std::uint32_t needed = demand.waiting > 0 ? target_ : std::min(demand.needed, target_);
  for (std::uint32_t n = 1; n <= needed; ++n) last_needed_[n] = now;
  const std::uint32_t more = growth(demand, crew, now);
  watch_queue(demand.waiting, now);
  if (more == 0) return;
  if (demand.room == 0 && target_ > 0) {
    is_held_back_ = true;
    return;
  }
  raise(target_ + std::min(more, std::max(demand.room, 1U)), now);
}

// How many workers more would be of use.
std::uint32_t Scaling::growth(const Demand& demand, const Crew& crew, Time now) const {
  if (demand.waiting == 0 || target_ >= limits_.most) return 0;
  if (target_ == 0) return 1;
  // Those that the target has room for are on their way, or are held up by what more of them would not mend.
  if (crew.is_backing_off || crew.ready + crew.starting < target_) return 0;
  const bool is_known = mark_ && now - mark_->at >= quick_look;
  if (!is_known) return crew.starting == 0 && !mark_ ? 1 : 0;
  const double workers = std::ceil(left_when_ready(demand.waiting, now) / std::max(crew.capacity, 1U));
  const auto wanted = static_cast<std::uint32_t>(std::max(workers, 0.0));
  const std::uint32_t batch = std::max(first_batch, crew.ready);
  const std::uint32_t most_starting = std::min(wanted, batch);
  const std::uint32_t more = most_starting > crew.starting ? most_starting - crew.starting : 0;
  return std::min(more, limits_.most - target_);
}

// Of those who wait, how many will, when a worker that starts now is ready. That a queue grows shows soon enough.
double Scaling::left_when_ready(std::uint32_t waiting, Time now) const {
  const double passed = std::chrono::duration<double>(now - mark_->at).count();
  const double trend = (static_cast<double>(waiting) - mark_->waiting) / passed;
  return waiting + std::min(trend, 0.0) * std::chrono::duration<double>(start_takes_).count();
}

void Scaling::watch_queue(std::uint32_t waiting, Time now) {
  if (waiting == 0) {
    mark_.reset();
    next_mark_.reset();
    return;
  }
  if (!mark_) mark_ = next_mark_ = Mark{now, waiting};
  if (now - next_mark_->at < trend_window) return;
  mark_ = next_mark_;
  next_mark_ = Mark{now, waiting};
}

void Scaling::raise(std::uint32_t target, Time now) {
  target_ = target;
  for (std::uint32_t n = 1; n <= target && n < last_needed_.size(); ++n) last_needed_[n] = now;
}

bool Scaling::has_surplus(Time now) const {
  return target_ > limits_.least && now - last_needed_[target_] >= limits_.idle_timeout;
}

Scaling::Duration Scaling::slow_look() const {
  return std::clamp(limits_.idle_timeout / looks_in_timeout, quick_look, slowest_look);
}

std::optional<Scaling::Time> Scaling::next_look(const Crew& crew) const {
  if (!last_look_) return is_fixed() && crew.ready <= target_ ? std::nullopt : std::optional(Time{});
  const bool is_above = target_ > limits_.least || crew.ready > target_;
  if (mark_ && target_ < limits_.most) return *last_look_ + quick_look;
  if (!is_above) return std::nullopt;
  const bool is_due = crew.ready > target_ || has_surplus(*last_look_);
  return *last_look_ + (is_due && !crew.is_shrinking ? quick_look : slow_look());
}

}  // namespace cppfcgi
