// HeldClaim: a claim that is given back when its holder goes out of scope, whatever the way. acquire(): gets one,
// waiting in the pool's queue where no worker is free. A shell around Claims: it sleeps.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <variant>

#include "mod_cppfcgi/core/thread_share.h"
#include "shared/claims.h"

namespace cppfcgi {

class HeldClaim {
 public:
  HeldClaim() = default;
  HeldClaim(Claims& claims, std::uint32_t pool, std::int32_t pid, const Claim& claim)
      : claims_(&claims), pool_(pool), pid_(pid), claim_(claim) {}
  HeldClaim(HeldClaim&& other) noexcept { *this = std::move(other); }
  HeldClaim& operator=(HeldClaim&& other) noexcept;
  ~HeldClaim() { release(); }

  explicit operator bool() const { return claims_ != nullptr; }
  // Of the last claim, given back or not.
  const Claim* operator->() const { return &claim_; }
  const Claim& operator*() const { return claim_; }
  void release();
  // Its request's time is over; it has ended all the same. See Claims.
  void mark_late();
  void unmark_late();

 private:
  Claims* claims_ = nullptr;
  std::uint32_t pool_ = 0;
  std::int32_t pid_ = 0;
  Claim claim_;
};

enum class ClaimFailure {
  queue_full,
  no_thread,  // too few of this process's threads would be left for others
  timed_out,
  abandoned,
  breaker_open,  // no worker serves, and none will before Claims::refuses_for
  pool_gone,     // the row is free, or another pool's: look for the pool again
};

struct ClaimRequest {
  std::uint32_t pool = 0;
  std::uint64_t key = 0;  // whose row that is; 0: it is not asked whether it is still so
  std::int32_t pid = 0;
  std::function<std::uint32_t()> queue_limit = nullptr;  // requests that may wait; asked where no worker is free
  std::chrono::milliseconds timeout{0};
  int nudge = -1;                                // eventfd: told when the queue begins
  std::function<bool()> may_grow = nullptr;      // asked before: no, and it need not be told; nullptr: it may
  ThreadShare* threads = nullptr;                // asked before it waits; nullptr: it may
  std::uint32_t threads_in_server = 0;           // that the pool's waiting requests may hold, for ThreadShare
  std::function<bool()> waits_long = nullptr;    // likewise; nullptr: it does
  std::optional<Failed> failed{};                // who has just failed this request
  std::function<bool()> is_abandoned = nullptr;  // asked now and then while waiting: nobody wants the answer any more
};

// Never takes longer than the timeout; asks now and then whether waiting is of use still. Counts what it refuses in
// Load.
std::variant<HeldClaim, ClaimFailure> acquire(Claims& claims, Load& load, const ClaimRequest& request);

}  // namespace cppfcgi
