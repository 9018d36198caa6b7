#include "mod_cppfcgi/manager/pool.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace cppfcgi {

PoolPolicy::PoolPolicy(const PoolConfig& config)
    : workers(config.processes),
      init_start_delay(config.init_start_delay),
      restart_delay(config.restart_delay),
      min_server_life(config.min_server_life),
      ready_timeout(config.ready_timeout),
      stop_grace(config.stop_grace) {}

Pool::Pool(const PoolPolicy& policy, std::uint64_t seed, std::span<const std::uint32_t> last_generations)
    : policy_(policy), random_(seed), slots_(last_generations.size()) {
  assert(slots_.size() >= policy.workers);
  for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].generation = last_generations[i];
}

Actions Pool::on(const Event& event, Time now) {
  now_ = std::max(now, now_);
  switch (event.what) {
    case Happened::began:
      if (mode_ == Mode::waiting) mode_ = Mode::running;
      break;
    case Happened::adopted:
      adopt(event);
      break;
    case Happened::start_failed:
    case Happened::exited:
      if (is_current(event)) bury(event.slot);
      break;
    case Happened::notified:
      if (is_current(event)) {
        has_spoken_ = true;
        Slot& slot = slots_[event.slot];
        if (slot.phase == Phase::starting) slot.deadline = now_ + policy_.ready_timeout;  // the answer is quick now
        if (slot.phase == Phase::ready && slot.voice == Voice::silent) note(Do::ask, event.slot);
      }
      break;
    case Happened::answered:
      if (is_current(event)) {
        has_spoken_ = true;
        hear(event.slot, event.offer, Voice::heard);
      }
      break;
    case Happened::closed:
      if (is_current(event)) hear(event.slot, Offer{}, Voice::heard);
      break;
    case Happened::drained:
      if (is_current(event) && slots_[event.slot].phase == Phase::draining) stop(event.slot, slots_[event.slot].reason);
      break;
    case Happened::program_changed:
      next_start_ = std::min(next_start_, std::max(now_, last_death_ + first_delay));
      break;
    case Happened::time_passed:
      break;
    case Happened::removed:
      if (mode_ != Mode::shut_down) end(Mode::removed);
      break;
    case Happened::restored:
      if (mode_ == Mode::removed) mode_ = Mode::running;
      break;
    case Happened::shut_down:
      end(Mode::shut_down);
      break;
  }
  settle();
  return std::exchange(actions_, {});
}

// What a worker of an earlier generation still said or did when its place was taken comes late, and counts no more.
bool Pool::is_current(const Event& event) const {
  return event.slot < slots_.size() && slots_[event.slot].generation == event.generation;
}

void Pool::hear(std::uint32_t index, Offer offer, Voice voice) {
  Slot& slot = slots_[index];
  switch (slot.phase) {
    case Phase::starting:
      become_ready(index, offer, voice);
      break;
    case Phase::ready:
      if (slot.voice != Voice::silent) break;  // asked twice, answered twice
      slot.voice = voice;
      if (std::exchange(slot.offer, offer) != offer) note(Do::publish, index);
      break;
    case Phase::empty:
    case Phase::draining:
    case Phase::stopping:
      break;  // too late to matter
  }
}

void Pool::become_ready(std::uint32_t index, Offer offer, Voice voice) {
  Slot& slot = slots_[index];
  slot.phase = Phase::ready;
  slot.reason = Reason::none;
  slot.voice = voice;
  slot.offer = offer;
  slot.deadline.reset();
  note(Do::publish, index);
  early_deaths_ = 0;
  if (streak() == 0) next_start_ = now_;
}

