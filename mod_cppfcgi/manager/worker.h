// Worker: one process of a pool as the manager holds it: watched by its pidfd, its output cut into lines, its word that
// it is ready, its record of a crash. A shell; owned by the pool's keeper, which learns of everything by the callbacks.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mod_cppfcgi/manager/lines.h"
#include "mod_cppfcgi/manager/loop.h"
#include "mod_cppfcgi/manager/spawn.h"
#include "shared/worker_note.h"

namespace cppfcgi {

class Worker {
 public:
  // They may destroy the worker, but for `printed`.
  struct Callbacks {
    std::function<void()> exited;    // reaped, and all that it started in its process group has been killed
    std::function<void()> notified;  // once
    std::function<void(std::string_view line)> printed;
  };

  static Result<std::unique_ptr<Worker>> start(Loop& loop, const SpawnOrder& order, Callbacks callbacks);
  // One that an earlier manager started. Error with ESRCH: it lives no more.
  static Result<std::unique_ptr<Worker>> adopt(Loop& loop, pid_t pid, std::uint64_t start_time, Callbacks callbacks);

  void launch();  // lets a started one run its program
  void terminate();
  void kill();
  bool is_ending() const;  // its descriptors may be closed already

  pid_t pid() const { return pid_; }
  std::uint64_t start_time() const { return start_time_; }
  const Fd& pidfd() const { return process_.pidfd; }

  // Once it has exited: "exit 1", "killed by signal 9", "exec: Permission denied"
  struct End {
    std::string text;
    bool is_failure = true;
    int signal = 0;                          // that killed it
    bool is_known = true;                    // how it ended
    std::optional<CrashRecord> record = {};  // what it has written down of that itself
    std::string usage =
        {};  // "used 1.25 s of CPU (0.31 s of it in the kernel), at most 35.2 MiB of memory"; "": unknown
  };
  const End& end() const { return end_; }

 private:
  struct Output {
    Fd fd;
    Lines lines;
    Loop::Watch watch;
  };

  Worker(pid_t pid, Callbacks callbacks) : pid_(pid), callbacks_(std::move(callbacks)) {}
  Result<void> watch(Loop& loop);
  void exit();
  End take_end();
  bool read_notes();
  bool read_output(Output& output);
  void finish_output(Output& output);

  pid_t pid_;
  std::uint64_t start_time_ = 0;
  bool is_ours_ = false;  // a child of this process, which it must reap
  Callbacks callbacks_;
  Spawned process_;
  Output out_;
  Output err_;
  Loop::Watch exit_watch_;
  Loop::Watch notify_watch_;
  WorkerNoteReader notes_;
  End end_;
};

}  // namespace cppfcgi
