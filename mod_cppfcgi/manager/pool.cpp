#include "mod_cppfcgi/manager/pool.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace cppfcgi {

PoolPolicy::PoolPolicy(const PoolConfig& config)
    : workers(config.processes),
      most(config.max_processes),
      idle_process_timeout(config.idle_process_timeout),
      init_start_delay(config.init_start_delay),
      restart_delay(config.restart_delay),
      min_server_life(config.min_server_life),
      ready_timeout(config.ready_timeout),
      stop_grace(config.stop_grace),
      drain_grace(config.drain_grace),
      max_lifetime(config.max_lifetime),
      max_requests(config.max_requests),
      has_deploy_check(!config.deploy_check.empty()) {}

namespace {

Scaling::Limits limits_of(const PoolPolicy& policy) {
  return {policy.workers, std::max(policy.workers, policy.most), policy.idle_process_timeout};
}

}  // namespace

Pool::Pool(const PoolPolicy& policy, std::uint64_t seed, std::span<const std::uint32_t> last_generations)
    : policy_(policy), scaling_(limits_of(policy)), random_(seed), slots_(last_generations.size()) {
  assert(slots_.size() >= std::max(policy.workers, policy.most));
  for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].generation = last_generations[i];
}

void Pool::set_policy(const PoolPolicy& policy) {
  policy_ = policy;
  scaling_.set_limits(limits_of(policy), now_);
}

Actions Pool::on(const Event& event, Time now) {
  now_ = std::max(now, now_);
  // What a worker of an earlier generation still said or did when its place was taken comes late, and counts no more.
  const bool is_stale = is_about_worker(event.what) && event.what != Happened::adopted &&
                        slots_[event.slot].generation != event.generation;
  if (!is_stale) take(event);
  settle();
  return std::exchange(actions_, {});
}

void Pool::take(const Event& event) {
  const std::uint32_t slot = event.slot;
  switch (event.what) {
    case Happened::began:
      if (mode_ != Mode::waiting) break;
      mode_ = Mode::running;
      scaling_.begin(active(), now_);
      break;
    case Happened::adopted:
      return adopt(event);
    case Happened::start_failed:
    case Happened::exited:
      return bury(slot, event.is_unused);
    case Happened::notified:
      return be_notified(slot);
    case Happened::answered:
      has_spoken_ = true;
      return hear(slot, event.offer, Voice::heard);
    case Happened::closed:
      return hear(slot, Offer{}, Voice::heard);
    case Happened::drained:  // a hung one is ended once its stacks have been read
      if (is_in(slot, Phase::draining) && reason(slot) != Reason::hung) stop(slot, reason(slot));
      break;
    case Happened::late:
      return mark_late(slot);
    case Happened::recovered:
      return unmark_late(slot);
    case Happened::unresponsive:
      if (is_in(slot, Phase::ready)) hang(slot);
      break;
    case Happened::stacks_read:
      if (is_in(slot, Phase::draining) && reason(slot) == Reason::hung) stop(slot, Reason::hung);
      break;
    case Happened::worn:
      slots_[slot].is_worn = true;
      break;
    case Happened::settings_changed:
      if (trial_) give_up_trial();
      return begin_edition(Reason::changed);
    case Happened::deployed:
      if (trial_) give_up_trial();
      has_deploy_ = true;
      break;
    case Happened::withdrawn:
      if (trial_) end_trial(Reason::superseded);
      has_deploy_ = false;
      break;
    case Happened::check_passed:
      if (is_trial(slot) && slots_[slot].is_checking) commit_trial();
      break;
    case Happened::check_failed:
      if (is_trial(slot) && slots_[slot].is_checking) end_trial(Reason::unfit);
      break;
    case Happened::program_changed:
      backoff_.program_changed(now_);
      break;
    case Happened::looked:
      return look(event.demand);
    case Happened::time_passed:
      break;  // settle() does it
    case Happened::removed:
      if (mode_ != Mode::shut_down) end(Mode::removed);
      break;
    case Happened::restored:
      if (mode_ == Mode::removed) mode_ = Mode::running;
      break;
    case Happened::shut_down:
      return end(Mode::shut_down);
  }
}

