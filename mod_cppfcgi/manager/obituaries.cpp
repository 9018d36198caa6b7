#include "mod_cppfcgi/manager/obituaries.h"

#include <algorithm>
#include <utility>

namespace cppfcgi {
namespace {

constexpr Duration patience{2'000};  // for a successor, and for the functions' names

std::string replaced_by(const Obituaries::Death& death) {
  return fmt::format("replaced by pid {}", death.successor_pid);
}

}  // namespace

std::string text_of(Duration time) {
  if (time < Duration{1'000}) return fmt::format("{} ms", time.count());
  return fmt::format("{:.{}f} s", static_cast<double>(time.count()) / 1'000, time < Duration{10'000} ? 1 : 0);
}

Obituaries::~Obituaries() {
  for (const Pending& pending : pending_) {
    if (pending.reading) stacks_.cancel(*pending.reading);
  }
}

void Obituaries::add(const Death& death, const Fd& program, Time now) {
  Pending& pending = pending_.emplace_back();
  pending.death = death;
  pending.since = now;
  if (death.successor == 0) {
    pending.next = death.pause > Duration{0} ? "next try in " + text_of(death.pause) : "no successor is needed";
  }
  if (death.end.record) name_functions(pending, program);
}

void Obituaries::name_functions(Pending& pending, const Fd& program) {
  pending.frames = raw_frames(*pending.death.end.record);
  const auto take = [&pending](const Stacks& stacks) {
    pending.reading.reset();
    if (!stacks.threads.empty()) pending.frames = stacks.threads.front().frames;
  };
  pending.reading = stacks_.symbolise(*pending.death.end.record, take, program.get());
}

Obituaries::Pending* Obituaries::find(std::uint32_t slot, std::uint32_t generation) {
  const auto found = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& pending) {
    return pending.next.empty() && pending.death.slot == slot && pending.death.successor == generation;
  });
  return found == pending_.end() ? nullptr : &*found;
}

void Obituaries::became_ready(std::uint32_t slot, std::uint32_t generation, Time now) {
  if (Pending* pending = find(slot, generation))
    pending->next = replaced_by(pending->death) + " in " + text_of(std::chrono::ceil<Duration>(now - pending->since));
}

void Obituaries::ended(std::uint32_t slot, std::uint32_t generation) {
  if (Pending* pending = find(slot, generation))
    pending->next = replaced_by(pending->death) + ", which has died as well";
}

void Obituaries::write_due(const Log& log, Time now) {
  while (!pending_.empty()) {
    Pending& first = pending_.front();
    const bool waits = first.next.empty() || first.reading;
    if (waits && now < first.since + patience) return;
    if (first.next.empty()) first.next = replaced_by(first.death) + ", which is not ready yet";
    if (first.reading) stacks_.cancel(*first.reading);
    write(log, first);
    pending_.pop_front();
  }
}

void Obituaries::write_all(const Log& log) { write_due(log, Time::max()); }

std::optional<Time> Obituaries::next_deadline() const {
  if (pending_.empty()) return std::nullopt;
  const Pending& first = pending_.front();
  const bool waits = first.next.empty() || first.reading;
  return waits ? first.since + patience : first.since;
}

void Obituaries::write(const Log& log, const Pending& pending) {
  const auto& [worker, end, reason, early, pause, slot, successor, successor_pid] = pending.death;
  const std::string why = end.record ? cause(*end.record, pending.frames) : end.text;
  Level level = Level::warn;
  if (reason == Reason::died_early) {
    log.warn("{} died before it was ready: {}; {}", worker, why, pending.next);
  } else if (reason == Reason::short_lived) {
    log.warn("{} {}: {}; {}", worker, early, why, pending.next);
  } else {
    level = end.is_failure ? Level::error : Level::notice;
    log.line(level,
             fmt::format("{} {}: {}; {}", worker, end.is_failure ? "crashed" : "ended by itself", why, pending.next));
  }
  if (!end.record) return;
  for (const std::string& line : frame_lines(pending.frames)) log.line(level, fmt::format("{}: {}", worker, line));
  for (const std::string& line : detail_lines(*end.record, end.usage))
    log.line(level, fmt::format("{}: {}", worker, line));
}

}  // namespace cppfcgi
