// Claims: who may use which worker. A claim is a lease on one unit of a worker's capacity, taken and given back by CAS
// in Load; requests that find none wait in their pool's queue, first come first served, and are *handed* a claim by
// whoever frees one. Pure but for the futex wake that is passed in. Any thread of any process may call; nothing here
// blocks. Every loop is bounded and every index checked, since the manager calls it on memory that children write.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "shared/scoreboard.h"

namespace cppfcgi {

struct Claim {
  std::uint32_t slot = 0;  // index into Directory::slots
  std::uint32_t cell = 0;
  SlotState worker;  // as it was when the claim was made
  friend bool operator==(const Claim&, const Claim&) = default;
};

// A place in a pool's queue.
struct Ticket {
  std::uint32_t pool = 0;
  std::uint32_t number = 0;
};

// A worker that has just failed a request.
struct Failed {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  bool is_gone =
      false;  // its process has ended, though the directory may not say so yet: this generation is none at all
  std::uint32_t period =
      0;  // slots that lie so far apart are of one endpoint, and have failed with it; 0: only this one
};

using WakeFutex = void (*)(Shared<std::uint32_t>* word);  // wakes one waiter

class Claims {
 public:
  Claims(const Directory& directory, Load& load, WakeFutex wake) : directory_(&directory), load_(&load), wake_(wake) {}

  // The row of the pool with this key, or nullopt.
  std::optional<std::uint32_t> find_pool(std::uint64_t key) const;
  std::uint64_t key_of(std::uint32_t pool) const { return directory_->pools[pool].key.load(); }

  // The least busy ready worker below its capacity that is not late, lowest slot first; not the one that has just
  // failed if another will do.
  std::optional<Claim> try_claim(std::uint32_t pool, std::int32_t pid, const std::optional<Failed>& failed = {});

  // Gives the claim back, or hands it to the first that waits. Twice is harmless.
  void release(std::uint32_t pool, const Claim& claim, std::int32_t pid);

  // Queues up. nullopt: `limit` requests wait already, whoever has left not counted. After it, try_claim once more (a
  // claim may have come free in between). `is_first` says that nobody waited before: time to nudge the manager.
  struct Queued {
    Ticket ticket;
    bool is_first = false;
  };
  std::optional<Queued> enqueue(std::uint32_t pool, std::int32_t pid, std::uint32_t limit);

  // What became of a ticket: still waiting (sleep on futex(ticket) while it reads `waiting_word`), or a claim, told
  // once.
  std::optional<Claim> granted(const Ticket& ticket, std::int32_t pid);
  Shared<std::uint32_t>* futex(const Ticket& ticket) const;
  std::uint32_t waiting_word(const Ticket& ticket, std::int32_t pid) const;

  // Whether nobody who waits has come before it.
  bool is_first(const Ticket& ticket) const;

  // Leaves the queue. A claim that was granted meanwhile comes back: use or release it.
  std::optional<Claim> leave(const Ticket& ticket, std::int32_t pid);

  // Hands free capacity to those who wait: after a worker became ready. `pid` is the caller's, which holds each claim
  // for a moment.
  void dispatch(std::uint32_t pool, std::int32_t pid);

  // Wakes all that wait, so that they look up: nobody will serve them for a while.
  void wake_waiting(std::uint32_t pool) const;

  // Takes back all that a dead process held or waited for; the number of claims freed.
  std::uint32_t sweep(std::int32_t dead_pid);

  // The time of this claim's request is over: from now on nobody claims its worker. Of a worker that is gone: no more
  // than nothing.
  void mark_late(const Claim& claim);
  // It has ended after all. With the last mark the worker is as good as any, and goes to those who wait.
  void unmark_late(std::uint32_t pool, const Claim& claim, std::int32_t pid);
  bool is_late(std::uint32_t slot, std::uint32_t generation) const;

  // Counts a request that goes to this claim's worker. True for one of all that count: it is time to recycle the
  // worker, and to nudge the manager.
  bool count_request(const Claim& claim);

  // The breaker is open and no worker serves: seconds until the next try; else 0.
  std::uint32_t refuses_for(std::uint32_t pool) const { return directory_->pools[pool].refuses_for.load(); }

  // Claims on this slot that are held now, by anybody, of this generation.
  std::uint32_t in_flight(std::uint32_t slot, std::uint32_t generation) const;
  // The processes that hold them, each once; as Load says, which may be anything.
  std::vector<std::int32_t> holders(std::uint32_t slot, std::uint32_t generation) const;
  // Requests that wait now; about, since others come and go meanwhile.
  std::uint32_t waiting(std::uint32_t pool) const;
  // What the pool's workers say that they take at once: the ready ones together, and the most of any, at least 1.
  struct Capacity {
    std::uint32_t ready = 0;
    std::uint32_t of_one = 1;
  };
  Capacity capacity(std::uint32_t pool) const;

 private:
  struct Span {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  Span slots_of(std::uint32_t pool) const;
  std::optional<std::uint32_t> least_busy(const Span& slots, const std::optional<Failed>& failed) const;
  std::optional<Claim> take(std::uint32_t slot, std::int32_t pid);
  bool hand_over(std::uint32_t pool, const Claim& claim, std::uint64_t holder);
  bool is_of(std::uint64_t word, std::int32_t pid) const;
  static bool write_ticket(WaiterCell& cell, std::uint32_t ticket, std::int32_t pid);
  void trim(std::uint32_t pool);
  void pass_over(std::uint32_t pool, std::uint32_t ticket);

  const Directory* directory_;
  Load* load_;
  WakeFutex wake_;
};

}  // namespace cppfcgi