void Pool::be_notified(std::uint32_t index) {
  has_spoken_ = true;
  Slot& slot = slots_[index];
  const bool was_known = std::exchange(slot.begins_whole, true);
  if (!was_known && slot.phase == Phase::ready) note(Do::publish, index);
  if (slot.phase == Phase::starting && !slot.is_checking)
    slot.deadline = now_ + policy_.ready_timeout;  // the answer is quick now
  if (slot.phase == Phase::ready && slot.voice == Voice::silent) note(Do::ask, index);
}

void Pool::hear(std::uint32_t index, Offer offer, Voice voice) {
  Slot& slot = slots_[index];
  switch (slot.phase) {
    case Phase::starting:
      if (slot.is_checking) break;  // asked twice, answered twice
      if (is_trial(index)) {
        slot.offer = offer;
        slot.voice = voice;
        slot.is_checking = true;
        slot.deadline = now_ + check_grace;
        if (!policy_.has_deploy_check) return commit_trial();
        note(Do::check, index);
        break;
      }
      become_ready(index, offer, voice);
      break;
    case Phase::ready:
      if (slot.voice != Voice::silent) break;  // likewise
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
  const double share = 1.0 - random_.next() * jitter;
  slot.allowance =
      policy_.max_requests == 0
          ? 0
          : std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(policy_.max_requests) * share));
  slot.lifes_end.reset();
  if (policy_.max_lifetime > Duration{0})
    slot.lifes_end =
        now_ + Duration(static_cast<Duration::rep>(static_cast<double>(policy_.max_lifetime.count()) * share));
  scaling_.became_ready(std::chrono::ceil<Duration>(now_ - slot.started), ready(), offer.capacity, now_);
  note(Do::publish, index);
  backoff_.became_ready(now_);
}

// The slot's process is gone, whatever it was doing.
void Pool::bury(std::uint32_t index, bool is_unused) {
  Slot& slot = slots_[index];
  const Phase was = std::exchange(slot.phase, Phase::empty);
  slot.deadline.reset();
  switch (was) {
    case Phase::empty:
      return;  // reported twice
    case Phase::starting:
      if (is_trial(index)) return end_trial(Reason::died_early);
      slot.reason = Reason::died_early;
      backoff_.died_early(slot.started, policy_.restart_delay, now_, random_);
      break;
    case Phase::ready:
      slot.reason = bury_ready(slot, is_unused);
      break;
    case Phase::draining:
      note(Do::publish, index);
      if (mode_ == Mode::running && slot.reason != Reason::hung) note(Do::report_death, index, Reason::crashed);
      return;
    case Phase::stopping:
      note(Do::publish, index);
      return;
  }
  note(Do::publish, index);
  const Reason why = slot.reason;
  const bool opens = backoff_.has_just_opened();
  const Duration pause = backoff_.pause(now_);
  settle();  // first, so that the report can name the successor
  note(Do::report_death, index, why, pause);
  if (opens) note(Do::report_breaker_opened, index, Reason::none, pause);
}

Reason Pool::bury_ready(Slot& slot, bool is_unused) {
  if (now_ - slot.started >= trust_age(slot, is_unused)) {
    backoff_.died_old();
    return Reason::crashed;
  }
  backoff_.died_young(slot.started, policy_.restart_delay, now_, random_);
  return Reason::short_lived;
}

void Pool::mark_late(std::uint32_t index) {
  Slot& slot = slots_[index];
  const bool has_requests = slot.phase == Phase::ready || slot.phase == Phase::draining;
  if (!has_requests || slot.reason == Reason::hung || std::exchange(slot.is_late, true)) return;
  slot.deadline = std::min(slot.deadline.value_or(Time::max()), now_ + late_grace);
}

