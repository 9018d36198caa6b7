#include "mod_cppfcgi/manager/pool_keeper.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "mod_cppfcgi/manager/process.h"

namespace cppfcgi {
namespace {

constexpr Duration ask_again_after{100};      // where the listen queue is full
constexpr Duration look_at_claims_after{10};  // of a draining worker: nobody tells when the last is released
constexpr int max_resets = 2;                 // of a question, until it counts as refused

Time clock_now() { return std::chrono::steady_clock::now(); }

std::vector<std::uint32_t> last_generations(const Board& board, const Board::Rows& rows) {
  std::vector<std::uint32_t> all;
  for (std::uint32_t i = 0; i < rows.slot_count; ++i) all.push_back(board.entry(rows.first_slot + i).state.generation);
  return all;
}

std::string early_text(const PoolConfig& config, bool was_unused) {
  if (was_unused) return "died before its first request";
  const Duration trust = std::max(config.min_server_life, config.ready_timeout * Pool::silence_trust);
  return "lived for less than " + text_of(trust);
}

// Jitter has to differ between pools and managers, no more.
std::uint64_t seed_for(std::uint64_t key) {
  return key ^ static_cast<std::uint64_t>(clock_now().time_since_epoch().count());
}

}  // namespace

Log::File log_of(const PoolConfig& config, const std::vector<Log::File>& logs) {
  return config.log == 0 || config.log > logs.size() ? nullptr : logs[config.log - 1];
}

PoolKeeper::PoolKeeper(const Surroundings& surroundings, const Board::Found& row, const PoolConfig& config,
                       const std::string& socket_folder, const Log::File& log)
    : around_(surroundings),
      log_(surroundings.log.on(log)),
      key_(row.key),
      config_(config),
      report_(log_, config_),
      socket_folder_(socket_folder),
      rows_(row.rows),
      places_(row.rows.slot_count),
      pool_(PoolPolicy(config), seed_for(row.key), last_generations(surroundings.board, row.rows)),
      program_(surroundings.loop, config.program),
      vigil_(surroundings.loop, surroundings.load, surroundings.claims, row.rows.first_slot, row.rows.slot_count),
      gauge_(surroundings.load, surroundings.claims, row.rows.pool, row.rows.first_slot, row.rows.slot_count),
      guard_({config.scale_guard_memory_percent, config.scale_guard_load}),
      obituaries_(surroundings.stacks) {
  vigil_.set_limits({config.probe_interval, config.max_rss_bytes});
  program_.follow(config.follows_program);
}

Result<std::unique_ptr<PoolKeeper>> PoolKeeper::open(const Surroundings& surroundings, const PoolConfig& config,
                                                     const std::string& socket_folder, const Log::File& log) {
  const auto rows = surroundings.board.take(config.key(), config.max_processes + 1);
  if (!rows) {
    return Error{ENOSPC,
                 fmt::format("pool {}: no room for {} workers: at most {} pools with {} workers together, those that "
                             "still end included",
                             config.name, config.max_processes, max_pools, max_workers)};
  }
  std::unique_ptr<PoolKeeper> keeper(new PoolKeeper(surroundings, {config.key(), *rows}, config, socket_folder, log));
  if (auto opened = keeper->open_sockets(); !opened) return opened.error();
  return keeper;
}

std::unique_ptr<PoolKeeper> PoolKeeper::adopt(const Surroundings& surroundings, const Board::Found& found,
                                              const PoolConfig* config, const std::string& socket_folder,
                                              const Log::File& log) {
  PoolConfig unknown;
  unknown.name = fmt::format("{:016x} of an earlier configuration", found.key);
  unknown.processes = unknown.max_processes = found.rows.slot_count - 1;
  std::unique_ptr<PoolKeeper> keeper(
      new PoolKeeper(surroundings, found, config == nullptr ? unknown : *config, socket_folder, log));
  keeper->has_config_ = config != nullptr;
  keeper->adopt_workers();
  if (config == nullptr) return keeper;
  // Not a reason to give up living workers; a start tries again.
  if (const auto opened = keeper->open_sockets(); !opened) keeper->log_.error("{}", opened.error().what);
  return keeper;
}

void PoolKeeper::reconfigure(const PoolConfig& config, const Log::File& log) {
  log_ = around_.log.on(log);
  if (config == config_) return;
  const bool has_other_workers = config.worker_key() != config_.worker_key();
  const bool has_other_depth = config.listen_queue_depth != config_.listen_queue_depth;
  config_ = config;
  pool_.set_policy(PoolPolicy(config));
  vigil_.set_limits({config.probe_interval, config.max_rss_bytes});
  guard_.set_limits({config.scale_guard_memory_percent, config.scale_guard_load});
  program_.follow(config.follows_program);
  for (Place& place : places_) {
    if (has_other_depth) place.socket.set_depth(config.listen_queue_depth);
  }
  handle({has_other_workers ? Happened::settings_changed : Happened::time_passed});
}

PoolKeeper::~PoolKeeper() {
  obituaries_.write_all(log_);
  for (std::uint32_t slot = 0; slot < places_.size(); ++slot) stop_reading(slot);
  if (is_abandoned_) return;
  for (Place& place : places_) place.socket.remove();
  around_.board.give_back(rows_);
}

Board::Found PoolKeeper::abandon() {
  is_abandoned_ = true;
  return {key_, rows_};
}

// For the slots without a socket; an adopted worker's own may be one that only it holds.
Result<void> PoolKeeper::open_sockets() {
  for (std::uint32_t slot = 0; slot < rows_.slot_count; ++slot) {
    Place& place = places_[slot];
    if (place.worker || place.socket.fd() >= 0) continue;
    auto socket = open_socket(slot);
    if (!socket) return socket.error();
    place.socket = *std::move(socket);
  }
  return {};
}

Result<SlotSocket> PoolKeeper::open_socket(std::uint32_t slot) const {
  return config_.listen.empty() ? SlotSocket::open(address_of(slot), config_.listen_queue_depth)
                                : around_.shared_sockets->open(config_.listen, config_.listen_queue_depth);
}

// It listens on a socket that it alone has, where all should share one.
bool PoolKeeper::is_out_of_reach(std::uint32_t slot) const {
  return !config_.listen.empty() && places_[slot].socket.fd() < 0;
}

bool PoolKeeper::has_any_worker() const {
  return std::any_of(places_.begin(), places_.end(), [](const Place& place) { return place.worker != nullptr; });
}

void PoolKeeper::adopt_workers() {
  std::uint32_t adopted = 0;
  for (std::uint32_t slot = 0; slot < rows_.slot_count; ++slot) {
    const Board::Entry entry = around_.board.entry(rows_.first_slot + slot);
    const auto [pid, start_time, made_of, program] = entry.worker;
    if (pid <= 1) continue;
    auto worker = Worker::adopt(around_.loop, pid, start_time, callbacks(slot, entry.state.generation));
    if (!worker) {
      log_.notice("{} ended while there was no manager", name_of(slot, pid));
      around_.board.publish(rows_.first_slot + slot, {.generation = entry.state.generation});
      around_.board.publish_end(rows_.first_slot + slot);
      continue;
    }
    ++adopted;
    Place& place = places_[slot];
    place.worker = *std::move(worker);
    place.socket = config_.listen.empty() ? SlotSocket::take_from(place.worker->pidfd(), address_of(slot))
                                          : around_.shared_sockets->take_from(place.worker->pidfd(), config_.listen);
  }
  const bool has_deploy = has_config_ && program_.adopt(serving_workers());
  for (std::uint32_t slot = 0; slot < rows_.slot_count; ++slot) {
    if (!places_[slot].worker) continue;
    const auto [state, process] = around_.board.entry(rows_.first_slot + slot);
    // Of another program than the one in force, and not yet ready: it was on trial.
    const bool is_of_other = has_config_ && program_.id(false) != process.program;
    const bool was_on_trial = is_of_other && state.phase == Phase::starting;
    handle({.what = Happened::adopted,
            .slot = slot,
            .generation = state.generation,
            .offer = {state.capacity, state.connections, state.is_multiplexed},
            .phase = was_on_trial ? Phase::stopping : state.phase,
            .is_outdated =
                has_config_ && (is_of_other || is_out_of_reach(slot) || process.made_of != config_.worker_key()),
            .begins_whole = state.begins_whole});
    if (state.phase == Phase::ready) become_ready(slot, state);
  }
  if (has_deploy) handle({Happened::deployed});
  report_.took_over(adopted);
}

std::vector<ProgramFile::Serving> PoolKeeper::serving_workers() const {
  std::vector<ProgramFile::Serving> serving;
  for (std::uint32_t slot = 0; slot < rows_.slot_count; ++slot) {
    const auto [state, process] = around_.board.entry(rows_.first_slot + slot);
    if (state.phase == Phase::ready && places_[slot].worker) serving.push_back({process.pid, process.program});
  }
  return serving;
}

void PoolKeeper::turn() {
  const Time now = clock_now();
  for (std::uint32_t slot = 0; slot < places_.size(); ++slot) {
    Place& place = places_[slot];
    if (place.ask_again && *place.ask_again <= now) ask(slot);
    if (pool_.state(slot).phase == Phase::draining && !has_claims(slot)) handle(about(Happened::drained, slot));
    // Where a successor has come it answers what is queued; else nobody would.
    const bool is_left = std::exchange(place.has_ended, false) && !place.worker;
    if (is_left && (config_.listen.empty() || !has_any_worker())) place.socket.turn_away_waiting();
  }
  look_after_workers(now);
  if (const auto seen = program_.look(now)) handle({*seen});
  if (const auto look = pool_.next_look(); look && *look <= now) look_at_load(now);
  obituaries_.write_due(log_, now);
  if (const auto due = pool_.next_deadline(); due && *due <= now) handle({Happened::time_passed});
}

std::optional<Time> PoolKeeper::next_deadline() const {
  const Time now = clock_now();
  std::optional<Time> first;
  auto consider = [&first](std::optional<Time> time) {
    if (time) first = first ? std::min(*first, *time) : *time;
  };
  for (std::uint32_t slot = 0; slot < places_.size(); ++slot) {
    consider(places_[slot].ask_again);
    if (places_[slot].has_ended) consider(now);
    if (pool_.state(slot).phase == Phase::draining) consider(now + look_at_claims_after);
  }
  consider(pool_.next_deadline());
  consider(pool_.next_look());
  consider(vigil_.next_deadline(now));
  consider(program_.next_deadline());
  consider(obituaries_.next_deadline());
  return first;
}

void PoolKeeper::be_nudged() {
  const Time now = clock_now();
  if (around_.claims.waiting(rows_.pool) > 0) around_.claims.dispatch(rows_.pool, getpid());
  look_after_workers(now);
  if (pool_.is_scaled() && around_.claims.waiting(rows_.pool) > 0) look_at_load(now);
}

void PoolKeeper::look_at_load(Time now) {
  // Who waits although a worker is free, or is dead and only seems to wait, is no reason for another.
  if (around_.claims.waiting(rows_.pool) > 0) around_.claims.dispatch(rows_.pool, getpid());
  std::vector<SlotState> slots;
  for (std::uint32_t slot = 0; slot < rows_.slot_count; ++slot) slots.push_back(pool_.state(slot));
  Demand demand = gauge_.read(slots);
  if (demand.waiting > 0 && pool_.target() < config_.max_processes)
    demand.room = guard_.shortage(now).empty() ? room_ : 0;
  const std::uint32_t before = pool_.target();
  handle({.what = Happened::looked, .demand = demand});
  report_scaling(before, demand, now);
}

void PoolKeeper::report_scaling(std::uint32_t before, const Demand& demand, Time now) {
  const std::uint32_t target = pool_.target();
  if (target > before) report_.grew(before, target, demand.waiting);
  if (demand.idle && pool_.reason(*demand.idle) == Reason::idle && pool_.state(*demand.idle).phase == Phase::draining)
    report_.was_not_needed(name_of(*demand.idle), target);
  if (pool_.is_held_back())
    report_.is_held_back(target, demand.waiting, room_ == 0 ? std::string() : guard_.shortage(now), now);
}

void PoolKeeper::look_after_workers(Time now) {
  for (const Vigil::Finding& finding : vigil_.look(now)) {
    places_[finding.slot].was_silent = finding.what == Happened::unresponsive;
    handle(about(finding.what, finding.slot));
  }
}

bool PoolKeeper::has_worker(pid_t pid) const {
  return std::any_of(places_.begin(), places_.end(),
                     [pid](const Place& place) { return place.worker && place.worker->pid() == pid; });
}

std::uint64_t PoolKeeper::uses() const { return around_.load.pools[rows_.pool].requests.load(); }

bool PoolKeeper::is_in_use() const {
  if (has_waiting()) return true;
  for (std::uint32_t slot = 0; slot < places_.size(); ++slot) {
    if (has_claims(slot)) return true;
  }
  return false;
}

std::uint32_t PoolKeeper::workers() const {
  return static_cast<std::uint32_t>(
      std::count_if(places_.begin(), places_.end(), [](const Place& place) { return place.worker != nullptr; }));
}

// Carrying out an action may make the next thing happen, which has its turn then.
void PoolKeeper::handle(const Event& event) {
  events_.push_back(event);
  if (std::exchange(is_handling_, true)) return;
  while (!events_.empty()) {
    const Event next = events_.front();
    events_.pop_front();
    for (const Action& action : pool_.on(next, clock_now())) perform(action);
  }
  is_handling_ = false;
  program_.watch(pool_.is_backing_off() && !pool_.is_over());
  refusal_sign_.show(pool_.refuses_for(), around_.board, around_.claims, rows_.pool);
}

void PoolKeeper::perform(const Action& action) {
  Place& place = places_[action.slot];
  switch (action.what) {
    case Do::start:
      return start(action.slot);
    case Do::publish:
      return publish(action.slot);
    case Do::ask:
      return ask(action.slot);
    case Do::stop_asking:
      report_.is_silent(name_of(action.slot));
      return stop_asking(action.slot);
    case Do::check:
      return check(action.slot);
    case Do::commit:
      program_.commit();
      return report_.committed();
    case Do::report_refusal:
      return report_.refused(place.worker ? name_of(action.slot) : place.last_worker, action.reason,
                             place.last_end.text, place.check_failure);
    case Do::report_hang:
      return report_.hangs(name_of(action.slot), place.was_silent);
    case Do::read_stacks:
      return read_stacks(action.slot);
    case Do::terminate:
      stop_asking(action.slot);
      if (place.worker) place.worker->terminate();
      return;
    case Do::kill:
      if (!place.worker) return;
      report_.is_killed(name_of(action.slot), pool_.stop_grace(action.slot));
      place.was_killed = true;
      return place.worker->kill();
    case Do::report_death:
      return report_death(action);
    case Do::report_breaker_opened:
      return report_.breaker_opened(action.delay);
    case Do::report_breaker_closed:
      return report_.breaker_closed();
  }
}

void PoolKeeper::publish(std::uint32_t slot) {
  const SlotState state = pool_.state(slot);
  if (state.phase == Phase::ready) {
    become_ready(slot, state);
  } else if (state.phase != Phase::draining) {
    vigil_.end(slot);
  }
  around_.board.publish(rows_.first_slot + slot, state);
  if (state.phase == Phase::ready) around_.claims.dispatch(rows_.pool, getpid());
}

// Also when it tells another capacity, later.
void PoolKeeper::become_ready(std::uint32_t slot, const SlotState& state) {
  Place& place = places_[slot];
  const std::uint32_t row = rows_.first_slot + slot;
  const pid_t pid = place.worker ? place.worker->pid() : 0;
  if (std::exchange(place.ready_generation, state.generation) != state.generation) {
    place.last_end = {};
    place.requests_before = requests(slot);
    const std::uint64_t allowance = pool_.allowance(slot);
    around_.board.publish_recycling(row, allowance == 0 ? 0 : place.requests_before + allowance);
    obituaries_.became_ready(slot, state.generation, clock_now());
  }
  vigil_.begin(slot,
               {.generation = state.generation,
                .pid = pid,
                .socket = address_of(slot),
                .answers = place.answers,
                .recycle_at = around_.board.recycling(row)},
               clock_now());
  log_.info("{} is ready: {} requests, {} connections{}", name_of(slot), state.capacity, state.connections,
            state.is_multiplexed ? ", multiplexed" : "");
}

void PoolKeeper::start(std::uint32_t slot) {
  Place& place = places_[slot];
  place.resets = 0;
  place.was_killed = false;
  place.answers = false;
  place.check_failure.clear();
  if (place.socket.fd() < 0) {  // its last worker was adopted, and held the socket alone
    place.socket.remove();
    auto socket = open_socket(slot);
    if (!socket) {
      place.last_worker = name_of(slot, 0);
      place.last_end = {socket.error().what, true};
      return handle(about(Happened::start_failed, slot));
    }
    place.socket = *std::move(socket);
  }
  const PinnedProgram* program = program_.to_start(pool_.is_trial(slot));
  auto worker = Worker::start(around_.loop,
                              {.program = config_.program,
                               .pinned = program == nullptr ? -1 : program->fd(),
                               .is_script = program != nullptr && program->is_script(),
                               .arguments = config_.arguments,
                               .environment = config_.environment,
                               .priority = config_.priority,
                               .folder = config_.folder,
                               .umask = config_.umask,
                               .limits = config_.limits,
                               .listener = place.socket.fd(),
                               .open_files = around_.open_files,
                               .ends_with_us = around_.workers_end_with_us},
                              callbacks(slot, pool_.state(slot).generation));
  if (!worker) {
    place.last_worker = name_of(slot, 0);
    place.last_end = {worker.error().what, true};
    return handle(about(Happened::start_failed, slot));
  }
  place.worker = *std::move(worker);
  // Where the next manager finds it, before it does anything.
  around_.board.publish_worker(rows_.first_slot + slot, {.pid = place.worker->pid(),
                                                         .start_time = place.worker->start_time(),
                                                         .made_of = config_.worker_key(),
                                                         .program = program_.id(pool_.is_trial(slot))});
  publish(slot);
  place.worker->launch();
  log_.info("{} started", name_of(slot));
}

void PoolKeeper::ask(std::uint32_t slot) {
  Place& place = places_[slot];
  place.ask_again.reset();
  if (!place.worker || place.question) return;  // not read by the last worker: waits in the queue for this one
  auto question = Question::ask(around_.loop, address_of(slot),
                                [this, slot](Question::Outcome outcome, Offer offer) { hear(slot, outcome, offer); });
  if (question) {
    place.question = *std::move(question);
  } else if (question.error().code == EAGAIN) {
    place.ask_again = clock_now() + ask_again_after;
  } else {
    log_.warn("{}: {}", name_of(slot), question.error().what);
  }
}

// A question that is not answered holds the worker up.
void PoolKeeper::stop_asking(std::uint32_t slot) {
  places_[slot].question.reset();
  places_[slot].check.reset();
  places_[slot].ask_again.reset();
}

void PoolKeeper::hear(std::uint32_t slot, Question::Outcome outcome, Offer offer) {
  Place& place = places_[slot];
  place.question.reset();
  place.answers = outcome == Question::Outcome::answered;
  if (place.answers) return handle(about(Happened::answered, slot, offer));
  // Was it the worker's will, or did it end? Of what ends, the pidfd will tell.
  if (!place.worker || place.worker->is_ending()) return;
  if (outcome == Question::Outcome::reset && ++place.resets <= max_resets) return ask(slot);
  handle(about(Happened::closed, slot));
}

void PoolKeeper::check(std::uint32_t slot) {
  Place& place = places_[slot];
  auto check =
      DeployCheck::begin(around_.loop, address_of(slot), check_request(config_.deploy_check, config_.mount),
                         [this, slot](const std::string& failure) {
                           places_[slot].check.reset();
                           places_[slot].check_failure = failure;
                           handle(about(failure.empty() ? Happened::check_passed : Happened::check_failed, slot));
                         });
  if (check) {
    place.check = *std::move(check);
  } else {
    place.check_failure = check.error().what;
    handle(about(Happened::check_failed, slot));
  }
}

void PoolKeeper::read_stacks(std::uint32_t slot) {
  Place& place = places_[slot];
  if (!place.worker) return;
  place.stacks_reading = around_.stacks.read_threads(
      place.worker->pid(), [this, slot](const Stacks& stacks) { write_stacks(slot, stacks); });
}

void PoolKeeper::write_stacks(std::uint32_t slot, const Stacks& stacks) {
  places_[slot].stacks_reading.reset();
  for (const std::string& line : stack_lines(stacks)) log_.error("{}: {}", name_of(slot), line);
  handle(about(Happened::stacks_read, slot));
}

void PoolKeeper::stop_reading(std::uint32_t slot) {
  if (const auto reading = std::exchange(places_[slot].stacks_reading, std::nullopt)) around_.stacks.cancel(*reading);
}

void PoolKeeper::bury(std::uint32_t slot) {
  Place& place = places_[slot];
  const std::unique_ptr<Worker> worker = std::move(place.worker);
  place.last_worker = name_of(slot, worker->pid());
  place.last_end = worker->end();
  place.ask_again.reset();
  place.check.reset();
  place.has_ended = true;
  stop_reading(slot);
  if (place.question && !place.question->is_unread()) place.question.reset();
  around_.board.publish_end(rows_.first_slot + slot);
  log_.info("{} ended: {}", place.last_worker, place.last_end.text);
  if (pool_.state(slot).phase == Phase::stopping && !place.was_killed)
    report_.ended_badly(place.last_worker, place.last_end);
  obituaries_.ended(slot, pool_.state(slot).generation);
  // Somebody else's SIGKILL says nothing about the program.
  const bool is_own_end = worker->end().is_known && worker->end().signal != SIGKILL;
  place.was_unused = is_own_end && requests(slot) == place.requests_before;
  Event event = about(Happened::exited, slot);
  event.is_unused = place.was_unused;
  handle(event);
}

void PoolKeeper::report_death(const Action& action) {
  const Place& place = places_[action.slot];
  const bool has_successor = place.worker && action.delay == Duration{0};
  obituaries_.add({.worker = place.last_worker,
                   .end = place.last_end,
                   .reason = action.reason,
                   .early = early_text(config_, place.was_unused),
                   .pause = action.delay,
                   .slot = action.slot,
                   .successor = has_successor ? pool_.state(action.slot).generation : 0,
                   .successor_pid = has_successor ? place.worker->pid() : 0},
                  program_.open_in_force(), clock_now());
}

Worker::Callbacks PoolKeeper::callbacks(std::uint32_t slot, std::uint32_t generation) {
  return {.exited = [this, slot] { bury(slot); },
          .notified = [this, slot,
                       generation] { handle({.what = Happened::notified, .slot = slot, .generation = generation}); },
          .printed = [this, slot](std::string_view line) { log_.notice("{}: {}", name_of(slot), line); }};
}

Event PoolKeeper::about(Happened what, std::uint32_t slot, Offer offer) const {
  return {.what = what, .slot = slot, .generation = pool_.state(slot).generation, .offer = offer};
}

std::string PoolKeeper::name_of(std::uint32_t slot) const {
  return name_of(slot, places_[slot].worker ? places_[slot].worker->pid() : 0);
}

std::string PoolKeeper::name_of(std::uint32_t slot, pid_t pid) const {
  if (pid == 0) return fmt::format("worker {} of pool {}", slot, config_.name);
  return fmt::format("worker {} (pid {}) of pool {}", slot, pid, config_.name);
}

std::uint64_t PoolKeeper::requests(std::uint32_t slot) const {
  return around_.load.slots[rows_.first_slot + slot].requests.load();
}

// A process of httpd that was killed gives nothing back, and httpd's parent, which would do it instead, may be gone
// too.
bool PoolKeeper::has_claims(std::uint32_t slot) const {
  const auto holders = around_.claims.holders(rows_.first_slot + slot, pool_.state(slot).generation);
  return std::any_of(holders.begin(), holders.end(), [](pid_t pid) { return is_alive(pid); });
}

}  // namespace cppfcgi
