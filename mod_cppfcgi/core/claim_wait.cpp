#include "mod_cppfcgi/core/claim_wait.h"

#include <algorithm>

#include "mod_cppfcgi/core/nudge.h"
#include "shared/futex.h"

namespace cppfcgi {
namespace {

using Clock = std::chrono::steady_clock;
// How often a waiter asks whether its client is still there, and whether a worker can come.
constexpr auto look_up_period = std::chrono::milliseconds(250);

}  // namespace

HeldClaim& HeldClaim::operator=(HeldClaim&& other) noexcept {
  if (this == &other) return *this;
  release();
  claims_ = std::exchange(other.claims_, nullptr);
  pool_ = other.pool_;
  pid_ = other.pid_;
  claim_ = other.claim_;
  return *this;
}

void HeldClaim::release() {
  if (Claims* claims = std::exchange(claims_, nullptr)) claims->release(pool_, claim_, pid_);
}

void HeldClaim::mark_late() {
  if (claims_ != nullptr) claims_->mark_late(claim_);
}

void HeldClaim::unmark_late() {
  if (claims_ != nullptr) claims_->unmark_late(pool_, claim_, pid_);
}

namespace {

HeldClaim hold(Claims& claims, const ClaimRequest& request, const Claim& claim) {
  return {claims, request.pool, request.pid, claim};
}

// Whoever handed it on did not know yet that the worker is gone.
bool is_of_the_gone(const HeldClaim& held, const ClaimRequest& request) {
  return request.failed && request.failed->is_gone && held->slot == request.failed->slot &&
         held->worker.generation == request.failed->generation;
}

// An unused dynamic pool's row goes to another. Whoever looked it up before that finds out here, and loses nothing.
bool is_gone(const Claims& claims, const ClaimRequest& request) {
  return request.key != 0 && claims.key_of(request.pool) != request.key;
}

std::variant<HeldClaim, ClaimFailure> queue_up(Claims& claims, Load& load, const ClaimRequest& request,
                                               Clock::time_point deadline) {
  const ThreadShare::Waiting thread =
      request.threads
          ? request.threads->wait(request.pool, request.threads_in_server, request.waits_long && !request.waits_long())
          : ThreadShare::Waiting::any();
  const auto queued = thread ? claims.enqueue(request.pool, request.pid, request.queue_limit()) : std::nullopt;
  if (!queued) {
    load.pools[request.pool].refused.fetch_add(1, std::memory_order_relaxed);
    return thread ? ClaimFailure::queue_full : ClaimFailure::no_thread;
  }
  const Ticket ticket = queued->ticket;
  // A claim that came free before we stood in the queue was not handed to us.
  if (const auto claim = claims.try_claim(request.pool, request.pid, request.failed)) {
    HeldClaim spare;  // handed to us all the same, meanwhile: passed on
    if (const auto second = claims.leave(ticket, request.pid)) spare = hold(claims, request, *second);
    return hold(claims, request, *claim);
  }
  if (queued->is_first && (!request.may_grow || request.may_grow())) nudge_manager(request.nudge);

  const std::uint32_t waiting = claims.waiting_word(ticket, request.pid);
  // Most wait for less than a period, and need not pay for the question.
  for (bool has_waited = false;; has_waited = true) {
    if (const auto claim = claims.granted(ticket, request.pid)) return hold(claims, request, *claim);
    const Clock::time_point now = Clock::now();
    const bool is_abandoned = has_waited && request.is_abandoned && request.is_abandoned();
    const bool has_lost_pool = is_gone(claims, request);
    const bool is_refused = claims.refuses_for(request.pool) > 0;
    if (now >= deadline || is_abandoned || is_refused || has_lost_pool) {
      if (const auto claim = claims.leave(ticket, request.pid)) return hold(claims, request, *claim);
      if (has_lost_pool) return ClaimFailure::pool_gone;
      if (is_abandoned) return ClaimFailure::abandoned;
      if (is_refused) return ClaimFailure::breaker_open;
      load.pools[request.pool].timed_out.fetch_add(1, std::memory_order_relaxed);
      return ClaimFailure::timed_out;
    }
    const bool was_woken = wait_while(claims.futex(ticket), waiting, std::min(deadline, now + look_up_period));
    if (was_woken) continue;
    // Whoever should have handed on what is free has not, or was killed before it could; or before it nudged.
    claims.dispatch(request.pool, request.pid);
    if (claims.is_first(ticket) && Clock::now() < deadline) nudge_manager(request.nudge);
  }
}

std::variant<HeldClaim, ClaimFailure> claim_or_queue(Claims& claims, Load& load, const ClaimRequest& request) {
  if (const auto claim = claims.try_claim(request.pool, request.pid, request.failed)) {
    return hold(claims, request, *claim);
  }
  if (claims.refuses_for(request.pool) > 0) return ClaimFailure::breaker_open;
  const Clock::time_point deadline = Clock::now() + request.timeout;
  for (;;) {
    auto acquired = queue_up(claims, load, request, deadline);
    const HeldClaim* held = std::get_if<HeldClaim>(&acquired);
    if (held == nullptr || !is_of_the_gone(*held, request)) return acquired;
    if (Clock::now() >= deadline) return ClaimFailure::timed_out;
  }
}

}  // namespace

std::variant<HeldClaim, ClaimFailure> acquire(Claims& claims, Load& load, const ClaimRequest& request) {
  auto acquired = claim_or_queue(claims, load, request);
  const ClaimFailure* failure = std::get_if<ClaimFailure>(&acquired);
  const bool is_final =
      failure != nullptr && (*failure == ClaimFailure::abandoned || *failure == ClaimFailure::timed_out);
  // What another pool's row granted or said counts for nothing: a claim goes back with this.
  if (!is_final && is_gone(claims, request)) return ClaimFailure::pool_gone;
  return acquired;
}

}  // namespace cppfcgi
