#include "mod_cppfcgi/manager/traced_process.h"

#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

namespace cppfcgi {
namespace {

constexpr std::chrono::milliseconds stops_take_at_most{300};
constexpr std::size_t max_threads = 512;
constexpr int max_rounds = 5;  // in which threads may have been born

using Clock = std::chrono::steady_clock;

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string state_name(char letter) {
  switch (letter) {
    case 'R':
      return "running";
    case 'S':
      return "sleeping";
    case 'D':
      return "inside the kernel";
    case 'T':
      return "stopped";
    case 't':
      return "traced";
    case 'Z':
    case 'X':
      return "dead";
    default:
      return {letter};
  }
}

std::string state_of(const std::string& folder) {
  const std::string stat = read_line(folder + "/stat");
  const std::size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= stat.size() ? "" : state_name(stat[name_end + 2]);
}

Error refusal(pid_t pid, int code) {
  Error error = posix_error(fmt::format("trace process {}", pid), code);
  if (code != EPERM) return error;
  const std::string scope = read_line("/proc/sys/kernel/yama/ptrace_scope");
  if (!scope.empty() && scope != "0") error.what += " (kernel.yama.ptrace_scope is " + scope + ")";
  error.what += "; another debugger may be there, or the right to ptrace (CAP_SYS_PTRACE) be missing";
  return error;
}

}  // namespace

Result<std::unique_ptr<TracedProcess>> TracedProcess::hold(pid_t pid) {
  // A stop of a thread that is traced is told by SIGCHLD, which must wait for sigtimedwait.
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, nullptr);
  std::unique_ptr<TracedProcess> process(new TracedProcess(pid));
  for (int round = 0; round < max_rounds; ++round) {
    const auto has_new = process->seize_new();
    if (!has_new) return has_new.error();
    if (!*has_new) break;
    process->await_stops();
  }
  return process;
}

TracedProcess::~TracedProcess() {
  for (const Thread& thread : threads_) {
    // One that has not stopped cannot be let go of: the kernel does it when this process ends.
    if (thread.is_held) ptrace(PTRACE_DETACH, thread.id, nullptr, static_cast<long>(thread.signal));
  }
}

// True: there were some.
Result<bool> TracedProcess::seize_new() {
  const std::string folder = fmt::format("/proc/{}/task", pid_);
  std::error_code gone;
  bool has_new = false;
  for (const auto& entry : std::filesystem::directory_iterator(folder, gone)) {
    const pid_t id = std::atoi(entry.path().filename().c_str());
    const bool is_known =
        std::any_of(threads_.begin(), threads_.end(), [id](const Thread& thread) { return thread.id == id; });
    if (is_known || threads_.size() == max_threads) continue;
    const std::string state = state_of(entry.path());
    if (ptrace(PTRACE_SEIZE, id, nullptr, nullptr) < 0) {
      if (errno == ESRCH) continue;  // it has ended
      if (threads_.empty()) return refusal(pid_, errno);
      continue;
    }
    threads_.push_back({.id = id, .name = read_line(entry.path() / "comm"), .state = state});
    ptrace(PTRACE_INTERRUPT, id, nullptr, nullptr);
    has_new = true;
  }
  if (threads_.empty()) return posix_error(fmt::format("trace process {}", pid_), ESRCH);
  return has_new;
}

void TracedProcess::await_stops() {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  const auto until = Clock::now() + stops_take_at_most;
  for (;;) {
    bool all = true;
    for (Thread& thread : threads_) {
      if (!thread.is_held && !take_stop(thread)) all = false;
    }
    const auto left = std::chrono::nanoseconds(until - Clock::now());
    if (all || left.count() <= 0) return;
    const timespec wait{.tv_sec = 0, .tv_nsec = std::min<long>(left.count(), 999'999'999)};
    sigtimedwait(&child, nullptr, &wait);
  }
}

bool TracedProcess::take_stop(Thread& thread) {
  int status = 0;
  if (waitpid(thread.id, &status, __WALL | WNOHANG) != thread.id || !WIFSTOPPED(status)) return false;
  thread.is_held = true;
  const bool is_event = status >> 16 != 0;
  if (!is_event) thread.signal = WSTOPSIG(status);
  return true;
}

}  // namespace cppfcgi
