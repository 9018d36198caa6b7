// Spawn: makes a worker's process. All is prepared before the fork; between fork and exec there are only the steps
// listed in spawn.cpp, each async-signal-safe. A shell; when to start a worker is Pool's business.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shared/fd.h"
#include "shared/pool_config.h"
#include "shared/result.h"

namespace cppfcgi {

struct SpawnOrder {
  std::string program;                   // absolute path; also argv[0]
  int pinned = -1;                       // if not -1, the descriptor of the file that is run in its place
  bool is_script = false;                // the pinned file: its interpreter must find the descriptor open
  std::vector<std::string> arguments;    // beyond argv[0]
  std::vector<std::string> environment;  // "NAME=value", the whole of it; CPPFCGI_NOTIFY_FD is added
  int priority = 0;                      // nice value
  std::string folder;                    // where it starts; "": where the program lies
  std::optional<std::uint32_t> umask;
  WorkerLimits limits;
  int listener = -1;  // the worker's fd 0
  std::uint64_t open_files =
      1'024;                  // RLIMIT_NOFILE's soft limit where `limits` has none: the manager has raised its own
  bool ends_with_us = false;  // SIGTERM to the worker when this process dies
};

struct Spawned {
  pid_t pid = 0;
  Fd pidfd;
  Fd out;  // what it prints, and what it prints on stderr; non-blocking
  Fd err;
  Fd notify;  // what it tells of itself (shared/worker_note.h); non-blocking
  Fd launch;  // see launch() and launch_failure()
};

inline constexpr int notify_fd = 3;  // in the worker

// The process exists then, but waits before its exec for launch(), so that it can be recorded where the next manager
// finds it before it does anything; if this process dies first, it ends.
Result<Spawned> spawn(const SpawnOrder& order);
void launch(const Spawned& spawned);

// Once it has ended: why its program was never run ("exec: Permission denied"), or "".
std::string launch_failure(const Fd& launch);

}  // namespace cppfcgi
