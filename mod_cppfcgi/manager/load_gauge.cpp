#include "mod_cppfcgi/manager/load_gauge.h"

#include <algorithm>
#include <utility>

namespace cppfcgi {
namespace {

// Workers that take several requests share them, so that all have work when few would do: as many count as needed as
// would be busy to four fifths.
std::uint32_t would_do(std::uint32_t in_flight, std::uint32_t capacity) {
  return (in_flight * 5 + capacity * 4 - 1) / (capacity * 4);
}

}  // namespace

Demand LoadGauge::read(std::span<const SlotState> slots) {
  Demand demand{.waiting = claims_.waiting(pool_)};
  std::uint32_t at_work = 0, in_flight = 0, capacity = 1;
  std::optional<std::uint32_t> least_busy;
  std::uint32_t least = max_capacity + 1;
  for (std::uint32_t i = 0; i < slots.size(); ++i) {
    const std::uint64_t requests = load_.slots[first_slot_ + i].requests.load();
    const bool has_served = std::exchange(last_requests_[i], requests) != requests;
    if (slots[i].phase != Phase::ready) continue;
    const std::uint32_t busy = claims_.in_flight(first_slot_ + i, slots[i].generation);
    at_work += has_served || busy > 0 ? 1 : 0;
    in_flight += busy;
    capacity = std::max<std::uint32_t>(capacity, slots[i].capacity);
    if (busy == 0) demand.idle = i;
    if (busy <= least) least = busy, least_busy = i;
  }
  demand.needed = capacity == 1 ? at_work : std::min(at_work, would_do(in_flight, capacity));
  if (capacity > 1 && !demand.idle) demand.idle = least_busy;
  return demand;
}

}  // namespace cppfcgi
