#include "mod_cppfcgi/manager/refusal_sign.h"

#include <algorithm>
#include <utility>

namespace cppfcgi {

void RefusalSign::show(std::optional<Duration> time, Board& board, Claims& claims, std::uint32_t pool) {
  const std::uint32_t seconds =
      time ? static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::seconds>(std::max(*time, Duration{1})).count())
           : 0;
  if (std::exchange(seconds_, seconds) == seconds) return;
  board.publish_refusal(pool, seconds);
  if (seconds > 0) claims.wake_waiting(pool);
}

}  // namespace cppfcgi
