// LateRequest: what is left of a request that nobody waits for: the worker. Its time is over and its client has been
// told, or the client has gone and the worker has been told to stop. Until it does, it is no worker for others.
//
//   abandoned ──────────── END_REQUEST, the connection's end ──────────▶ the claim goes back
//      │ its time is over: marked, so that nobody claims the worker, and the manager is nudged
//      ▼
//   marked ──END_REQUEST, the connection's end──▶ unmarked; the claim goes back: a worker as good as any
//      └── patience is over ──▶ the claim goes back, the mark stays: the manager ends the worker
//
// Nobody waits for it but the drainer's thread. A shell.
#pragma once

#include <chrono>
#include <optional>

#include "mod_cppfcgi/core/claim_wait.h"
#include "mod_cppfcgi/core/conversation.h"

namespace cppfcgi {

class LateRequest {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds patience{500};

  // Marks, nudges and tells. Takes the conversation's connection away. Does not block.
  LateRequest(HeldClaim claim, Conversation& conversation, int nudge);
  // The client is gone, and FCGI_ABORT_REQUEST has been sent; its time is over at `end`. Where nobody can end who has
  // it, the claim goes back then, and the connection is closed.
  enum class AtEnd { mark, let_go };
  static LateRequest abandoned(HeldClaim claim, Conversation& conversation, int nudge, Clock::time_point end,
                               AtEnd at_end = AtEnd::mark);

  // Looks once. True: it is settled, either way, and the claim has gone back.
  bool settle(Clock::time_point now);

 private:
  LateRequest(HeldClaim claim, Exchange exchange, int nudge);
  void mark(Clock::time_point now);

  HeldClaim claim_;
  Connection connection_;
  Exchange exchange_;
  int nudge_;
  Clock::time_point end_{};  // of its time, where it is abandoned
  AtEnd at_end_ = AtEnd::mark;
  std::optional<Clock::time_point> since_;  // when it was marked
};

}  // namespace cppfcgi
