// The scoreboard: two areas of shared memory through which httpd's children and the manager see each other's work.
//
//   Directory   written by the manager alone, mapped read-only in httpd's children: which pools and workers there are
//   Load        written by httpd's children (and, where a line says so, the manager): claims, waiters, counters
//
// Numbers only: lock-free atomics, no pointer, no lock, no text. A process may be killed between any two instructions
// here and nothing stays locked. The manager may be root while httpd's children are not: it believes nothing in Load;
// every index from there is checked against these limits before use. Workers map neither.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cppfcgi {

inline constexpr std::uint32_t max_pools = 256;
inline constexpr std::uint32_t max_workers = 4096;                   // of all pools together, successors not counted
inline constexpr std::uint32_t max_slots = max_workers + max_pools;  // each pool has one more than workers, see Pool
inline constexpr std::uint32_t max_capacity =
    64;  // claims that one worker can hold; a worker that says more counts as this
inline constexpr std::uint32_t max_waiting = 1024;  // requests that wait in one pool's queue, at most
inline constexpr std::uint32_t max_poisons = 512;   // requests that are under suspicion at the same time
inline constexpr std::uint32_t layout_version =
    3;  // of both areas; a manager and a module that differ refuse each other

// Where a worker stands. Why it is there is the manager's own knowledge.
enum class Phase : std::uint8_t { empty, starting, ready, draining, stopping };

// A slot's public state in one word, so that it is always read whole.
struct SlotState {
  std::uint32_t generation = 0;
  Phase phase = Phase::empty;
  std::uint8_t capacity = 0;    // requests at the same time, 1 … max_capacity (FCGI_MAX_REQS)
  bool is_multiplexed = false;  // FCGI_MPXS_CONNS
  // It begins a request only once it has read the whole of it, as our library does.
  bool begins_whole = false;
  std::uint8_t connections = 0;  // FCGI_MAX_CONNS, 255 stands for 255 and more

  // Connections to it may be kept: it takes more of them than requests, so a kept one holds nobody up.
  bool is_kept() const { return connections > capacity; }

  std::uint64_t pack() const {
    return std::uint64_t{generation} << 32 | std::uint64_t{static_cast<std::uint8_t>(phase)} << 24 |
           std::uint64_t{capacity} << 16 | std::uint64_t{begins_whole} << 9 | std::uint64_t{is_multiplexed} << 8 |
           connections;
  }
  static SlotState unpack(std::uint64_t word) {
    return {.generation = static_cast<std::uint32_t>(word >> 32),
            .phase = static_cast<Phase>(word >> 24 & 0xff),
            .capacity = static_cast<std::uint8_t>(word >> 16),
            .is_multiplexed = (word >> 8 & 1) != 0,
            .begins_whole = (word >> 9 & 1) != 0,
            .connections = static_cast<std::uint8_t>(word)};
  }
  friend bool operator==(const SlotState&, const SlotState&) = default;
};

template <class T>
using Shared = std::atomic<T>;
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

// ---- Directory: one writer, the manager ----

struct SlotRow {
  Shared<std::uint64_t> state{0};  // SlotState
  Shared<std::int32_t> pid{0};     // 0: no worker
  Shared<std::uint32_t> starts{0};
  Shared<std::uint64_t> start_time{0};  // field 22 of /proc/<pid>/stat: tells the process from a later one with its pid
  Shared<std::uint64_t> made_of{0};     // PoolConfig::worker_key that the worker was started with
  Shared<std::uint64_t> program{0};     // which file it was started from, where deploys are followed; else 0
  Shared<std::uint64_t> recycle_at{0};  // nudge when SlotLoad::requests reaches it; 0: never
};

struct PoolRow {
  Shared<std::uint64_t> key{
      0};  // PoolConfig::key; 0: a free row. Written last when a row is filled, first when it is freed.
  Shared<std::uint32_t> first_slot{0};
  Shared<std::uint32_t> slot_count{0};
  Shared<std::uint32_t> refuses_for{
      0};  // seconds until the next try: the breaker is open and no worker serves; 0: not so
};

struct Directory {
  Shared<std::uint32_t> version{0};  // layout_version; 0: not yet begun
  Shared<std::int32_t> manager_pid{0};
  Shared<std::uint64_t> configuration{0};  // number of the configuration that is in force
  PoolRow pools[max_pools];
  SlotRow slots[max_slots];
};

// ---- Load: many writers ----

// One unit of a worker's capacity. 0: free; else who holds it, and of which generation. The cells *are* the in-flight
// count: taken by one CAS and given back by one, so that a holder killed at any point leaves either a free cell or one
// with its pid.
struct ClaimCell {
  Shared<std::uint64_t> holder{0};  // pid << 32 | generation
};

struct alignas(64) SlotLoad {
  ClaimCell cells[max_capacity];
  Shared<std::uint64_t> requests{0};  // fetch_add by children
  Shared<std::uint64_t> failures{0};  // exchanges that ended without a whole answer; fetch_add by children
  // generation << 32 | requests whose time passed in that worker and that it has not ended since: nudge. Nobody claims
  // it meanwhile. CAS by children.
  Shared<std::uint64_t> late{0};
};

// One waiting request. The low half is a futex: the waiter sleeps on it, and who grants it a claim wakes it.
struct WaiterCell {
  Shared<std::uint64_t> word{0};  // see claims.cpp
};

struct alignas(64) PoolLoad {
  Shared<std::uint32_t> head{0};  // ticket of the first that may still wait; CAS
  Shared<std::uint32_t> tail{0};  // the next ticket; CAS
  Shared<std::uint64_t> requests{0};
  Shared<std::uint64_t> refused{0};    // queue full
  Shared<std::uint64_t> timed_out{0};  // waited too long
  // How long a request that comes now would wait; see core/waiting_time.h. Of all children together: a new one, or one
  // that has served nobody for a while, knows as much as the others.
  Shared<std::int64_t> service_us{0};  // mean time of the last requests in their workers; 0: none has ended
  Shared<std::int64_t> moved{0};       // ns of the steady clock: when a worker was last claimed, or its request ended
  WaiterCell waiters[max_waiting];
};

// A request that workers died of. See core/poison.h.
struct PoisonRow {
  Shared<std::uint64_t> fingerprint{0};  // 0: a free row
  Shared<std::uint64_t> deaths{0};  // in a row << 56 | a tag of the last worker << 32 | seconds of the monotonic clock
};

struct Load {
  Shared<std::uint32_t> version{0};
  Shared<std::uint32_t> poison_count{0};  // rows in use, about: 0 saves everybody the look
  Shared<std::uint64_t> poison_seed{0};   // of the fingerprints; written once, before there are children
  PoisonRow poisons[max_poisons];
  PoolLoad pools[max_pools];
  SlotLoad slots[max_slots];
};

}  // namespace cppfcgi
