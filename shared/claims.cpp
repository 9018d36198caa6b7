// A waiter's cell holds, in one word: the ticket's number (high half), what became of it (two bits), and with `waiting`
// the waiter's pid, with `granted` the claim's slot and cell. Only the low half changes while a ticket is in use, so it
// is the futex.
//
//     (older ticket) ──enqueue──▶ waiting ──hand_over──▶ granted
//            │                       └──leave, sweep──▶ left
//            └──hand_over: the enqueuer has drawn the number and not yet written it──▶ left; it draws another
//
// hand_over first gives the claim to the waiter's process and then tells the waiter. A process killed between the two
// leaves a claim with a living process that does not know of it, until that process ends: a window of a few
// instructions.
#include "shared/claims.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace cppfcgi {
namespace {

enum class Fate : std::uint32_t { unused = 0, waiting = 1, granted = 2, left = 3 };

constexpr std::uint32_t fate_shift = 30;
constexpr std::uint32_t payload_mask = (1U << fate_shift) - 1;
constexpr std::uint32_t cell_bits = 8;
static_assert(max_capacity <= 1U << cell_bits && std::uint64_t{max_slots} << cell_bits <= payload_mask);

constexpr std::uint32_t low_word(Fate fate, std::uint32_t payload) {
  return static_cast<std::uint32_t>(fate) << fate_shift | (payload & payload_mask);
}
constexpr std::uint64_t word_of(std::uint32_t ticket, Fate fate, std::uint32_t payload) {
  return std::uint64_t{ticket} << 32 | low_word(fate, payload);
}
constexpr std::uint32_t ticket_of(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); }
constexpr Fate fate_of(std::uint64_t word) { return static_cast<Fate>(static_cast<std::uint32_t>(word) >> fate_shift); }
constexpr std::uint32_t payload_of(std::uint64_t word) { return static_cast<std::uint32_t>(word) & payload_mask; }

constexpr std::uint64_t holder_of(std::int32_t pid, std::uint32_t generation) {
  return std::uint64_t{static_cast<std::uint32_t>(pid)} << 32 | generation;
}

std::uint32_t usable_capacity(const SlotState& state) { return std::min<std::uint32_t>(state.capacity, max_capacity); }

std::uint32_t busy_cells(const SlotLoad& load, std::uint32_t capacity) {
  std::uint32_t busy = 0;
  for (std::uint32_t cell = 0; cell < capacity; ++cell) busy += load.cells[cell].holder.load() != 0;
  return busy;
}

constexpr std::uint32_t generation_of(std::uint64_t late) { return static_cast<std::uint32_t>(late >> 32); }
// Marks of this generation; those of another count as none.
constexpr std::uint32_t marks_of(std::uint64_t late, std::uint32_t generation) {
  return generation_of(late) == generation ? static_cast<std::uint32_t>(late) : 0;
}
constexpr std::uint64_t late_word(std::uint32_t generation, std::uint32_t marks) {
  return std::uint64_t{generation} << 32 | marks;
}
// Rounds in which a claim was held for nobody. Under load a few may follow each other; the last one may leave a waiter
// asleep, until it looks up by itself.
constexpr int most_fruitless = 256;
constexpr int late_tries = 1'000;  // each that fails is another's success, unless somebody writes there without end

// A grant from the ring's last round that its waiter has not read: it must stay until then.
bool is_unread(std::uint32_t ticket, std::uint64_t word) {
  return ticket_of(word) != ticket && fate_of(word) == Fate::granted;
}

// A queue's ends. The tail is read first, so that it is the one that may be old: then the queue looks shorter than it
// is, and nobody is turned away for tickets that were drawn while this thread did not run.
struct Ends {
  std::uint32_t tail = 0;
  std::uint32_t head = 0;

  static Ends of(const PoolLoad& load) {
    const std::uint32_t tail = load.tail.load();
    return {tail, load.head.load()};
  }
  std::uint32_t length() const {
    const auto length = static_cast<std::int32_t>(tail - head);
    return length < 0 ? 0 : static_cast<std::uint32_t>(length);
  }
};

// Ends that cannot be, since the head has not moved between the two looks at it.
void heal(PoolLoad& load) {
  std::uint32_t head = load.head.load();
  const std::uint32_t tail = load.tail.load();
  if (tail - head > max_waiting) load.head.compare_exchange_strong(head, tail);
}

