// LateRequest: what is left of a request whose time is over, once its client has been told: the worker. It is marked,
// so that nobody claims it, the manager is nudged, and the worker is told to stop.
//
//   marked ──END_REQUEST, the connection's end──▶ unmarked; the claim goes back: a worker as good as any
//      └── patience is over ──▶ the claim goes back, the mark stays: the manager ends the worker
//
// Nobody waits for it but the drainer's thread. A shell.
#pragma once

#include <chrono>

#include "mod_cppfcgi/core/claim_wait.h"
#include "mod_cppfcgi/core/conversation.h"

namespace cppfcgi {

class LateRequest {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds patience{500};

  // Marks, nudges and tells. Takes the conversation's connection away. Does not block.
  LateRequest(HeldClaim claim, Conversation& conversation, int nudge);

  // Looks once. True: it is settled, either way, and the claim has gone back.
  bool settle(Clock::time_point now);

 private:
  HeldClaim claim_;
  Connection connection_;
  Exchange exchange_;
  Clock::time_point since_;
};

}  // namespace cppfcgi
