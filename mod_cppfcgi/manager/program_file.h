// ProgramFile: which file a pool's workers are started from. Without deploys that is whatever lies at the program's
// path. With them it is the one in force, pinned, until another has passed its trial. Watches the path: for deploys,
// and while starts fail, since a new program is the likeliest cure. A shell; owned by the pool's keeper, which asks it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/loop.h"
#include "mod_cppfcgi/manager/pinned_program.h"
#include "mod_cppfcgi/manager/pool_events.h"
#include "mod_cppfcgi/manager/program_watch.h"

namespace cppfcgi {

class ProgramFile {
 public:
  ProgramFile(Loop& loop, std::string path) : loop_(loop), path_(std::move(path)) {}

  // Whether a new program is deployed. The first time, the one that lies there is in force.
  void follow(bool is_followed);
  // Puts the one in force, instead of the one that lies there, from which workers were started that serve already.
  // True: the path's is another, and is to be tried.
  struct Serving {
    pid_t pid = 0;
    std::uint64_t program = 0;  // its id()
  };
  bool adopt(const std::vector<Serving>& serving);
  std::uint64_t id(bool is_trial) const;  // of what is started; 0: of whatever lies there

  // What to start: nothing pinned means the path.
  const PinnedProgram* to_start(bool is_trial) const;
  void commit();             // the one on trial is in force
  Fd open_in_force() const;  // to read it; empty where nothing is pinned

  // Called after whatever has happened in the pool.
  void watch(bool is_backing_off);
  // What follows from what was seen: deployed, withdrawn, or program_changed.
  std::optional<Happened> look(Time now);
  std::optional<Time> next_deadline() const;

 private:
  void note(ProgramWatch::Change change);
  Happened compare();

  Loop& loop_;
  std::string path_;
  bool is_followed_ = false;
  std::optional<PinnedProgram> in_force_;
  std::optional<PinnedProgram> candidate_;  // on trial, or refused
  std::optional<ProgramWatch> watch_;
  bool must_watch_anew_ = false;
  bool is_backing_off_ = false;
  std::optional<Time> due_;  // what was seen is looked at then
  Time last_neighbour_{};    // when one counted
};

}  // namespace cppfcgi