bool has_failed(const Failed& failed, std::uint32_t slot, std::uint32_t generation) {
  const bool is_of_it =
      slot == failed.slot || (failed.period > 0 && slot % failed.period == failed.slot % failed.period);
  return is_of_it && (!failed.is_gone || failed.generation == generation);
}

WaiterCell& waiter(PoolLoad& load, std::uint32_t ticket) { return load.waiters[ticket % max_waiting]; }

// Whose waiter has left, or has its claim. A ticket that is drawn and not yet written has one.
bool is_over(std::uint32_t ticket, std::uint64_t word) {
  if (ticket_of(word) != ticket) return is_unread(ticket, word);
  return fate_of(word) == Fate::left || fate_of(word) == Fate::granted;
}

// Tickets behind the head whose waiters have left still stand in the queue; they are looked for only where the queue
// seems full.
std::uint32_t count_waiting(const PoolLoad& load, const Ends& ends) {
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < std::min(ends.length(), max_waiting); ++i) {
    const std::uint32_t ticket = ends.head + i;
    count += !is_over(ticket, load.waiters[ticket % max_waiting].word.load());
  }
  return count;
}

}  // namespace

Claims::Span Claims::slots_of(std::uint32_t pool) const {
  const PoolRow& row = directory_->pools[pool];
  if (row.key.load() == 0) return {};
  const std::uint32_t first = std::min(row.first_slot.load(), max_slots);
  return {first, std::min(row.slot_count.load(), max_slots - first)};
}

std::optional<std::uint32_t> Claims::find_pool(std::uint64_t key) const {
  for (std::uint32_t pool = 0; pool < max_pools; ++pool) {
    if (directory_->pools[pool].key.load() == key) return pool;
  }
  return std::nullopt;
}

