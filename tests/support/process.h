// Process: a child process of the test, ended at the latest by the destructor. And what /proc tells about processes, so
// that a test can say that none was left behind: the test process becomes the reaper of all its orphaned descendants
// (daemons included).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/wait.h"

namespace cppfcgi::test {

struct Spawn {
  std::vector<std::string> command;      // [0]: the program, looked up in PATH where it has no slash
  std::vector<std::string> environment;  // "NAME=value", beyond the test's own (or instead of it)
  bool has_clean_environment = false;
  int stdin_fd = -1;        // becomes fd 0 (a listening socket, say); -1: /dev/null
  std::string stdout_file;  // appended to; "": /dev/null
  std::string stderr_file;  // likewise; may be the same
  std::string folder;       // working folder; "": the test's
  std::string user;         // become this user (and its group), where the test runs as root
  std::string preload;      // LD_PRELOAD
};

class Process {
 public:
  Process() = default;
  explicit Process(const Spawn& spawn);  // throws where it cannot be started
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();  // kill -9 where it still runs

  pid_t pid() const { return pid_; }
  explicit operator bool() const { return pid_ > 0; }
  bool is_running();
  void signal(int number) const;
  // The wait status (as waitpid gives it) once it has ended; nullopt at the deadline.
  std::optional<int> wait(Milliseconds within = Milliseconds(10'000));
  void kill();  // -9, and waits for it

 private:
  pid_t pid_ = 0;
  std::optional<int> status_;
};

// Runs a program to its end. Output is stdout and stderr together. Throws at the deadline.
struct RunResult {
  int status = 0;  // exit status; 128 + signal where one ended it
  std::string output;
};
RunResult run(const std::vector<std::string>& command, Milliseconds within = Milliseconds(30'000),
              const std::vector<std::string>& environment = {});

// A process as told from a later one with the same pid.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
  friend bool operator<(const ProcessId& a, const ProcessId& b) {
    return std::pair(a.pid, a.start_time) < std::pair(b.pid, b.start_time);
  }
};
std::optional<ProcessId> process_id(pid_t pid);
bool is_alive(const ProcessId& process);  // a zombie is not
std::string command_line(pid_t pid);      // for messages
std::vector<pid_t> children_of(pid_t pid);
std::vector<pid_t> descendants_of(pid_t pid);
std::size_t resident_bytes(pid_t pid);  // VmRSS; 0 where it is gone
std::size_t open_descriptors(pid_t pid);
std::string executable_of(pid_t pid);  // "" where it is gone

// Orphans that became our children although no Process started them: daemons, and workers whose manager died. Reaps the
// dead ones.
std::vector<pid_t> adopted_orphans();

// A port on 127.0.0.1 where nobody listens now, outside the range that outgoing connections take theirs from.
int free_port();

// True while the server at this port of 127.0.0.1 has connections that its clients have closed and it has not
// (CLOSE_WAIT).
bool has_connections_to_close(int port);

// True while no thread of the process runs or could.
bool is_at_rest(pid_t pid);

}  // namespace cppfcgi::test