void Pool::unmark_late(std::uint32_t index) {
  Slot& slot = slots_[index];
  if (slot.reason == Reason::hung || !std::exchange(slot.is_late, false)) return;
  if (slot.phase == Phase::ready) slot.deadline.reset();
  if (slot.phase == Phase::draining) drain(index, slot.reason);
}

void Pool::hang(std::uint32_t index) {
  Slot& slot = slots_[index];
  slot.phase = Phase::draining;
  slot.reason = Reason::hung;
  slot.deadline = now_ + stacks_grace;
  note(Do::publish, index);
  note(Do::report_hang, index, Reason::hung);
  note(Do::read_stacks, index);
}

// Who is of an earlier one is due.
void Pool::begin_edition(Reason why) {
  edition_ = ++last_edition_;
  edition_reason_ = why;
}

// Where nobody serves there is nothing to protect, and the new program is the likeliest cure.
void Pool::begin_trial() {
  if (!has_deploy_ || trial_ || mode_ != Mode::running) return;
  if (ready() == 0) {
    has_deploy_ = false;
    begin_edition(Reason::redeployed);
    note(Do::commit, 0);
    backoff_.hurry(now_);
    return start_wanted();
  }
  const auto spare =
      std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.phase == Phase::empty; });
  if (spare == slots_.end()) return;
  has_deploy_ = false;
  trial_ = static_cast<std::uint32_t>(spare - slots_.begin());
  start(*trial_, ++last_edition_);
}

void Pool::end_trial(Reason why) {
  const std::uint32_t index = *std::exchange(trial_, std::nullopt);
  slots_[index].is_checking = false;
  slots_[index].reason = why;
  if (slots_[index].phase == Phase::starting) {
    stop(index, why);
  } else {
    note(Do::publish, index);
  }
  if (why != Reason::superseded) note(Do::report_refusal, index, why);
}

// For another: the program's turn comes again.
void Pool::give_up_trial() {
  end_trial(Reason::superseded);
  has_deploy_ = true;
}

void Pool::commit_trial() {
  const std::uint32_t index = *std::exchange(trial_, std::nullopt);
  Slot& slot = slots_[index];
  slot.is_checking = false;
  edition_ = slot.edition;
  edition_reason_ = Reason::redeployed;
  note(Do::commit, index);
  become_ready(index, slot.offer, slot.voice);
}

// Why this worker is to have a successor.
Reason Pool::due(const Slot& slot) const {
  if (slot.phase != Phase::ready) return Reason::none;
  if (slot.edition != edition_) return edition_reason_;
  return slot.is_worn ? Reason::recycled : Reason::none;
}

void Pool::look(const Demand& demand) {
  if (mode_ != Mode::running) return;
  scaling_.look(demand, crew(), now_);
  shrink(demand);
}

// One at a time. Where somebody is due, it is they who go: without a successor, by retire().
void Pool::shrink(const Demand& demand) {
  const bool is_above = ready() > scaling_.target();
  const bool has_surplus = scaling_.has_surplus(now_);
  if (crew().is_shrinking || (!is_above && !has_surplus)) return;
  const bool has_idle = demand.idle && *demand.idle < slot_count() && is_in(*demand.idle, Phase::ready);
  if (!has_idle && ready() >= scaling_.target()) return;
  if (!is_above) scaling_.lower();
  if (ready() > scaling_.target() && !has_due()) drain(*demand.idle, Reason::idle);
}

// Who is due goes when a successor is ready.
void Pool::retire() {
  for (std::uint32_t i = 0; i < slot_count() && ready() > scaling_.target(); ++i) {
    if (const Reason why = due(slots_[i]); why != Reason::none) drain(i, why);
  }
}

