#include "mod_cppfcgi/core/retry.h"

namespace cppfcgi {

Verdict judge(const Attempt& attempt) {
  switch (attempt.loss) {
    case Loss::refused:
    case Loss::turned_down:
      return Verdict::another_worker;
    case Loss::unsent:
      return attempt.was_kept ? Verdict::fresh_connection : Verdict::second_try;
    case Loss::broken:
      return Verdict::give_up;
    case Loss::reset:
    case Loss::closed:
      break;
  }
  if (attempt.has_delivered) return Verdict::give_up;
  if (attempt.loss == Loss::reset && attempt.was_unread) {
    return attempt.was_kept ? Verdict::fresh_connection : Verdict::second_try;
  }
  return attempt.is_idempotent ? Verdict::second_try : Verdict::give_up;
}

}  // namespace cppfcgi
