// StackReader: names the functions of a crash's record, and reads the stacks of a living worker's threads. Files and
// processes that may be anything are read for that (a worker names them), and it may take long: so a process of its own
// does each, forked from the manager, and ends, or is killed, within max_reading. A shell.
//
// A forked process, not a thread: it can be killed, a fault in it is no fault of the manager, and what a traced worker
// reports to its tracer does not mix with what the manager waits for.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "mod_cppfcgi/manager/crash_text.h"
#include "mod_cppfcgi/manager/loop.h"
#include "shared/fd.h"

namespace cppfcgi {

class StackReader {
 public:
  using Callback = std::function<void(const Stacks& stacks)>;
  static constexpr std::chrono::milliseconds max_reading{1'500};

  static Result<std::unique_ptr<StackReader>> make(Loop& loop);
  ~StackReader();  // ends what still reads; calls nobody
  StackReader(const StackReader&) = delete;
  StackReader& operator=(const StackReader&) = delete;

  // Both call back once, in a later turn of the loop, within max_reading, with what is known by then, and return a
  // number for cancel().
  // A crash: one thread; its frames are at least raw_frames(record). `program` (borrowed until this returns; -1: none)
  // is the file that the worker ran, in case another lies at its path by now.
  std::uint64_t symbolise(const CrashRecord& record, Callback callback, int program = -1);
  // The process goes on afterwards as it did before, stopped if it was stopped.
  std::uint64_t read_threads(pid_t pid, Callback callback);

  // Nobody is called for it any more. Of one that is over it does nothing.
  void cancel(std::uint64_t id);

 private:
  using Work = std::function<void(int program, int out)>;  // in the forked process
  struct Reading {
    std::uint64_t id = 0;
    Work work;
    Callback callback;
    std::chrono::steady_clock::time_point until;
    std::optional<CrashRecord> record;
    Fd program;
    std::string text;
    pid_t pid = 0;
    Fd pidfd;
    Fd out;
    Loop::Watch watch;
  };
  using Place = std::list<Reading>::iterator;

  explicit StackReader(Loop& loop) : loop_(loop) {}
  std::uint64_t add(Reading reading);
  void start_next();
  Result<void> start(Reading& reading);
  void receive(Reading& reading);
  void finish(Place place);
  void end_process(Reading& reading);
  void set_timer();
  void on_timer();
  Place find(std::uint64_t id);

  Loop& loop_;
  std::uint64_t last_id_ = 0;
  Fd timer_;
  Loop::Watch timer_watch_;
  std::list<Reading> readings_;  // oldest first
};

}  // namespace cppfcgi