void Pool::drain(std::uint32_t index, Reason reason) {
  Slot& slot = slots_[index];
  slot.phase = Phase::draining;
  slot.reason = reason;
  Duration time = policy_.drain_grace;
  if (mode_ == Mode::removed) time = policy_.stop_grace;  // nobody can know it any more
  if (mode_ == Mode::shut_down) time = policy_.stop_grace / 2;
  slot.deadline = now_ + (slot.is_late ? std::min(time, late_grace) : time);
  note(Do::publish, index);
}

void Pool::stop(std::uint32_t index, Reason reason) {
  Slot& slot = slots_[index];
  slot.phase = Phase::stopping;
  slot.reason = reason;
  slot.deadline = mode_ == Mode::shut_down ? end_ : now_ + stop_grace(index);
  note(Do::publish, index);
  note(Do::terminate, index);
}

void Pool::end(Mode mode) {
  if (mode_ == mode) return;
  const Reason reason = mode == Mode::shut_down ? Reason::shut_down : Reason::removed;
  mode_ = mode;
  end_ = now_ + policy_.stop_grace;
  has_deploy_ = has_deploy_ || trial_;
  trial_.reset();
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
  slot.edition = event.is_outdated ? edition_ - 1 : edition_;
  slot.was_started = true;
  slot.started = now_;
  slot.offer = event.offer;
  slot.begins_whole = event.begins_whole;
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
      if (is_trial(index) && (has_spoken_ || slot.is_checking)) {
        end_trial(slot.is_checking ? Reason::unfit : Reason::not_ready);
        break;
      }
      note(Do::stop_asking, index);
      if (is_trial(index)) return hear(index, Offer{}, Voice::silent);
      become_ready(index, Offer{}, Voice::silent);
      break;
    case Phase::draining:
      if (slot.is_late && slot.reason != Reason::hung && mode_ != Mode::shut_down) {
        hang(index);
      } else {
        stop(index, slot.reason);
      }
      break;
    case Phase::stopping:
      slot.deadline.reset();
      note(Do::kill, index);
      break;
    case Phase::ready:
      assert(slot.is_late && "nothing else is waited for");
      hang(index);
      break;
    case Phase::empty:
      assert(false && "it waits for nothing");
      break;
  }
}

// Does all that is due: called after every event.
void Pool::settle() {
  for (std::uint32_t i = 0; i < slot_count(); ++i) {
    while (slots_[i].deadline && *slots_[i].deadline <= now_) expire(i);
    Slot& slot = slots_[i];
    if (slot.phase != Phase::ready) continue;
    if (slot.lifes_end && *slot.lifes_end <= now_) slot.is_worn = true;
    if (backoff_.counts_lives() && now_ - slot.started >= trust_age(slot, true)) backoff_.lived(now_);
  }
  retire();
  if (backoff_.has_just_closed()) note(Do::report_breaker_closed, 0);
  start_wanted();
  begin_trial();
}

// Those whose worker died go first: requests may be queued on their sockets.
void Pool::start_wanted() {
  if (!needs_start()) return;
  for (const bool died : {true, false}) {
    for (std::uint32_t i = 0; i < slot_count(); ++i) {
      if (slots_[i].phase != Phase::empty || (slots_[i].reason != Reason::none) != died) continue;
      const auto when = next_start(i);
      if (!when || *when > now_) continue;
      start(i, edition_);
      if (!needs_start()) return;
    }
  }
}

void Pool::start(std::uint32_t index, std::uint32_t edition) {
  Slot& slot = slots_[index];
  if (!slot.was_started) next_first_start_ = now_ + policy_.init_start_delay;
  const std::uint32_t generation = slot.generation + 1;
  slot = Slot{
      .phase = Phase::starting, .was_started = true, .generation = generation, .edition = edition, .started = now_};
  slot.deadline = now_ + (has_spoken_ ? policy_.ready_timeout * spoken_patience : policy_.ready_timeout);
  note(Do::start, index);
  note(Do::publish, index);
  note(Do::ask, index);
}

