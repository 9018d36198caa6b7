#include "mod_cppfcgi/manager/obituaries.h"

#include <algorithm>

namespace cppfcgi {
namespace {

constexpr Duration patience{1'000};  // for a successor

std::string replaced_by(const Obituaries::Death& death) {
  return fmt::format("replaced by pid {}", death.successor_pid);
}

}  // namespace

std::string text_of(Duration time) {
  if (time < Duration{1'000}) return fmt::format("{} ms", time.count());
  return fmt::format("{:.{}f} s", static_cast<double>(time.count()) / 1'000, time < Duration{10'000} ? 1 : 0);
}

void Obituaries::add(const Log& log, const Death& death, Time now) {
  if (death.successor != 0) {
    pending_.push_back({death, now});
  } else {
    write(log, death, death.pause > Duration{0} ? "next try in " + text_of(death.pause) : "no successor is needed");
  }
}

void Obituaries::became_ready(const Log& log, std::uint32_t slot, std::uint32_t generation, Time now) {
  pending_.remove_if([&](const Pending& pending) {
    if (pending.death.slot != slot || pending.death.successor != generation) return false;
    const auto took = std::chrono::ceil<Duration>(now - pending.since);
    write(log, pending.death, replaced_by(pending.death) + " in " + text_of(took));
    return true;
  });
}

void Obituaries::ended(const Log& log, std::uint32_t slot, std::uint32_t generation) {
  pending_.remove_if([&](const Pending& pending) {
    if (pending.death.slot != slot || pending.death.successor != generation) return false;
    write(log, pending.death, replaced_by(pending.death) + ", which has died as well");
    return true;
  });
}

void Obituaries::finish(const Log& log, Time now) {
  pending_.remove_if([&](const Pending& pending) {
    if (now < pending.since + patience) return false;
    write(log, pending.death, replaced_by(pending.death) + ", which is not ready yet");
    return true;
  });
}

void Obituaries::finish_all(const Log& log) { finish(log, Time::max()); }

std::optional<Time> Obituaries::next_deadline() const {
  if (pending_.empty()) return std::nullopt;
  return pending_.front().since + patience;
}

void Obituaries::write(const Log& log, const Death& death, const std::string& next) {
  if (death.reason == Reason::died_early)
    return log.warn("{} died before it was ready: {}; {}", death.worker, death.end.text, next);
  if (death.reason == Reason::short_lived)
    return log.warn("{} {}: {}; {}", death.worker, death.early, death.end.text, next);
  const bool is_failure = death.end.is_failure;
  log.line(
      is_failure ? Level::error : Level::notice,
      fmt::format("{} {}: {}; {}", death.worker, is_failure ? "crashed" : "ended by itself", death.end.text, next));
}

}  // namespace cppfcgi
