#include "mod_cppfcgi/core/late_request.h"

#include <utility>

#include "mod_cppfcgi/core/nudge.h"

namespace cppfcgi {

LateRequest::LateRequest(HeldClaim claim, Exchange exchange, int nudge)
    : claim_(std::move(claim)), exchange_(std::move(exchange)), nudge_(nudge) {}

LateRequest::LateRequest(HeldClaim claim, Conversation& conversation, int nudge)
    : LateRequest(std::move(claim), std::move(conversation.exchange()), nudge) {
  mark(Clock::now());
  if (!conversation.send_abort()) conversation.end_sending();
  connection_ = std::move(conversation.connection());
}

LateRequest LateRequest::abandoned(HeldClaim claim, Conversation& conversation, int nudge, Clock::time_point end,
                                   AtEnd at_end) {
  LateRequest request(std::move(claim), std::move(conversation.exchange()), nudge);
  request.connection_ = std::move(conversation.connection());
  request.end_ = end;
  request.at_end_ = at_end;
  return request;
}

void LateRequest::mark(Clock::time_point now) {
  since_ = now;
  claim_.mark_late();
  nudge_manager(nudge_);
}

bool LateRequest::settle(Clock::time_point now) {
  const bool has_ended = swallow(connection_, exchange_) || (at_end_ == AtEnd::let_go && now >= end_);
  if (!has_ended && !since_ && now >= end_) mark(now);
  if (!has_ended && (!since_ || now - *since_ < patience)) return false;
  // The connection first: a worker that is claimed next finds none of ours that is half dead.
  connection_.fd.reset();
  if (has_ended && since_) claim_.unmark_late();
  claim_.release();
  return true;
}

}  // namespace cppfcgi
