#include "mod_cppfcgi/httpd/claimed_worker.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "mod_cppfcgi/core/nudge.h"
#include "mod_cppfcgi/core/pool_order.h"
#include "mod_cppfcgi/core/worker_life.h"
#include "mod_cppfcgi/httpd/request_params.h"
#include "shared/pool_config.h"

namespace cppfcgi {
namespace {

constexpr std::chrono::seconds longest_order{10};  // the manager may be about to be replaced
constexpr int most_orders = 5;
constexpr std::chrono::milliseconds long_wait{500};
constexpr std::chrono::seconds other_hosts_answer{3};  // at most: longer than it takes to repeat a lost packet

// The peer's fault, and not a shortage of our own or a full listen queue.
bool is_unreachable(int code) {
  switch (code) {
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EINTR:
      return false;
    default:
      return true;
  }
}

}  // namespace

std::uint32_t ClaimedWorker::find_queue_limit() const {
  const std::uint32_t queue =
      settings_.queue_limit
          ? *settings_.queue_limit
          : default_queue_limit(settings_.pool, child_.claims.capacity(pool_).of_one, waits_long(false));
  return std::min({queue, thread_limit(), max_waiting});
}

std::uint32_t ClaimedWorker::thread_limit() const {
  return settings_.max_threads.value_or(std::max(child_.threads.threads_in_server() / 2, std::uint32_t{1}));
}

// More workers may get ready than are: the manager can do something for requests that wait. Where it cannot, it would
// be woken by every few requests of a pool that is just about busy.
bool ClaimedWorker::may_grow(const Claims::Capacity& capacity) const {
  return capacity.ready < most_workers(settings_.pool) * capacity.of_one;
}

// Whether a request that comes now would. Where the pool has room for more workers they are about to come.
bool ClaimedWorker::waits_long(bool if_nothing_is_known) const {
  const Claims::Capacity capacity = child_.claims.capacity(pool_);
  if (may_grow(capacity)) return false;
  const WaitingTime time = waiting_time();
  if (time.is_stuck(Clock::now(), long_wait)) return true;
  if (time.knows_nothing()) return if_nothing_is_known;
  return time.expected(child_.claims.waiting(pool_), capacity.ready) >= long_wait;
}

std::uint32_t ClaimedWorker::retry_after() const {
  return waiting_time().seconds(child_.claims.waiting(pool_), child_.claims.capacity(pool_).ready);
}

// A dynamic application's. Opened, it may be gone again before we look: where many applications take turns.
Result<std::optional<std::uint32_t>> ClaimedWorker::order() {
  const Clock::time_point end = Clock::now() + std::min<Clock::duration>(time_left(), longest_order);
  std::optional<std::uint32_t> pool;
  for (int tries = 0; !pool && tries < most_orders; ++tries) {
    if (auto ordered = order_pool(child_.access.orders, {settings_.template_key, settings_.pool.program}, end);
        !ordered)
      return ordered.error();
    pool = child_.claims.find_pool(settings_.key);
  }
  return pool;
}

Result<void> ClaimedWorker::begin() {
  auto pool = child_.claims.find_pool(settings_.key);
  if (!pool && settings_.template_key != 0) {
    auto ordered = order();
    if (!ordered) return ordered.error();
    pool = *ordered;
  }
  if (!pool) return Error{EAGAIN, "the manager does not keep it yet"};
  pool_ = *pool;
  // Also what tells the manager that the pool is in use.
  child_.access.load->pools[pool_].requests.fetch_add(1, std::memory_order_relaxed);
  return {};
}

std::optional<ClaimFailure> ClaimedWorker::claim(std::function<bool()> is_abandoned) {
  thread_.reset();
  const ClaimRequest wanted{
      .pool = pool_,
      .key = settings_.key,
      .pid = child_.access.pid,
      .queue_limit = [this] { return queue_limit_ = find_queue_limit(); },
      .timeout = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ ? *deadline_ - Clock::now()
                                                                                 : settings_.claim_timeout),
      .nudge = child_.access.nudge,
      .may_grow = [this] { return may_grow(child_.claims.capacity(pool_)); },
      .threads = &child_.threads,
      .threads_in_server = thread_limit(),
      .waits_long = [this] { return waits_long(true); },
      .failed = failed_,
      .is_abandoned = std::move(is_abandoned),
  };
  auto acquired = acquire(child_.claims, *child_.access.load, wanted);
  if (const ClaimFailure* failure = std::get_if<ClaimFailure>(&acquired)) return *failure;
  claim_ = std::get<HeldClaim>(std::move(acquired));
  thread_.emplace(child_.threads.hold());
  pid_ = child_.access.directory->slots[claim_->slot].pid.load(std::memory_order_relaxed);
  generation_ = claim_->worker.generation;
  // Under suspicion it matters who dies of a request: a dead worker's successor takes it from the socket.
  if (is_known() && child_.poisons.has_any() && !is_living(pid_)) {
    ++generation_;
    pid_ = 0;
  }
  wants_fresh_ = false;
  claimed_at_ = Clock::now();
  waiting_time().began(claimed_at_);
  if (settings_.request_timeout.count() > 0) end_ = claimed_at_ + settings_.request_timeout;
  return std::nullopt;
}

