#include "mod_cppfcgi/core/nudge.h"

#include <unistd.h>

#include <cstdint>

namespace cppfcgi {

void nudge_manager(int nudge) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(nudge, &one, sizeof one);
}

}  // namespace cppfcgi
