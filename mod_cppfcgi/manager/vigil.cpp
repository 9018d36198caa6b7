#include "mod_cppfcgi/manager/vigil.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "mod_cppfcgi/manager/process.h"

namespace cppfcgi {
namespace {

constexpr Duration look_at_late_after{50};  // nobody tells when its requests have ended after all
constexpr Duration measure_every{1'000};
constexpr Duration shortest_patience{1'000};
constexpr Duration longest_patience{5'000};

}  // namespace

Vigil::Vigil(Loop& loop, const Load& load, const Claims& claims, std::uint32_t first_slot, std::uint32_t slot_count)
    : loop_(loop), load_(load), claims_(claims), first_slot_(first_slot), watched_(slot_count) {}

void Vigil::begin(std::uint32_t slot, Subject subject, Time now) {
  auto& watched = watched_[slot];
  if (watched && watched->subject.generation == subject.generation) {
    watched->subject = std::move(subject);
    return;
  }
  watched.emplace();
  watched->subject = std::move(subject);
  watched->next_probe = now + limits_.probe_interval;
}

void Vigil::end(std::uint32_t slot) { watched_[slot].reset(); }

std::vector<Vigil::Finding> Vigil::look(Time now) {
  std::vector<Finding> found;
  const bool is_measuring = limits_.max_rss_bytes > 0 && now >= next_measurement_;
  if (is_measuring) next_measurement_ = now + measure_every;
  for (std::uint32_t slot = 0; slot < watched_.size(); ++slot) {
    if (!watched_[slot]) continue;
    Watched& watched = *watched_[slot];
    const bool is_late = claims_.is_late(first_slot_ + slot, watched.subject.generation);
    if (std::exchange(watched.is_late, is_late) != is_late)
      found.push_back({is_late ? Happened::late : Happened::recovered, slot});
    if (!watched.is_worn && is_worn(slot, watched, is_measuring)) {
      watched.is_worn = true;
      found.push_back({Happened::worn, slot});
    }
    if (is_unresponsive(slot, watched, now)) found.push_back({Happened::unresponsive, slot});
  }
  return found;
}

bool Vigil::is_worn(std::uint32_t slot, const Watched& watched, bool is_measuring) const {
  const std::uint64_t at = watched.subject.recycle_at;
  if (at != 0 && requests(slot) >= at) return true;
  return is_measuring && resident_bytes(watched.subject.pid) > limits_.max_rss_bytes;
}

bool Vigil::is_idle(std::uint32_t slot, const Watched& watched) const {
  return claims_.in_flight(first_slot_ + slot, watched.subject.generation) == 0;
}

// Silence tells nothing of a worker that has had requests meanwhile: it is asked again later.
bool Vigil::is_unresponsive(std::uint32_t slot, Watched& watched, Time now) {
  if (!asks(watched)) return false;
  if (!watched.probe_ends) {
    if (now >= watched.next_probe) ask(slot, watched, now);
    return false;
  }
  const bool was_idle = is_idle(slot, watched) && requests(slot) == watched.requests_before;
  const bool is_open = was_idle && !watched.has_answered;
  if (is_open && now < *watched.probe_ends) return false;
  watched.probe.reset();
  watched.probe_ends.reset();
  watched.next_probe = now + limits_.probe_interval;
  return is_open;
}

void Vigil::ask(std::uint32_t slot, Watched& watched, Time now) {
  watched.next_probe = now + limits_.probe_interval;
  if (!is_idle(slot, watched)) return;
  watched.requests_before = requests(slot);
  watched.has_answered = false;
  watched.probe_ends = now + std::clamp(limits_.probe_interval, shortest_patience, longest_patience);
  // Whatever comes back, it is not hung. A full listen queue is no answer.
  auto probe = Question::ask(loop_, watched.subject.socket,
                             [&watched](Question::Outcome, Offer) { watched.has_answered = true; });
  if (probe) {
    watched.probe = *std::move(probe);
  } else if (probe.error().code != EAGAIN) {
    watched.has_answered = true;  // we could not ask
  }
}

std::optional<Time> Vigil::next_deadline(Time now) const {
  std::optional<Time> first;
  auto consider = [&first](Time time) { first = first ? std::min(*first, time) : time; };
  for (const auto& watched : watched_) {
    if (!watched) continue;
    if (watched->is_late) consider(now + look_at_late_after);
    if (asks(*watched)) consider(watched->has_answered ? now : watched->probe_ends.value_or(watched->next_probe));
    if (limits_.max_rss_bytes > 0 && !watched->is_worn) consider(next_measurement_);
  }
  return first;
}

}  // namespace cppfcgi
