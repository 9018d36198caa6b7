#include "mod_cppfcgi/core/late_request.h"

#include <utility>

#include "mod_cppfcgi/core/nudge.h"

namespace cppfcgi {

LateRequest::LateRequest(HeldClaim claim, Conversation& conversation, int nudge)
    : claim_(std::move(claim)), exchange_(std::move(conversation.exchange())), since_(Clock::now()) {
  claim_.mark_late();
  nudge_manager(nudge);
  if (!conversation.send_abort()) conversation.end_sending();
  connection_ = std::move(conversation.connection());
}

bool LateRequest::settle(Clock::time_point now) {
  const bool has_ended = swallow(connection_, exchange_);
  if (!has_ended && now - since_ < patience) return false;
  // The connection first: a worker that is claimed next finds none of ours that is half dead.
  connection_.fd.reset();
  if (has_ended) claim_.unmark_late();
  claim_.release();
  return true;
}

}  // namespace cppfcgi
