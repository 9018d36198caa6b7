// Vigil: looks after a pool's serving workers: who is late, silent while idle, or used up. Tells what it found; what
// follows is Pool's business. A shell: reads the load area (whose words it believes no further than that a worker is
// replaced sooner or later than it should), /proc, and asks idle workers for their capacity. Owned by the pool's
// keeper.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/loop.h"
#include "mod_cppfcgi/manager/pool_events.h"
#include "mod_cppfcgi/manager/question.h"
#include "shared/claims.h"
#include "shared/scoreboard.h"

namespace cppfcgi {

class Vigil {
 public:
  struct Limits {
    Duration probe_interval{0};       // 0: idle workers are not asked
    std::uint64_t max_rss_bytes = 0;  // 0: any size
  };
  Vigil(Loop& loop, const Load& load, const Claims& claims, std::uint32_t first_slot, std::uint32_t slot_count);

  void set_limits(const Limits& limits) { limits_ = limits; }

  struct Subject {
    std::uint32_t generation = 0;
    pid_t pid = 0;
    std::string socket;
    bool answers = false;          // it has told its capacity before, and can be asked again
    std::uint64_t recycle_at = 0;  // requests of its slot, all generations together; 0: any number
  };
  void begin(std::uint32_t slot, Subject subject, Time now);  // it serves; again for the same generation: no harm
  void end(std::uint32_t slot);

  struct Finding {
    Happened what = Happened::late;
    std::uint32_t slot = 0;
  };
  std::vector<Finding> look(Time now);
  std::optional<Time> next_deadline(Time now) const;

 private:
  struct Watched {
    Subject subject;
    bool is_late = false;
    bool is_worn = false;
    Time next_probe;
    std::optional<Time> probe_ends;   // it is being asked
    std::unique_ptr<Question> probe;  // where there was room in its listen queue
    bool has_answered = false;
    std::uint64_t requests_before = 0;
  };
  bool is_worn(std::uint32_t slot, const Watched& watched, bool is_measuring) const;
  bool is_unresponsive(std::uint32_t slot, Watched& watched, Time now);
  bool is_idle(std::uint32_t slot, const Watched& watched) const;
  bool asks(const Watched& watched) const { return limits_.probe_interval > Duration{0} && watched.subject.answers; }
  void ask(std::uint32_t slot, Watched& watched, Time now);
  std::uint64_t requests(std::uint32_t slot) const { return load_.slots[first_slot_ + slot].requests.load(); }

  Loop& loop_;
  const Load& load_;
  const Claims& claims_;
  std::uint32_t first_slot_;
  Limits limits_;
  std::vector<std::optional<Watched>> watched_;  // by slot
  Time next_measurement_{};                      // of memory
};

}  // namespace cppfcgi
