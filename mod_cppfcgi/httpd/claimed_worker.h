// ClaimedWorker: the worker that a request has claimed (one after the other, where the first fails): the claim, the
// connections to it, and what becomes of both at the request's end.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "mod_cppfcgi/core/claim_wait.h"
#include "mod_cppfcgi/core/conversation.h"
#include "mod_cppfcgi/core/waiting_time.h"
#include "mod_cppfcgi/httpd/child_state.h"
#include "mod_cppfcgi/httpd/pool_settings.h"

namespace cppfcgi {

class ClaimedWorker {
 public:
  using Clock = std::chrono::steady_clock;

  ClaimedWorker(const PoolSettings& settings, ChildState& child) : settings_(settings), child_(child) {}

  // Finds the pool, which for a dynamic application may mean to have it opened. Before anything else, and when it is
  // gone. Error: why there is none; the code as order_pool() says.
  Result<void> begin();

  // Waits for a claim. nullopt: it has one. Failed: the last worker's name is kept, for the log.
  std::optional<ClaimFailure> claim(std::function<bool()> is_abandoned);
  bool is_held() const { return static_cast<bool>(claim_); }

  // A kept connection if there is one, and sets FCGI_KEEP_CONN in the request's opening. Where one cannot know who has
  // a request, what must not be repeated never goes on a kept connection: it may be closed at that very moment.
  Result<Connection> connect(std::string& opening, bool is_repeatable);
  void want_fresh_connection() { wants_fresh_ = true; }

  // When the request's time is over; max(): never. It begins with each claim: a worker answers for its own part.
  Clock::time_point end() const { return end_; }

  // Ways to give the claim back, each harmless where it has been given back already:
  void leave();                                 // the request goes to another worker
  void let_go(Conversation& conversation);      // the worker is through with it, and the connection may be kept
  void drop(Conversation* conversation);        // the connection is no good
  void leave_late(Conversation& conversation);  // its time is over: see LateRequest
  void abandon(Conversation& conversation);     // nobody wants its answer; it has been told, and has its time to end

  // After a loss: who had the request? Where the claimed worker was dead already, its successor took it from the
  // socket.
  void look_again();
  // Its process has ended while it had the request, and not because the manager wanted so: it drains or stops one, or
  // ends one that is late.
  bool has_died() const;
  std::uint64_t identity() const {
    return std::uint64_t{claim_->slot} << 32 | generation_;
  }  // tells it from all others

  void count_request();
  void count_failure();
  std::uint32_t queue_limit() const { return queue_limit_; }  // requests that might wait when it was refused
  std::uint32_t retry_after() const;                          // seconds
  std::uint32_t refuses_for() const { return child_.claims.refuses_for(pool_); }
  // How many clients the line in the log is for that is now due; 0: none is.
  std::uint32_t count_refusal() { return child_.refusals[pool_].add(Clock::now()); }
  std::uint32_t count_overload() { return child_.overloads[pool_].add(Clock::now()); }
  bool is_kept() const { return claim_->worker.is_kept(); }
  bool begins_whole() const { return claim_->worker.begins_whole; }
  // By its slot. If not, nothing is known of who has the request, nor can it be ended.
  bool is_known() const { return settings_.pool.has_own_sockets(); }
  std::int32_t pid() const { return pid_; }
  std::string name() const;  // "worker 3 (pid 812) of pool /srv/a/app.fcgi"; without the worker before the first claim

 private:
  Clock::duration time_left();
  WaitingTime waiting_time() const { return WaitingTime(child_.access.load->pools[pool_]); }
  std::uint32_t find_queue_limit() const;
  std::uint32_t thread_limit() const;
  bool may_grow(const Claims::Capacity& capacity) const;
  bool waits_long(bool if_nothing_is_known) const;
  Result<std::optional<std::uint32_t>> order();
  void note_service();
  void note_unreachable(int code);
  std::uint32_t index() const;
  SlotState state() const;  // what the directory says of the slot now

  const PoolSettings& settings_;
  ChildState& child_;
  std::uint32_t pool_ = 0;
  HeldClaim claim_;
  std::optional<ThreadShare::Held> thread_;  // from its claim on, until the client has its answer
  std::int32_t pid_ = 0;
  std::uint32_t generation_ = 0;
  std::uint32_t queue_limit_ = 0;
  std::optional<Failed> failed_;
  std::optional<Clock::time_point> deadline_;  // for a worker to take the request
  Clock::time_point claimed_at_;
  Clock::time_point end_ = Clock::time_point::max();
  bool wants_fresh_ = false;  // the next connection must not be a kept one
};

}  // namespace cppfcgi
