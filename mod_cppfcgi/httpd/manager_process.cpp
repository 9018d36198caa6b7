#include "mod_cppfcgi/httpd/manager_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <vector>

#include "shared/fd.h"

namespace cppfcgi {
namespace {

constexpr int first_given = 3;  // control, directory, load, nudge and orders are 3 … 7 in the manager
constexpr int given_count = 5;
constexpr int report_fd = first_given + given_count;
constexpr int out_of_the_way = 64;
constexpr int exec_deadline_ms = 5'000;

// No signal reaches httpd's own handlers in the child: blocked before fork, reset to their default before they are let
// in.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

// ---- in the child: async-signal-safe calls only ----

void reset_signals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// 0, or errno. Copies first, since any source may lie where another belongs.
int place_descriptors(const ManagerStart& start, int report) {
  const int nothing = open("/dev/null", O_RDWR);
  if (nothing < 0) return errno;
  int sources[] = {start.control, start.directory, start.load, start.nudge, start.orders};
  for (int& source : sources)
    if ((source = fcntl(source, F_DUPFD_CLOEXEC, out_of_the_way)) < 0) return errno;
  const int safe_report = fcntl(report, F_DUPFD_CLOEXEC, out_of_the_way);
  if (safe_report < 0 || dup2(nothing, 0) < 0 || dup2(2, 1) < 0) return errno;
  for (int i = 0; i < given_count; ++i)
    if (dup2(sources[i], first_given + i) < 0) return errno;
  if (dup3(safe_report, report_fd, O_CLOEXEC) < 0) return errno;
  if (close_range(report_fd + 1, ~0U, 0) < 0)
    for (int fd = report_fd + 1; fd < 65'536; ++fd) close(fd);
  return 0;
}

[[noreturn]] void run_manager(const ManagerStart& start, char* const arguments[], int report) {
  setsid();
  reset_signals();
  int error = place_descriptors(start, report);
  if (error == 0) {
    report = report_fd;
    error = become(start.identity);
  }
  if (error == 0 && chdir("/") < 0) error = errno;
  if (error == 0) {
    execve(start.program.c_str(), arguments, environ);
    error = errno;
  }
  // Nobody to tell where even this fails: the parent sees the exit status.
  if (write(report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

// ---- in the parent ----

// What the child says about its exec: 0, or errno.
int wait_for_exec(int report) {
  pollfd waiting{report, POLLIN, 0};
  int ready = 0;
  while ((ready = poll(&waiting, 1, exec_deadline_ms)) < 0 && errno == EINTR) {
  }
  if (ready <= 0) return ETIMEDOUT;
  int error = 0;
  return read(report, &error, sizeof error) == sizeof error ? error : 0;
}

}  // namespace

Result<pid_t> start_manager(const ManagerStart& start) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return posix_error("start " + start.program + ": pipe", errno);
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  std::array<std::string, given_count> numbers;
  for (int i = 0; i < given_count; ++i) numbers[static_cast<std::size_t>(i)] = std::to_string(first_given + i);
  const std::string parent = std::to_string(getpid());
  const std::vector<const char*> arguments = {start.program.c_str(), "--control", numbers[0].c_str(), "--directory",
                                              numbers[1].c_str(),    "--load",    numbers[2].c_str(), "--nudge",
                                              numbers[3].c_str(),    "--orders",  numbers[4].c_str(), "--parent",
                                              parent.c_str(),        nullptr};
  pid_t child = 0;
  {
    const BlockedSignals blocked;
    child = fork();
    if (child == 0) run_manager(start, const_cast<char* const*>(arguments.data()), writer.get());
  }
  if (child < 0) return posix_error("start " + start.program + ": fork", errno);
  writer.reset();
  if (const int error = wait_for_exec(reader.get()); error != 0) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return posix_error("start " + start.program + " as user " + start.identity.user, error);
  }
  return child;
}

}  // namespace cppfcgi
