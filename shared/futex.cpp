#include "shared/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace cppfcgi {

void wake_one(Shared<std::uint32_t>* word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }

bool wait_while(Shared<std::uint32_t>* word, std::uint32_t value, std::chrono::steady_clock::time_point deadline) {
  using namespace std::chrono;
  const auto since_boot =
      deadline.time_since_epoch();  // libstdc++'s steady clock is CLOCK_MONOTONIC, as is the futex's
  const auto whole = duration_cast<seconds>(since_boot);
  const timespec until{.tv_sec = whole.count(), .tv_nsec = duration_cast<nanoseconds>(since_boot - whole).count()};
  const long woken = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, &until, nullptr, FUTEX_BITSET_MATCH_ANY);
  return woken == 0 || errno != ETIMEDOUT;
}

}  // namespace cppfcgi