// The slot's process is gone, whatever it was doing.
void Pool::bury(std::uint32_t index) {
  Slot& slot = slots_[index];
  const Phase was = std::exchange(slot.phase, Phase::empty);
  slot.deadline.reset();
  switch (was) {
    case Phase::empty:
      return;  // reported twice
    case Phase::starting:
      slot.reason = Reason::died_early;
      count_early_death(slot);
      break;
    case Phase::ready:
      slot.reason = Reason::crashed;
      if (now_ - slot.started < trust_age(slot)) {
        slot.reason = Reason::short_lived;
        ++short_lives_;
        if (streak() > 0) count_early_death(slot);
      } else {
        short_lives_ = 0;
      }
      break;
    case Phase::draining:
    case Phase::stopping:
      note(Do::publish, index);
      return;
  }
  note(Do::publish, index);
  const Reason why = slot.reason;
  const bool opens = is_open() && !std::exchange(was_open_, is_open());
  const Duration pause = std::chrono::ceil<Duration>(std::max(next_start_ - now_, Time::duration::zero()));
  settle();  // first, so that the report can name the successor
  note(Do::report_death, index, why, pause);
  if (opens) note(Do::report_breaker_opened, index, Reason::none, pause);
}

// Deaths of workers that were started together count as a few at most: they have one cause.
void Pool::count_early_death(const Slot& slot) {
  if (slot.phase == Phase::empty && slot.reason == Reason::died_early) {
    if (early_deaths_ >= breaker_limit && slot.started <= last_death_) return;
    ++early_deaths_;
  }
  last_death_ = now_;
  const Duration longest = std::max(policy_.restart_delay, first_delay);
  Duration pause = first_delay;
  for (std::uint32_t i = 1; i < streak() && pause < longest; ++i) pause *= 2;
  pause = std::min(pause, longest);
  const double shortened = static_cast<double>(pause.count()) * (1.0 - random() / 4);
  next_start_ = now_ + Duration(static_cast<Duration::rep>(shortened));
}

void Pool::drain(std::uint32_t index, Reason reason) {
  Slot& slot = slots_[index];
  slot.phase = Phase::draining;
  slot.reason = reason;
  slot.deadline = mode_ == Mode::shut_down ? now_ + policy_.stop_grace / 2 : now_ + policy_.stop_grace;
  note(Do::publish, index);
}

void Pool::stop(std::uint32_t index, Reason reason) {
  Slot& slot = slots_[index];
  slot.phase = Phase::stopping;
  slot.reason = reason;
  slot.deadline = mode_ == Mode::shut_down ? end_ : now_ + policy_.stop_grace;
  note(Do::publish, index);
  note(Do::terminate, index);
}

void Pool::end(Mode mode) {
  if (mode_ == mode) return;
  const Reason reason = mode == Mode::shut_down ? Reason::shut_down : Reason::removed;
  mode_ = mode;
  end_ = now_ + policy_.stop_grace;
  for (std::uint32_t i = 0; i < slot_count(); ++i) {
    Slot& slot = slots_[i];
    switch (slot.phase) {
      case Phase::empty:
        break;
      case Phase::starting:
        stop(i, reason);
        break;
      case Phase::ready:
        drain(i, reason);
        break;
      case Phase::draining:
        slot.deadline = std::min(*slot.deadline, now_ + policy_.stop_grace / 2);
        break;
      case Phase::stopping:
        if (slot.deadline) slot.deadline = std::min(*slot.deadline, end_);
        break;
    }
  }
}

void Pool::adopt(const Event& event) {
  assert(mode_ == Mode::waiting && slots_[event.slot].phase == Phase::empty);
  Slot& slot = slots_[event.slot];
  slot.generation = event.generation;
  slot.was_started = true;
  slot.started = now_;
  slot.offer = event.offer;
  slot.voice = Voice::heard;
  switch (event.phase) {
    case Phase::empty:
    case Phase::starting:
      slot.phase = Phase::starting;
      slot.voice = Voice::unheard;
      slot.deadline = now_ + policy_.ready_timeout;
      note(Do::publish, event.slot);
      note(Do::ask, event.slot);
      break;
    case Phase::ready:
      slot.phase = Phase::ready;
      break;
    case Phase::draining:
      drain(event.slot, Reason::removed);
      break;
    case Phase::stopping:
      stop(event.slot, Reason::removed);
      break;
  }
}

// The phase's time is over.
void Pool::expire(std::uint32_t index) {
  Slot& slot = slots_[index];
  switch (slot.phase) {
    case Phase::starting:
      note(Do::stop_asking, index);
      become_ready(index, Offer{}, Voice::silent);
      break;
    case Phase::draining:
      stop(index, slot.reason);
      break;
    case Phase::stopping:
      slot.deadline.reset();
      note(Do::kill, index);
      break;
    case Phase::empty:
    case Phase::ready:
      assert(false && "these wait for nothing");
      break;
  }
}

