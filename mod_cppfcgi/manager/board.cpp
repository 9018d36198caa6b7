#include "mod_cppfcgi/manager/board.h"

#include <algorithm>

namespace cppfcgi {

std::optional<Board::Rows> Board::take(std::uint64_t key, std::uint32_t slot_count) {
  const auto first = free_slots(slot_count);
  if (!first) return std::nullopt;
  for (std::uint32_t pool = 0; pool < max_pools; ++pool) {
    PoolRow& row = directory_.pools[pool];
    if (row.key.load() != 0) continue;
    row.first_slot.store(*first);
    row.slot_count.store(slot_count);
    row.refuses_for.store(0);
    row.key.store(key);
    return Rows{pool, *first, slot_count};
  }
  return std::nullopt;
}

// The first run of so many slots that belong to no pool.
std::optional<std::uint32_t> Board::free_slots(std::uint32_t count) const {
  std::vector<Found> taken = found();
  std::sort(taken.begin(), taken.end(),
            [](const Found& a, const Found& b) { return a.rows.first_slot < b.rows.first_slot; });
  std::uint32_t first = 0;
  for (const Found& pool : taken) {
    if (pool.rows.first_slot - first >= count) return first;
    first = pool.rows.first_slot + pool.rows.slot_count;
  }
  return max_slots - first >= count ? std::optional(first) : std::nullopt;
}

// Generations are kept: a claim on a worker of the old pool must never look like one on a worker of the next.
void Board::give_back(const Rows& rows) {
  directory_.pools[rows.pool].key.store(0);
  for (std::uint32_t slot = rows.first_slot; slot < rows.first_slot + rows.slot_count; ++slot) {
    publish(slot, {.generation = entry(slot).state.generation});
    publish_end(slot);
    publish_recycling(slot, 0);
  }
}

std::vector<Board::Found> Board::found() const {
  std::vector<Found> pools;
  for (std::uint32_t pool = 0; pool < max_pools; ++pool) {
    const PoolRow& row = directory_.pools[pool];
    const Rows rows{pool, row.first_slot.load(), row.slot_count.load()};
    if (row.key.load() != 0) pools.push_back({row.key.load(), rows});
  }
  return pools;
}

Board::Entry Board::entry(std::uint32_t slot) const {
  const SlotRow& row = directory_.slots[slot];
  return {SlotState::unpack(row.state.load()),
          {row.pid.load(), row.start_time.load(), row.made_of.load(), row.program.load()}};
}

void Board::publish(std::uint32_t slot, const SlotState& state) { directory_.slots[slot].state.store(state.pack()); }

void Board::publish_worker(std::uint32_t slot, const Process& worker) {
  SlotRow& row = directory_.slots[slot];
  row.pid.store(worker.pid);
  row.start_time.store(worker.start_time);
  row.made_of.store(worker.made_of);
  row.program.store(worker.program);
  if (worker.pid != 0) row.starts.fetch_add(1);
}

}  // namespace cppfcgi
