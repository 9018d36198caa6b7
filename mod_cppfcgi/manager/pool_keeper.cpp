#include "mod_cppfcgi/manager/pool_keeper.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "mod_cppfcgi/manager/process.h"

namespace cppfcgi {
namespace {

constexpr Duration ask_again_after{100};      // where the listen queue is full
constexpr Duration look_at_claims_after{10};  // of a draining worker: nobody tells when the last is released
constexpr int max_resets = 2;                 // of a question, until it counts as refused

Time clock_now() { return std::chrono::steady_clock::now(); }

std::string text_of(Duration time) {
  if (time < Duration{1'000}) return fmt::format("{} ms", time.count());
  return fmt::format("{:.{}f} s", static_cast<double>(time.count()) / 1'000, time < Duration{10'000} ? 1 : 0);
}

std::vector<std::uint32_t> last_generations(const Board& board, const Board::Rows& rows) {
  std::vector<std::uint32_t> all;
  for (std::uint32_t i = 0; i < rows.slot_count; ++i) all.push_back(board.entry(rows.first_slot + i).state.generation);
  return all;
}

// Jitter has to differ between pools and managers, no more.
std::uint64_t seed_for(std::uint64_t key) {
  return key ^ static_cast<std::uint64_t>(clock_now().time_since_epoch().count());
}

}  // namespace

PoolKeeper::PoolKeeper(const Surroundings& surroundings, const Board::Found& row, const PoolConfig& config,
                       const std::string& socket_folder)
    : around_(surroundings),
      key_(row.key),
      config_(config),
      socket_folder_(socket_folder),
      rows_(row.rows),
      places_(row.rows.slot_count),
      pool_(PoolPolicy(config), seed_for(row.key), last_generations(surroundings.board, row.rows)) {}

Result<std::unique_ptr<PoolKeeper>> PoolKeeper::open(const Surroundings& surroundings, const PoolConfig& config,
                                                     const std::string& socket_folder) {
  const auto rows = surroundings.board.take(config.key(), config.processes + 1);
  if (!rows) {
    return Error{ENOSPC,
                 fmt::format("pool {}: no room for {} workers: at most {} pools with {} workers together, those that "
                             "still end included",
                             config.name, config.processes, max_pools, max_workers)};
  }
  std::unique_ptr<PoolKeeper> keeper(new PoolKeeper(surroundings, {config.key(), *rows}, config, socket_folder));
  if (auto opened = keeper->open_sockets(); !opened) return opened.error();
  return keeper;
}

std::unique_ptr<PoolKeeper> PoolKeeper::adopt(const Surroundings& surroundings, const Board::Found& found,
                                              const PoolConfig* config, const std::string& socket_folder) {
  PoolConfig unknown;
  unknown.name = fmt::format("{:016x} of an earlier configuration", found.key);
  unknown.processes = found.rows.slot_count;
  std::unique_ptr<PoolKeeper> keeper(
      new PoolKeeper(surroundings, found, config == nullptr ? unknown : *config, socket_folder));
  keeper->has_config_ = config != nullptr;
  keeper->adopt_workers();
  if (config == nullptr) return keeper;
  // Not a reason to give up living workers; a start tries again.
  if (const auto opened = keeper->open_sockets(); !opened) surroundings.log.error("{}", opened.error().what);
  return keeper;
}

PoolKeeper::~PoolKeeper() {
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
    auto socket = SlotSocket::open(path_of(slot), config_.listen_queue_depth);
    if (!socket) return socket.error();
    place.socket = *std::move(socket);
  }
  return {};
}

void PoolKeeper::adopt_workers() {
  std::uint32_t adopted = 0;
  for (std::uint32_t slot = 0; slot < rows_.slot_count; ++slot) {
    const Board::Entry entry = around_.board.entry(rows_.first_slot + slot);
    if (entry.pid <= 1) continue;
    auto worker = Worker::adopt(around_.loop, entry.pid, entry.start_time, callbacks(slot, entry.state.generation));
    if (!worker) {
      around_.log.notice("{} ended while there was no manager", name_of(slot, entry.pid));
      around_.board.publish(rows_.first_slot + slot, {.generation = entry.state.generation});
      around_.board.publish_worker(rows_.first_slot + slot, 0, 0);
      continue;
    }
    ++adopted;
    Place& place = places_[slot];
    place.worker = *std::move(worker);
    place.socket = SlotSocket::take_from(place.worker->pidfd(), path_of(slot));
    const SlotState& state = entry.state;
    handle({.what = Happened::adopted,
            .slot = slot,
            .generation = state.generation,
            .offer = {state.capacity, state.connections, state.is_multiplexed},
            .phase = state.phase});
  }
  around_.log.notice("pool {}: took over {} of {} workers", config_.name, adopted, rows_.slot_count);
}

void PoolKeeper::turn() {
  const Time now = clock_now();
  for (std::uint32_t slot = 0; slot < places_.size(); ++slot) {
    if (places_[slot].ask_again && *places_[slot].ask_again <= now) ask(slot);
    if (pool_.state(slot).phase == Phase::draining && !has_claims(slot)) handle(about(Happened::drained, slot));
  }
  if (const auto due = pool_.next_deadline(); due && *due <= now) handle({Happened::time_passed});
}

std::optional<Time> PoolKeeper::next_deadline() const {
  std::optional<Time> first = pool_.next_deadline();
  auto consider = [&first](Time time) { first = first ? std::min(*first, time) : time; };
  for (std::uint32_t slot = 0; slot < places_.size(); ++slot) {
    if (places_[slot].ask_again) consider(*places_[slot].ask_again);
    if (pool_.state(slot).phase == Phase::draining) consider(clock_now() + look_at_claims_after);
  }
  return first;
}

void PoolKeeper::serve_waiting() {
  if (around_.claims.waiting(rows_.pool) > 0) around_.claims.dispatch(rows_.pool, getpid());
}

bool PoolKeeper::has_worker(pid_t pid) const {
  return std::any_of(places_.begin(), places_.end(),
                     [pid](const Place& place) { return place.worker && place.worker->pid() == pid; });
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
  watch_program();
}

void PoolKeeper::perform(const Action& action) {
  Place& place = places_[action.slot];
  switch (action.what) {
    case Do::start:
      start(action.slot);
      break;
    case Do::publish:
      publish(action.slot);
      break;
    case Do::ask:
      ask(action.slot);
      break;
    case Do::stop_asking:
      place.question.reset();
      place.ask_again.reset();
      around_.log.info("{} has not said that it is ready within {}: it gets one request at a time",
                       name_of(action.slot, place.worker ? place.worker->pid() : 0), text_of(config_.ready_timeout));
      break;
    case Do::terminate:
      place.question.reset();
      place.ask_again.reset();
      if (place.worker) place.worker->terminate();
      break;
    case Do::kill:
      if (!place.worker) break;
      around_.log.warn("{} has not ended within {} after SIGTERM: killed", name_of(action.slot, place.worker->pid()),
                       text_of(config_.stop_grace));
      place.worker->kill();
      break;
    case Do::report_death:
      report_death(action);
      break;
    case Do::report_breaker_opened:
      around_.log.error(
          "pool {}: workers keep dying before they are ready: from now on one at a time is tried, the next in {} (the "
          "longest pause, -restart-delay, is {})",
          config_.name, text_of(action.delay), text_of(config_.restart_delay));
      break;
    case Do::report_breaker_closed:
      around_.log.notice("pool {}: a worker has become ready again, and all others are started", config_.name);
      break;
  }
}

void PoolKeeper::publish(std::uint32_t slot) {
  const SlotState state = pool_.state(slot);
  around_.board.publish(rows_.first_slot + slot, state);
  if (state.phase != Phase::ready) return;
  places_[slot].last_end = {};
  around_.claims.dispatch(rows_.pool, getpid());
  around_.log.info("{} is ready: {} requests, {} connections{}",
                   name_of(slot, places_[slot].worker ? places_[slot].worker->pid() : 0), state.capacity,
                   state.connections, state.is_multiplexed ? ", multiplexed" : "");
}

void PoolKeeper::start(std::uint32_t slot) {
  Place& place = places_[slot];
  place.resets = 0;
  if (place.socket.fd() < 0) {  // its last worker was adopted, and held the socket alone
    place.socket.remove();
    auto socket = SlotSocket::open(path_of(slot), config_.listen_queue_depth);
    if (!socket) {
      place.last_worker = name_of(slot, 0);
      place.last_end = {socket.error().what, true};
      return handle(about(Happened::start_failed, slot));
    }
    place.socket = *std::move(socket);
  }
  auto worker = Worker::start(around_.loop,
                              {.program = config_.program,
                               .arguments = config_.arguments,
                               .environment = config_.environment,
                               .priority = config_.priority,
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
  around_.board.publish_worker(rows_.first_slot + slot, place.worker->pid(), place.worker->start_time());
  publish(slot);
  place.worker->launch();
  around_.log.info("{} started", name_of(slot, place.worker->pid()));
}

void PoolKeeper::ask(std::uint32_t slot) {
  Place& place = places_[slot];
  place.ask_again.reset();
  if (!place.worker || place.question) return;  // not read by the last worker: waits in the queue for this one
  auto question = Question::ask(around_.loop, path_of(slot),
                                [this, slot](Question::Outcome outcome, Offer offer) { hear(slot, outcome, offer); });
  if (question) {
    place.question = *std::move(question);
  } else if (question.error().code == EAGAIN) {
    place.ask_again = clock_now() + ask_again_after;
  } else {
    around_.log.warn("{}: {}", name_of(slot, place.worker->pid()), question.error().what);
  }
}

void PoolKeeper::hear(std::uint32_t slot, Question::Outcome outcome, Offer offer) {
  Place& place = places_[slot];
  place.question.reset();
  if (outcome == Question::Outcome::answered) return handle(about(Happened::answered, slot, offer));
  // Was it the worker's will, or did it end? Of what ends, the pidfd will tell.
  if (!place.worker || place.worker->is_ending()) return;
  if (outcome == Question::Outcome::reset && ++place.resets <= max_resets) return ask(slot);
  handle(about(Happened::closed, slot));
}

void PoolKeeper::bury(std::uint32_t slot) {
  Place& place = places_[slot];
  const std::unique_ptr<Worker> worker = std::move(place.worker);
  place.last_worker = name_of(slot, worker->pid());
  place.last_end = worker->end();
  place.ask_again.reset();
  if (place.question && !place.question->is_unread()) place.question.reset();
  around_.board.publish_worker(rows_.first_slot + slot, 0, 0);
  around_.log.info("{} ended: {}", place.last_worker, place.last_end.text);
  handle(about(Happened::exited, slot));
}

void PoolKeeper::report_death(const Action& action) {
  const Place& place = places_[action.slot];
  const auto& [worker, end] = std::tie(place.last_worker, place.last_end);
  std::string next = "no successor";
  if (pool_.state(action.slot).phase == Phase::empty && action.delay > Duration{0}) {
    next = "next try in " + text_of(action.delay);
  } else if (place.worker) {
    next = fmt::format("replaced by pid {}", place.worker->pid());
  }
  switch (action.reason) {
    case Reason::died_early:
      around_.log.warn("{} died before it was ready: {}; {}", worker, end.text, next);
      break;
    case Reason::short_lived:
      around_.log.warn("{} lived for less than {}: {}; {}", worker,
                       text_of(std::max(config_.min_server_life, config_.ready_timeout * Pool::silence_trust)),
                       end.text, next);
      break;
    case Reason::crashed:
    case Reason::none:
    case Reason::removed:
    case Reason::shut_down:
      around_.log.line(
          end.is_failure ? Level::error : Level::notice,
          fmt::format("{} {}: {}; {}", worker, end.is_failure ? "crashed" : "ended by itself", end.text, next));
      break;
  }
}

// A new program is the likeliest cure of one that cannot be started.
void PoolKeeper::watch_program() {
  if (!pool_.is_backing_off() || pool_.is_over()) return program_watch_.reset();
  if (program_watch_) return;
  auto watch = ProgramWatch::make(around_.loop, config_.program, [this] { handle({Happened::program_changed}); });
  if (watch) program_watch_.emplace(*std::move(watch));
  // Otherwise there is no such folder, or no more watches: time alone brings the next try.
}

Worker::Callbacks PoolKeeper::callbacks(std::uint32_t slot, std::uint32_t generation) {
  return {.exited = [this, slot] { bury(slot); },
          .notified = [this, slot,
                       generation] { handle({.what = Happened::notified, .slot = slot, .generation = generation}); },
          .printed =
              [this, slot](std::string_view line) {
                const Place& place = places_[slot];
                around_.log.notice("{}: {}", name_of(slot, place.worker ? place.worker->pid() : 0), line);
              }};
}

Event PoolKeeper::about(Happened what, std::uint32_t slot, Offer offer) const {
  return {.what = what, .slot = slot, .generation = pool_.state(slot).generation, .offer = offer};
}

std::string PoolKeeper::name_of(std::uint32_t slot, pid_t pid) const {
  if (pid == 0) return fmt::format("worker {} of pool {}", slot, config_.name);
  return fmt::format("worker {} (pid {}) of pool {}", slot, pid, config_.name);
}

// A process of httpd that was killed gives nothing back, and httpd's parent, which would do it instead, may be gone
// too.
bool PoolKeeper::has_claims(std::uint32_t slot) const {
  const auto holders = around_.claims.holders(rows_.first_slot + slot, pool_.state(slot).generation);
  return std::any_of(holders.begin(), holders.end(), [](pid_t pid) { return is_alive(pid); });
}

}  // namespace cppfcgi