std::optional<Claim> Claims::take(std::uint32_t slot, std::int32_t pid) {
  const Shared<std::uint64_t>& published = directory_->slots[slot].state;
  const std::uint64_t before = published.load();
  const SlotState worker = SlotState::unpack(before);
  if (worker.phase != Phase::ready || is_late(slot, worker.generation)) return std::nullopt;
  const std::uint64_t holder = holder_of(pid, worker.generation);
  for (std::uint32_t cell = 0; cell < usable_capacity(worker); ++cell) {
    Shared<std::uint64_t>& place = load_->slots[slot].cells[cell].holder;
    std::uint64_t free = 0;
    if (place.load() != 0 || !place.compare_exchange_strong(free, holder)) continue;
    // The manager sets `draining` and then counts the cells; we took a cell and now look at the phase: one of us sees
    // the other.
    if (published.load() == before) return Claim{slot, cell, worker};
    std::uint64_t ours = holder;
    place.compare_exchange_strong(ours, 0);
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> Claims::least_busy(const Span& slots, const std::optional<Failed>& failed) const {
  std::optional<std::uint32_t> best;
  std::uint32_t least = max_capacity;
  for (std::uint32_t slot = slots.first; slot < slots.first + slots.count && (!best || least > 0); ++slot) {
    const SlotState worker = SlotState::unpack(directory_->slots[slot].state.load());
    if (worker.phase != Phase::ready) continue;
    if (failed && has_failed(*failed, slot, worker.generation)) continue;
    const std::uint32_t capacity = usable_capacity(worker);
    const std::uint32_t busy = busy_cells(load_->slots[slot], capacity);
    if (busy < capacity && (!best || busy < least) && !is_late(slot, worker.generation)) {
      best = slot;
      least = busy;
    }
  }
  return best;
}

std::optional<Claim> Claims::try_claim(std::uint32_t pool, std::int32_t pid, const std::optional<Failed>& failed) {
  const Span slots = slots_of(pool);
  // Another thread may take the chosen cell first; each such loss is somebody else's success, and after a few it is
  // time to queue.
  for (int tries = 0; tries < 8; ++tries) {
    auto best = least_busy(slots, failed);
    if (!best && failed && !failed->is_gone) best = least_busy(slots, std::nullopt);
    if (!best) return std::nullopt;
    if (const auto claim = take(*best, pid)) return claim;
  }
  return std::nullopt;
}

void Claims::release(std::uint32_t pool, const Claim& claim, std::int32_t pid) {
  if (claim.slot >= max_slots || claim.cell >= max_capacity) return;
  std::uint64_t ours = holder_of(pid, claim.worker.generation);
  if (hand_over(pool, claim, ours)) return;
  if (!load_->slots[claim.slot].cells[claim.cell].holder.compare_exchange_strong(ours, 0)) return;
  // Somebody may have queued up between the look at the queue and the cell's becoming free, and seen neither.
  dispatch(pool, pid);
}

// True: the claim is somebody else's now, or was not ours any more.
bool Claims::hand_over(std::uint32_t pool, const Claim& claim, std::uint64_t holder) {
  PoolLoad& load = load_->pools[pool];
  if (load.head.load() == load.tail.load()) return false;
  const SlotState now = SlotState::unpack(directory_->slots[claim.slot].state.load());
  if (now.phase != Phase::ready || now.generation != claim.worker.generation) return false;
  if (claim.cell >= usable_capacity(now) || is_late(claim.slot, now.generation)) return false;

  Shared<std::uint64_t>& place = load_->slots[claim.slot].cells[claim.cell].holder;
  for (std::uint32_t looked_at = 0; looked_at <= max_waiting; ++looked_at) {
    const std::uint32_t ticket = load.head.load();
    if (ticket == load.tail.load()) return false;
    WaiterCell& cell = waiter(load, ticket);
    std::uint64_t word = cell.word.load();
    if (ticket_of(word) != ticket || fate_of(word) != Fate::waiting) {
      pass_over(pool, ticket);
      continue;
    }
    const std::uint64_t theirs = holder_of(static_cast<std::int32_t>(payload_of(word)), claim.worker.generation);
    std::uint64_t ours = holder;
    if (!place.compare_exchange_strong(ours, theirs)) return true;
    const std::uint64_t granted = word_of(ticket, Fate::granted, claim.slot << cell_bits | claim.cell);
    if (cell.word.compare_exchange_strong(word, granted)) {
      std::uint32_t head = ticket;
      load.head.compare_exchange_strong(head, ticket + 1);
      wake_(futex({pool, ticket}));
      return true;
    }
    std::uint64_t back = theirs;
    if (!place.compare_exchange_strong(back, holder)) return true;
  }
  return false;
}

// The ticket at the head has no waiter (left, or granted and not yet counted past, or drawn and not yet written): go
// past it.
void Claims::pass_over(std::uint32_t pool, std::uint32_t ticket) {
  PoolLoad& load = load_->pools[pool];
  WaiterCell& cell = waiter(load, ticket);
  std::uint64_t word = cell.word.load();
  // Written since the caller looked: it has a waiter.
  if (ticket_of(word) == ticket && fate_of(word) == Fate::waiting) return;
  const bool unwritten = ticket_of(word) != ticket || fate_of(word) == Fate::unused;
  if (unwritten && !is_unread(ticket, word) &&
      !cell.word.compare_exchange_strong(word, word_of(ticket, Fate::left, 0))) {
    return;
  }
  load.head.compare_exchange_strong(ticket, ticket + 1);
}

// Goes past those at the head who surely left, so that they do not count as waiting where nobody releases anything.
void Claims::trim(std::uint32_t pool) {
  PoolLoad& load = load_->pools[pool];
  for (std::uint32_t gone = 0; gone < max_waiting; ++gone) {
    const std::uint32_t head = load.head.load();
    const std::uint64_t first = waiter(load, head).word.load();
    const bool left = ticket_of(first) == head && fate_of(first) == Fate::left;
    if (head == load.tail.load() || !(left || is_unread(head, first))) return;
    pass_over(pool, head);
  }
}

std::optional<Claims::Queued> Claims::enqueue(std::uint32_t pool, std::int32_t pid, std::uint32_t limit) {
  PoolLoad& load = load_->pools[pool];
  const std::uint32_t most = std::min(limit, max_waiting);
  for (std::uint32_t tries = 0; tries <= max_waiting; ++tries) {
    heal(load);
    const Ends ends = Ends::of(load);
    const std::uint32_t before = ends.length();
    if (before >= max_waiting || (before >= most && count_waiting(load, ends) >= most)) return std::nullopt;
    std::uint32_t ticket = ends.tail;
    if (!load.tail.compare_exchange_strong(ticket, ticket + 1)) continue;
    if (write_ticket(waiter(load, ticket), ticket, pid)) return Queued{{pool, ticket}, before == 0};
    trim(pool);
  }
  return std::nullopt;
}

// False: this place in the ring cannot be had now (passed over while we came, or its last grant is still unread).
bool Claims::write_ticket(WaiterCell& cell, std::uint32_t ticket, std::int32_t pid) {
  std::uint64_t word = cell.word.load();
  for (int tries = 0; tries < 4; ++tries) {
    const bool passed_over = ticket_of(word) == ticket && fate_of(word) == Fate::left;
    if (passed_over || is_unread(ticket, word)) return false;
    if (cell.word.compare_exchange_strong(word, word_of(ticket, Fate::waiting, static_cast<std::uint32_t>(pid))))
      return true;
  }
  return false;
}

std::optional<Claim> Claims::granted(const Ticket& ticket, std::int32_t pid) {
  Shared<std::uint64_t>& place = waiter(load_->pools[ticket.pool], ticket.number).word;
  std::uint64_t word = place.load();
  if (ticket_of(word) != ticket.number || fate_of(word) != Fate::granted) return std::nullopt;
  const std::uint32_t slot = payload_of(word) >> cell_bits;
  const std::uint32_t cell = payload_of(word) & ((1U << cell_bits) - 1);
  // Read: the place in the ring may be used again.
  place.compare_exchange_strong(word, word_of(ticket.number, Fate::left, 0));
  if (slot >= max_slots || cell >= max_capacity) return std::nullopt;
  const std::uint64_t holder = load_->slots[slot].cells[cell].holder.load();
  Claim claim{slot, cell, SlotState::unpack(directory_->slots[slot].state.load())};
  // The claim is on the generation that it was made on, even if another has come since; release() needs that one.
  if (holder >> 32 == static_cast<std::uint32_t>(pid)) claim.worker.generation = static_cast<std::uint32_t>(holder);
  return claim;
}

Shared<std::uint32_t>* Claims::futex(const Ticket& ticket) const {
  static_assert(std::endian::native == std::endian::little, "the futex is the low half of the word");
  return reinterpret_cast<Shared<std::uint32_t>*>(&waiter(load_->pools[ticket.pool], ticket.number).word);
}

std::uint32_t Claims::waiting_word(const Ticket&, std::int32_t pid) const {
  return low_word(Fate::waiting, static_cast<std::uint32_t>(pid));
}

bool Claims::is_first(const Ticket& ticket) const { return load_->pools[ticket.pool].head.load() == ticket.number; }

std::optional<Claim> Claims::leave(const Ticket& ticket, std::int32_t pid) {
  PoolLoad& load = load_->pools[ticket.pool];
  std::uint64_t word = word_of(ticket.number, Fate::waiting, static_cast<std::uint32_t>(pid));
  if (!waiter(load, ticket.number).word.compare_exchange_strong(word, word_of(ticket.number, Fate::left, 0))) {
    return granted(ticket, pid);
  }
  trim(ticket.pool);
  return std::nullopt;
}

void Claims::dispatch(std::uint32_t pool, std::int32_t pid) {
  PoolLoad& load = load_->pools[pool];
  // Whoever queues up while a claim is held here for nobody sees it taken and sleeps: after giving it back, look at the
  // queue again. Only a corrupt queue (never empty, and nobody in it) makes for many such rounds.
  heal(load);
  int fruitless = 0;
  for (std::uint32_t served = 0; served < max_waiting && fruitless < most_fruitless; ++served) {
    if (load.head.load() == load.tail.load()) return;
    const auto claim = try_claim(pool, pid);
    if (!claim) return;
    std::uint64_t ours = holder_of(pid, claim->worker.generation);
    if (hand_over(pool, *claim, ours)) continue;
    load_->slots[claim->slot].cells[claim->cell].holder.compare_exchange_strong(ours, 0);
    ++fruitless;
  }
}

bool Claims::count_request(const Claim& claim) {
  const std::uint64_t count = load_->slots[claim.slot].requests.fetch_add(1, std::memory_order_relaxed) + 1;
  return count == directory_->slots[claim.slot].recycle_at.load(std::memory_order_relaxed);
}

bool Claims::is_late(std::uint32_t slot, std::uint32_t generation) const {
  return marks_of(load_->slots[slot].late.load(), generation) > 0;
}

void Claims::mark_late(const Claim& claim) {
  if (claim.slot >= max_slots) return;
  const std::uint32_t generation = claim.worker.generation;
  Shared<std::uint64_t>& late = load_->slots[claim.slot].late;
  for (int tries = 0; tries < late_tries; ++tries) {
    std::uint64_t before = late.load();
    const std::uint32_t marks = marks_of(before, generation);
    if (marks == std::numeric_limits<std::uint32_t>::max()) return;
    // What another generation left may be written over, what a later one has may not.
    if (SlotState::unpack(directory_->slots[claim.slot].state.load()).generation != generation) return;
    if (late.compare_exchange_strong(before, late_word(generation, marks + 1))) return;
  }
}

void Claims::unmark_late(std::uint32_t pool, const Claim& claim, std::int32_t pid) {
  if (claim.slot >= max_slots) return;
  const std::uint32_t generation = claim.worker.generation;
  Shared<std::uint64_t>& late = load_->slots[claim.slot].late;
  for (int tries = 0; tries < late_tries; ++tries) {
    std::uint64_t before = late.load();
    const std::uint32_t marks = marks_of(before, generation);
    if (marks == 0) return;
    if (!late.compare_exchange_strong(before, late_word(generation, marks - 1))) continue;
    if (marks == 1) dispatch(pool, pid);
    return;
  }
}

// Whether a waiter's word is one that this process waits on, or was granted a claim by and has not read.
bool Claims::is_of(std::uint64_t word, std::int32_t pid) const {
  switch (fate_of(word)) {
    case Fate::unused:
    case Fate::left:
      return false;
    case Fate::waiting:
      return payload_of(word) == static_cast<std::uint32_t>(pid);
    case Fate::granted:
      break;
  }
  const std::uint32_t slot = payload_of(word) >> cell_bits;
  const std::uint32_t cell = payload_of(word) & ((1U << cell_bits) - 1);
  if (slot >= max_slots || cell >= max_capacity) return true;
  return load_->slots[slot].cells[cell].holder.load() >> 32 == static_cast<std::uint32_t>(pid);
}

std::uint32_t Claims::sweep(std::int32_t dead_pid) {
  std::uint32_t freed = 0;
  for (std::uint32_t pool = 0; pool < max_pools; ++pool) {
    const Span slots = slots_of(pool);
    if (slots.count == 0) continue;
    for (WaiterCell& cell : load_->pools[pool].waiters) {
      std::uint64_t word = cell.word.load();
      if (is_of(word, dead_pid)) cell.word.compare_exchange_strong(word, word_of(ticket_of(word), Fate::left, 0));
    }
    for (std::uint32_t slot = slots.first; slot < slots.first + slots.count; ++slot) {
      for (ClaimCell& cell : load_->slots[slot].cells) {
        std::uint64_t holder = cell.holder.load();
        if (holder >> 32 != static_cast<std::uint32_t>(dead_pid)) continue;
        freed += cell.holder.compare_exchange_strong(holder, 0);
      }
    }
    dispatch(pool, dead_pid);
  }
  return freed;
}

std::uint32_t Claims::in_flight(std::uint32_t slot, std::uint32_t generation) const {
  std::uint32_t held = 0;
  for (const ClaimCell& cell : load_->slots[slot].cells) {
    const std::uint64_t holder = cell.holder.load();
    held += holder != 0 && static_cast<std::uint32_t>(holder) == generation;
  }
  return held;
}

std::vector<std::int32_t> Claims::holders(std::uint32_t slot, std::uint32_t generation) const {
  std::vector<std::int32_t> pids;
  for (const ClaimCell& cell : load_->slots[slot].cells) {
    const std::uint64_t holder = cell.holder.load();
    if (holder == 0 || static_cast<std::uint32_t>(holder) != generation) continue;
    const auto pid = static_cast<std::int32_t>(holder >> 32);
    if (std::find(pids.begin(), pids.end(), pid) == pids.end()) pids.push_back(pid);
  }
  return pids;
}

void Claims::wake_waiting(std::uint32_t pool) const {
  const std::uint32_t head = load_->pools[pool].head.load();
  const std::uint32_t length = std::min(Ends::of(load_->pools[pool]).length(), max_waiting);
  for (std::uint32_t i = 0; i < length; ++i) wake_(futex({pool, head + i}));
}

std::uint32_t Claims::waiting(std::uint32_t pool) const {
  const PoolLoad& load = load_->pools[pool];
  return count_waiting(load, Ends::of(load));
}

Claims::Capacity Claims::capacity(std::uint32_t pool) const {
  Capacity capacity;
  const Span slots = slots_of(pool);
  for (std::uint32_t slot = slots.first; slot < slots.first + slots.count; ++slot) {
    const SlotState worker = SlotState::unpack(directory_->slots[slot].state.load());
    if (worker.phase == Phase::empty) continue;
    capacity.of_one = std::max(capacity.of_one, usable_capacity(worker));
    if (worker.phase == Phase::ready) capacity.ready += usable_capacity(worker);
  }
  return capacity;
}

}  // namespace cppfcgi
