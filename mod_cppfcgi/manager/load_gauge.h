// LoadGauge: reads out of the load area what a pool's scaling has to know. Believes none of it: whatever stands there,
// what comes out is no more than the pool's size. Reads memory only; owned by the pool's keeper.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mod_cppfcgi/manager/scaling.h"
#include "shared/claims.h"
#include "shared/scoreboard.h"

namespace cppfcgi {

class LoadGauge {
 public:
  LoadGauge(const Load& load, const Claims& claims, std::uint32_t pool, std::uint32_t first_slot,
            std::uint32_t slot_count)
      : load_(load), claims_(claims), pool_(pool), first_slot_(first_slot), last_requests_(slot_count) {}

  // `slots`: what the manager itself knows of them. Demand::needed is since the last call.
  Demand read(std::span<const SlotState> slots);

 private:
  const Load& load_;
  const Claims& claims_;
  std::uint32_t pool_;
  std::uint32_t first_slot_;
  std::vector<std::uint64_t> last_requests_;  // by slot
};

}  // namespace cppfcgi
