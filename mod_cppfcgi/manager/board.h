// Board: the Directory as its only writer sees it: gives rows to pools, publishes what becomes of their workers. Writes
// memory only.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "shared/scoreboard.h"

namespace cppfcgi {

class Board {
 public:
  explicit Board(Directory& directory) : directory_(directory) {}

  struct Rows {
    std::uint32_t pool = 0;
    std::uint32_t first_slot = 0;
    std::uint32_t slot_count = 0;
  };

  // Visible to all at once, with empty slots. nullopt: no room.
  std::optional<Rows> take(std::uint64_t key, std::uint32_t slot_count);
  void give_back(const Rows& rows);

  // Pools that an earlier manager has left.
  struct Found {
    std::uint64_t key = 0;
    Rows rows;
  };
  std::vector<Found> found() const;

  // The worker that a slot's row names.
  struct Process {
    std::int32_t pid = 0;
    std::uint64_t start_time = 0;
    std::uint64_t made_of = 0;
    std::uint64_t program = 0;
  };
  struct Entry {
    SlotState state;
    Process worker;
  };
  Entry entry(std::uint32_t slot) const;

  void publish(std::uint32_t slot, const SlotState& state);
  void publish_worker(std::uint32_t slot, const Process& worker);  // before the state that goes with it
  void publish_end(std::uint32_t slot) { publish_worker(slot, {}); }

  // The number of requests at which the slot's worker is due for a successor; 0: none.
  void publish_recycling(std::uint32_t slot, std::uint64_t at) { directory_.slots[slot].recycle_at.store(at); }
  std::uint64_t recycling(std::uint32_t slot) const { return directory_.slots[slot].recycle_at.load(); }
  void publish_refusal(std::uint32_t pool, std::uint32_t seconds) { directory_.pools[pool].refuses_for.store(seconds); }

  void set_configuration(std::uint64_t number) { directory_.configuration.store(number); }

 private:
  std::optional<std::uint32_t> free_slots(std::uint32_t count) const;

  Directory& directory_;
};

}  // namespace cppfcgi