// When this slot may get a worker; nullopt: it needs none, or something else must happen first.
std::optional<Time> Pool::next_start(std::uint32_t index) const {
  const Slot& slot = slots_[index];
  if (slot.phase != Phase::empty || !needs_start()) return std::nullopt;
  if (backoff_.is_open() && is_any_starting()) return std::nullopt;
  const Time next = backoff_.next_start();
  return slot.was_started || active() >= policy_.workers ? next : std::max(next, next_first_start_);
}

std::optional<Time> Pool::next_deadline() const {
  std::optional<Time> first;
  auto consider = [&first](std::optional<Time> time) {
    if (time && (!first || *time < *first)) first = time;
  };
  const bool is_short = needs_start();
  for (std::uint32_t i = 0; i < slot_count(); ++i) {
    const Slot& slot = slots_[i];
    consider(slot.deadline);
    if (is_short) consider(next_start(i));
    if (slot.phase != Phase::ready) continue;
    if (!slot.is_worn) consider(slot.lifes_end);
    if (backoff_.counts_lives()) consider(slot.started + trust_age(slot, true));
  }
  return first;
}

std::optional<Time> Pool::next_look() const {
  return mode_ == Mode::running ? scaling_.next_look(crew()) : std::nullopt;
}

SlotState Pool::state(std::uint32_t index) const {
  const Slot& slot = slots_[index];
  SlotState state{.generation = slot.generation, .phase = slot.phase};
  if (slot.phase == Phase::ready || slot.phase == Phase::draining) {
    state.capacity = slot.offer.capacity;
    state.connections = slot.offer.connections;
    state.is_multiplexed = slot.offer.is_multiplexed;
    state.begins_whole = slot.begins_whole;
  }
  return state;
}

bool Pool::is_over() const {
  return (mode_ == Mode::removed || mode_ == Mode::shut_down) &&
         std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.phase == Phase::empty; });
}

// Who serves or is about to. The one on trial is not.
std::uint32_t Pool::active() const {
  const auto starting =
      std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.phase == Phase::starting; });
  return static_cast<std::uint32_t>(starting) - (trial_ ? 1 : 0) + ready();
}

std::uint32_t Pool::ready() const {
  return static_cast<std::uint32_t>(
      std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.phase == Phase::ready; }));
}

// One more where somebody is due; but not while a program is on trial, which may be the successor.
std::uint32_t Pool::wanted() const { return scaling_.target() + (!trial_ && has_due() ? 1 : 0); }

bool Pool::has_due() const {
  return std::any_of(slots_.begin(), slots_.end(), [this](const Slot& slot) { return due(slot) != Reason::none; });
}

Scaling::Crew Pool::crew() const {
  Scaling::Crew crew{.ready = ready(), .starting = active() - ready(), .is_backing_off = is_backing_off()};
  for (const Slot& slot : slots_) {
    if (slot.phase == Phase::ready) crew.capacity = std::max<std::uint32_t>(crew.capacity, slot.offer.capacity);
    const bool is_ending = slot.phase == Phase::draining || slot.phase == Phase::stopping;
    crew.is_shrinking |= is_ending && slot.reason == Reason::idle;
  }
  return crew;
}

std::optional<Duration> Pool::refuses_for() const {
  if (mode_ != Mode::running || !backoff_.is_open() || ready() > 0 || wanted() == 0) return std::nullopt;
  return backoff_.pause(now_);
}

bool Pool::is_any_starting() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.phase == Phase::starting; });
}

Duration Pool::trust_age(const Slot& slot, bool is_unused) const {
  const Duration silence = slot.voice == Voice::silent ? policy_.ready_timeout * silence_trust : Duration{0};
  return std::max({policy_.min_server_life, silence, is_unused ? unused_trust : Duration{0}});
}

void Pool::note(Do what, std::uint32_t slot, Reason reason, Duration delay) {
  actions_.push_back({what, slot, reason, delay});
}

}  // namespace cppfcgi
