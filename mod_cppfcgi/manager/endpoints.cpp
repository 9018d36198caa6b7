#include "mod_cppfcgi/manager/endpoints.h"

#include <algorithm>
#include <utility>

namespace cppfcgi {
namespace {

constexpr std::uint32_t most_doublings = 16;

Duration pause_after(std::uint32_t failures) {
  const std::uint32_t doublings = std::min(failures - 1, most_doublings);
  return std::min(Endpoints::first_pause * (1 << doublings), Endpoints::longest_pause);
}

}  // namespace

EndpointActions Endpoints::take() { return std::exchange(actions_, {}); }

EndpointActions Endpoints::begin(Time now) {
  for (std::uint32_t i = 0; i < all_.size(); ++i) {
    if (!all_[i].due) probe(i, now);
  }
  return take();
}

void Endpoints::probe(std::uint32_t endpoint, Time now) {
  all_[endpoint].is_probed = true;
  all_[endpoint].due = now + patience;
  note(EndpointDo::probe, endpoint);
}

EndpointActions Endpoints::suspect(std::uint32_t endpoint, Time now) {
  Endpoint& its = all_[endpoint];
  if (!its.serves) return {};  // known
  withdraw(endpoint);
  if (its.is_probed) return take();
  if (its.reached && now - *its.reached < trust) {
    its.due = now + first_pause;
    its.failures = 1;
  } else {
    probe(endpoint, now);
  }
  return take();
}

void Endpoints::withdraw(std::uint32_t endpoint) {
  if (std::exchange(all_[endpoint].serves, false)) note(EndpointDo::publish, endpoint);
}

EndpointActions Endpoints::reached(std::uint32_t endpoint, Time now) {
  Endpoint& its = all_[endpoint];
  if (!std::exchange(its.is_probed, false)) return {};
  its.due.reset();
  its.failures = 0;
  its.reached = now;
  if (std::exchange(its.is_reported, false)) note(EndpointDo::report_return, endpoint);
  if (!std::exchange(its.serves, true)) note(EndpointDo::publish, endpoint);
  return take();
}

EndpointActions Endpoints::failed(std::uint32_t endpoint, Time now) {
  if (!std::exchange(all_[endpoint].is_probed, false)) return {};
  withdraw(endpoint);
  set_aside(endpoint, now);
  return take();
}

void Endpoints::set_aside(std::uint32_t endpoint, Time now) {
  Endpoint& its = all_[endpoint];
  const Duration pause = pause_after(++its.failures);
  its.due = now + pause;
  if (!std::exchange(its.is_reported, true)) note(EndpointDo::report_set_aside, endpoint, pause);
}

EndpointActions Endpoints::time_passed(Time now) {
  for (std::uint32_t i = 0; i < all_.size(); ++i) {
    Endpoint& its = all_[i];
    if (!its.due || *its.due > now) continue;
    if (!std::exchange(its.is_probed, false)) {
      probe(i, now);
      continue;
    }
    note(EndpointDo::end_probe, i);
    withdraw(i);
    set_aside(i, now);
  }
  return take();
}

std::optional<Time> Endpoints::next_deadline() const {
  std::optional<Time> first;
  for (const Endpoint& its : all_) {
    if (its.due && (!first || *its.due < *first)) first = its.due;
  }
  return first;
}

std::optional<Duration> Endpoints::refuses_for(Time now) const {
  const bool may_serve =
      std::any_of(all_.begin(), all_.end(), [](const Endpoint& its) { return its.serves || its.failures == 0; });
  const auto next = next_deadline();
  if (may_serve || !next) return std::nullopt;
  return std::max(std::chrono::ceil<Duration>(*next - now), Duration{0});
}

}  // namespace cppfcgi
