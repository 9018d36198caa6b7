#include "mod_cppfcgi/core/retry.h"

namespace cppfcgi {

bool may_have_begun(const Attempt& attempt) {
  switch (attempt.loss) {
    case Loss::refused:
    case Loss::turned_down:
    case Loss::unsent:
      return false;
    case Loss::reset:
    case Loss::closed:
      return !attempt.was_unread;
    case Loss::broken:
      return true;
  }
  return true;
}

Verdict judge(const Attempt& attempt) {
  if (attempt.loss == Loss::broken || attempt.has_delivered) return Verdict::give_up;
  if (may_have_begun(attempt)) return attempt.is_idempotent ? Verdict::second_try : Verdict::give_up;
  const bool is_stale = attempt.was_kept && attempt.loss != Loss::turned_down;
  return is_stale ? Verdict::fresh_connection : Verdict::another_worker;
}

bool Tries::take(Verdict verdict) {
  switch (verdict) {
    case Verdict::give_up:
      return false;
    case Verdict::fresh_connection:
    case Verdict::another_worker:
      return safe_tries_ > 0 && safe_tries_-- > 0;
    case Verdict::second_try:
      return second_tries_ > 0 && second_tries_-- > 0;
  }
  return false;
}

}  // namespace cppfcgi