Result<Connection> ClaimedWorker::connect(std::string& opening, bool is_repeatable) {
  const Claim& claim = *claim_;
  set_keep_connection(opening, is_kept());
  while (is_kept() && !wants_fresh_ && (is_known() || is_repeatable)) {
    Connection kept{
        .fd = child_.connections.take(claim.slot, claim.worker.generation), .is_blocking = true, .was_kept = true};
    if (!kept.fd) break;
    // Whatever came in since the last answer is no part of the next; and a closed one is noticed before anything is
    // sent.
    if (is_quiet(kept)) return kept;
  }
  const std::string address = slot_address(settings_.pool, child_.access.socket_folder, settings_.key, index());
  Clock::time_point deadline = std::min(Clock::now() + time_left(), end_);
  if (!address.starts_with('/')) deadline = std::min(deadline, Clock::now() + other_hosts_answer);
  auto fd = connect_to_worker(address, deadline);
  if (!fd) {
    note_unreachable(fd.error().code);
    return fd.error();
  }
  Connection connection{.fd = *std::move(fd)};
  if (is_kept()) {
    if (auto made = make_blocking(connection); !made) return made.error();
  }
  return connection;
}

// Until the manager has seen to it, nobody else shall come here. Of a worker that is what happens where the manager has
// died, and it has since; an endpoint is set aside and probed.
void ClaimedWorker::note_unreachable(int code) {
  if (!settings_.pool.is_external()) {
    if (!is_living(pid_)) claim_.mark_late();
  } else if (is_unreachable(code)) {
    claim_.mark_late();
    nudge_manager(child_.access.nudge);
  }
}

ClaimedWorker::Clock::duration ClaimedWorker::time_left() {
  if (!deadline_) deadline_ = Clock::now() + settings_.claim_timeout;
  return std::max(*deadline_ - Clock::now(), Clock::duration::zero());
}

void ClaimedWorker::leave() {
  const bool is_external = settings_.pool.is_external();
  failed_ = {.slot = claim_->slot,
             .generation = generation_,
             .is_gone = !is_external && !is_living(pid_),
             .period = is_external ? static_cast<std::uint32_t>(settings_.pool.endpoints.size()) : 0};
  claim_.release();
}

void ClaimedWorker::note_service() {
  const Clock::time_point now = Clock::now();
  waiting_time().add(now - claimed_at_, now);
}

void ClaimedWorker::let_go(Conversation& conversation) {
  if (!claim_) return;
  note_service();
  const bool is_kept = conversation.connection().is_blocking && conversation.exchange().is_reusable();
  Fd connection = std::move(conversation.connection().fd);
  if (is_kept) {
    child_.connections.keep(claim_->slot, claim_->worker.generation, std::move(connection));
  } else {
    connection.reset();
  }
  claim_.release();
}

void ClaimedWorker::drop(Conversation* conversation) {
  if (conversation != nullptr) conversation->connection().fd.reset();
  claim_.release();
}

void ClaimedWorker::leave_late(Conversation& conversation) {
  if (!claim_) return;
  note_service();
  if (is_known()) return child_.drainer.wait_for(LateRequest(std::move(claim_), conversation, child_.access.nudge));
  // Who has it may hear it. More cannot be done.
  conversation.send_abort();
  drop(&conversation);
}

// One that has ended it already, or will never read the rest of it, is free.
void ClaimedWorker::abandon(Conversation& conversation) {
  if (!claim_ || conversation.is_sending() || conversation.exchange().has_seen_end()) return let_go(conversation);
  const Clock::time_point end = std::min(end_, Clock::now() + settings_.idle_timeout);
  const auto then = is_known() ? LateRequest::AtEnd::mark : LateRequest::AtEnd::let_go;
  child_.drainer.wait_for(LateRequest::abandoned(std::move(claim_), conversation, child_.access.nudge, end, then));
}

SlotState ClaimedWorker::state() const {
  return SlotState::unpack(child_.access.directory->slots[claim_->slot].state.load());
}

void ClaimedWorker::look_again() {
  if (!is_known()) return;
  const std::uint32_t generation = state().generation;
  const std::int32_t pid = child_.access.directory->slots[claim_->slot].pid.load();
  const bool is_successor = generation != generation_ && pid > 0 && !is_living(pid);
  if (!is_successor && (generation != generation_ || pid_ != 0)) return;
  generation_ = generation;
  pid_ = pid;
}

bool ClaimedWorker::has_died() const {
  if (!is_known()) return false;
  const SlotState now = state();
  if (child_.claims.is_late(claim_->slot, generation_)) return false;
  if (static_cast<std::int32_t>(now.generation - generation_) > 0) return true;
  switch (now.phase) {
    case Phase::empty:
      return true;
    case Phase::draining:
    case Phase::stopping:
      return false;
    case Phase::starting:
    case Phase::ready:
      break;
  }
  return pid_ > 0 && !is_living(pid_);
}

void ClaimedWorker::count_request() {
  if (child_.claims.count_request(*claim_)) nudge_manager(child_.access.nudge);
}

void ClaimedWorker::count_failure() {
  child_.access.load->slots[claim_->slot].failures.fetch_add(1, std::memory_order_relaxed);
}

std::uint32_t ClaimedWorker::index() const {
  return claim_->slot - child_.access.directory->pools[pool_].first_slot.load(std::memory_order_relaxed);
}

std::string ClaimedWorker::name() const {
  std::string pool = "pool " + settings_.pool.name;
  if (generation_ == 0) return pool;
  const PoolConfig& config = settings_.pool;
  if (config.is_external()) return "endpoint " + config.endpoints[index() % config.endpoints.size()] + " of " + pool;
  if (!config.listen.empty()) return "a worker on " + config.listen + " of " + pool;
  // Without a pid the directory was about to say that it is gone.
  return "worker " + std::to_string(index()) + (pid_ > 0 ? " (pid " + std::to_string(pid_) + ")" : "") + " of " + pool;
}

}  // namespace cppfcgi
