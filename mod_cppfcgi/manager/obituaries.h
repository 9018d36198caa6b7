// Obituaries: what the log says of a worker's death. The line waits for a moment: until the functions of a crash have
// been named, and until the successor is ready, so that it can tell how long that took. A shell around the log; owned
// by the pool's keeper.
#pragma once

#include <list>
#include <optional>
#include <string>

#include "mod_cppfcgi/manager/log.h"
#include "mod_cppfcgi/manager/pool_events.h"
#include "mod_cppfcgi/manager/stack_reader.h"
#include "mod_cppfcgi/manager/worker.h"

namespace cppfcgi {

class Obituaries {
 public:
  explicit Obituaries(StackReader& stacks) : stacks_(stacks) {}
  ~Obituaries();
  Obituaries(const Obituaries&) = delete;
  Obituaries& operator=(const Obituaries&) = delete;

  struct Death {
    std::string worker;  // "worker 3 (pid 812) of pool /srv/a"
    Worker::End end;
    Reason reason = Reason::crashed;
    std::string early;  // of a short life: what was too short
    Duration pause{0};  // until the next try; 0: at once
    std::uint32_t slot = 0;
    std::uint32_t successor = 0;  // the generation; 0: none is started now
    pid_t successor_pid = 0;
  };
  // `program`: the file that it ran, borrowed until this returns; empty where it lies at its path.
  void add(const Death& death, const Fd& program, Time now);

  void became_ready(std::uint32_t slot, std::uint32_t generation, Time now);
  void ended(std::uint32_t slot, std::uint32_t generation);

  void write_due(const Log& log, Time now);  // those that wait for nothing more, or have waited long enough
  void write_all(const Log& log);
  std::optional<Time> next_deadline() const;

 private:
  struct Pending {
    Death death;
    Time since;
    std::string next;                      // "replaced by pid 934 in 41 ms"; "": not yet known
    std::optional<std::uint64_t> reading;  // its functions are being named
    Frames frames;
  };
  Pending* find(std::uint32_t slot, std::uint32_t generation);
  void name_functions(Pending& pending, const Fd& program);
  static void write(const Log& log, const Pending& pending);

  StackReader& stacks_;
  std::list<Pending> pending_;  // oldest first
};

std::string text_of(Duration time);  // "41 ms", "2.5 s"

}  // namespace cppfcgi
