// RefusalSign: what a pool's row says of how long nobody will be served, so that httpd's children refuse at once. Those
// that wait already are woken for it. Owned by the pool's keeper.
#pragma once

#include <cstdint>
#include <optional>

#include "mod_cppfcgi/manager/board.h"
#include "mod_cppfcgi/manager/pool_events.h"
#include "shared/claims.h"

namespace cppfcgi {

class RefusalSign {
 public:
  // nullopt: whoever comes is served, or waits. In whole seconds, at least one, as clients are told.
  void show(std::optional<Duration> time, Board& board, Claims& claims, std::uint32_t pool);

 private:
  std::uint32_t seconds_ = 0;
};

}  // namespace cppfcgi
