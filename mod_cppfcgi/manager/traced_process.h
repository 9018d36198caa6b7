// TracedProcess: holds all threads of another process still for a moment, by ptrace, and lets them go as they were:
// what ran runs on, what was stopped stays stopped, and no signal is lost or added. For a process that does nothing
// else: it waits for all its children. A shell.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "shared/result.h"

namespace cppfcgi {

class TracedProcess {
 public:
  struct Thread {
    pid_t id = 0;
    std::string name;
    std::string state;     // what it did before: "running", "sleeping" …
    bool is_held = false;  // it has stopped; one inside the kernel for good never does
    int signal = 0;        // that it was about to receive
  };

  // Waits a moment for all to stop; the error says what the kernel or its settings forbid.
  static Result<std::unique_ptr<TracedProcess>> hold(pid_t pid);
  ~TracedProcess();
  TracedProcess(const TracedProcess&) = delete;
  TracedProcess& operator=(const TracedProcess&) = delete;

  const std::vector<Thread>& threads() const { return threads_; }

 private:
  explicit TracedProcess(pid_t pid) : pid_(pid) {}
  Result<bool> seize_new();
  void await_stops();
  bool take_stop(Thread& thread);

  pid_t pid_;
  std::vector<Thread> threads_;
};

}  // namespace cppfcgi
