// Obituaries: what the log says of a worker's death. A line waits for a moment until its successor is ready, so that it
// can tell how long that took. A shell around the log; owned by the pool's keeper.
#pragma once

#include <list>
#include <optional>
#include <string>

#include "mod_cppfcgi/manager/log.h"
#include "mod_cppfcgi/manager/pool.h"
#include "mod_cppfcgi/manager/worker.h"

namespace cppfcgi {

class Obituaries {
 public:
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
  void add(const Log& log, const Death& death, Time now);

  void became_ready(const Log& log, std::uint32_t slot, std::uint32_t generation, Time now);
  void ended(const Log& log, std::uint32_t slot, std::uint32_t generation);
  void finish(const Log& log, Time now);  // those that have waited long enough
  void finish_all(const Log& log);
  std::optional<Time> next_deadline() const;

 private:
  struct Pending {
    Death death;
    Time since;
  };
  static void write(const Log& log, const Death& death, const std::string& next);

  std::list<Pending> pending_;
};

std::string text_of(Duration time);  // "41 ms", "2.5 s"

}  // namespace cppfcgi