// Does all that is due: called after every event.
void Pool::settle() {
  for (std::uint32_t i = 0; i < slot_count(); ++i) {
    while (slots_[i].deadline && *slots_[i].deadline <= now_) expire(i);
    const Slot& slot = slots_[i];
    if (short_lives_ > 0 && slot.phase == Phase::ready && now_ - slot.started >= trust_age(slot)) {
      short_lives_ = 0;
      if (streak() == 0) next_start_ = now_;
    }
  }
  if (!is_open() && std::exchange(was_open_, false)) note(Do::report_breaker_closed, 0);
  // Those whose worker died go first: requests may be queued on their sockets.
  for (const bool died : {true, false}) {
    for (std::uint32_t i = 0; i < slot_count(); ++i) {
      if ((slots_[i].reason != Reason::none) != died) continue;
      const auto when = next_start(i);
      if (when && *when <= now_) start(i);
    }
  }
}

void Pool::start(std::uint32_t index) {
  Slot& slot = slots_[index];
  if (!slot.was_started) next_first_start_ = now_ + policy_.init_start_delay;
  slot.was_started = true;
  slot.phase = Phase::starting;
  slot.reason = Reason::none;
  slot.voice = Voice::unheard;
  slot.offer = Offer{};
  ++slot.generation;
  slot.started = now_;
  slot.deadline = now_ + (has_spoken_ ? policy_.ready_timeout * spoken_patience : policy_.ready_timeout);
  note(Do::start, index);
  note(Do::publish, index);
  note(Do::ask, index);
}

// When this slot may get a worker; nullopt: it needs none, or something else must happen first.
std::optional<Time> Pool::next_start(std::uint32_t index) const {
  const Slot& slot = slots_[index];
  if (mode_ != Mode::running || slot.phase != Phase::empty || active() >= policy_.workers) return std::nullopt;
  if (is_open() && is_any_starting()) return std::nullopt;
  return slot.was_started ? next_start_ : std::max(next_start_, next_first_start_);
}

std::optional<Time> Pool::next_deadline() const {
  std::optional<Time> first;
  auto consider = [&first](std::optional<Time> time) {
    if (time && (!first || *time < *first)) first = time;
  };
  for (std::uint32_t i = 0; i < slot_count(); ++i) {
    const Slot& slot = slots_[i];
    consider(slot.deadline);
    consider(next_start(i));
    if (short_lives_ > 0 && slot.phase == Phase::ready) consider(slot.started + trust_age(slot));
  }
  return first;
}

SlotState Pool::state(std::uint32_t index) const {
  const Slot& slot = slots_[index];
  SlotState state{.generation = slot.generation, .phase = slot.phase};
  if (slot.phase == Phase::ready || slot.phase == Phase::draining) {
    state.capacity = slot.offer.capacity;
    state.connections = slot.offer.connections;
    state.is_multiplexed = slot.offer.is_multiplexed;
  }
  return state;
}

bool Pool::is_over() const {
  return (mode_ == Mode::removed || mode_ == Mode::shut_down) &&
         std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.phase == Phase::empty; });
}

std::uint32_t Pool::active() const {
  return static_cast<std::uint32_t>(std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) {
    return slot.phase == Phase::starting || slot.phase == Phase::ready;
  }));
}

bool Pool::is_any_starting() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.phase == Phase::starting; });
}

// Deaths in a row that make starts wait.
std::uint32_t Pool::streak() const {
  return early_deaths_ + (short_lives_ >= breaker_limit ? short_lives_ - breaker_limit + 1 : 0);
}

Duration Pool::trust_age(const Slot& slot) const {
  const Duration silence = slot.voice == Voice::silent ? policy_.ready_timeout * silence_trust : Duration{0};
  return std::max(policy_.min_server_life, silence);
}

void Pool::note(Do what, std::uint32_t slot, Reason reason, Duration delay) {
  actions_.push_back({what, slot, reason, delay});
}

// SplitMix64, scaled to 0 … 1.
double Pool::random() {
  random_ += 0x9e3779b97f4a7c15;
  std::uint64_t z = random_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

}  // namespace cppfcgi
