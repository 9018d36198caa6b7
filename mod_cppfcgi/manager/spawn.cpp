#include "mod_cppfcgi/manager/spawn.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "mod_cppfcgi/manager/process.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

namespace cppfcgi {
namespace {

constexpr rlim_t cpu_grace_seconds = 5;  // from SIGXCPU to SIGKILL

// What setrlimit() is called with.
struct Limit {
  __rlimit_resource resource = RLIMIT_NOFILE;
  rlimit value{};
};
struct Limits {
  std::array<Limit, 4> all{};
  std::size_t count = 0;

  void add(__rlimit_resource resource, rlim_t soft, rlim_t hard) { all[count++] = {resource, {soft, hard}}; }
};

// All that the new process needs, laid out before the fork.
struct Prepared {
  const char* program;
  int kept;  // the descriptor that a script is read from, or -1
  const char* folder;
  char* const* argv;
  char* const* envp;
  int priority;
  bool ends_with_us;
  std::array<int, 4> descriptors;  // become 0, 1, 2 and 3
  int launch;                      // the new process' end
  int launch_of_manager;
  std::optional<mode_t> umask;
  Limits limits;
};

// ---- The steps: each returns 0 or an errno value. Async-signal-safe calls only, no allocation. ----

// Without the word of a living manager, which has recorded it by then, it must not become a worker.
int wait_for_launch(const Prepared& plan) {
  close(plan.launch_of_manager);
  if (plan.ends_with_us && prctl(PR_SET_PDEATHSIG, SIGTERM) < 0) return errno;
  char go = 0;
  ssize_t got = 0;
  do got = read(plan.launch, &go, 1);
  while (got < 0 && errno == EINTR);
  if (got != 1) _exit(0);
  return 0;
}

// A group of its own, so that what it starts can be ended with it, and no terminal.
int leave_session(const Prepared&) { return setsid() < 0 ? errno : 0; }

int place_descriptors(const Prepared& plan) {
  // The sources may themselves be 0 … 3: first out of the way.
  std::array<int, 4> high{};
  for (std::size_t i = 0; i < high.size(); ++i) {
    high[i] = fcntl(plan.descriptors[i], F_DUPFD_CLOEXEC, 16);
    if (high[i] < 0) return errno;
  }
  for (std::size_t i = 0; i < high.size(); ++i) {
    if (plan.launch == static_cast<int>(i)) return EBADF;  // the manager keeps 0 … 3 taken
    if (dup2(high[i], static_cast<int>(i)) < 0) return errno;
  }
  // Whatever else is open here by mistake ends at exec; what we opened ourselves does anyway, where the kernel is too
  // old.
  syscall(SYS_close_range, notify_fd + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  return 0;
}

int lower_priority(const Prepared& plan) {
  return plan.priority != 0 && setpriority(PRIO_PROCESS, 0, plan.priority) < 0 ? errno : 0;
}

int set_limits(const Prepared& plan) {
  for (std::size_t i = 0; i < plan.limits.count; ++i) {
    if (setrlimit(plan.limits.all[i].resource, &plan.limits.all[i].value) < 0) return errno;
  }
  return 0;
}

int set_umask(const Prepared& plan) {
  if (plan.umask) umask(*plan.umask);
  return 0;
}

// CGI programs are used to it (RFC 3875, 7.2), and relative paths have to mean something.
int enter_folder(const Prepared& plan) { return chdir(plan.folder) < 0 ? errno : 0; }

// Last, so that a signal meant for the worker does not meet a half-made process with its defaults.
int reset_signals(const Prepared&) {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &standard, nullptr);  // fails for SIGKILL and SIGSTOP
  sigset_t none;
  sigemptyset(&none);
  return sigprocmask(SIG_SETMASK, &none, nullptr) < 0 ? errno : 0;
}

int run_program(const Prepared& plan) {
  if (plan.kept >= 0 && fcntl(plan.kept, F_SETFD, 0) < 0) return errno;
  execve(plan.program, plan.argv, plan.envp);
  return errno;
}

struct Step {
  const char* name;
  int (*act)(const Prepared& plan);
};
constexpr std::array<Step, 9> steps = {{{"wait for the manager", wait_for_launch},
                                        {"setsid", leave_session},
                                        {"place descriptors", place_descriptors},
                                        {"set the priority", lower_priority},
                                        {"set the umask", set_umask},
                                        {"set the limits (-rlimit-...)", set_limits},
                                        {"enter the folder it starts in", enter_folder},
                                        {"reset signals", reset_signals},
                                        {"exec", run_program}}};

struct Failure {
  std::int32_t step = 0;
  std::int32_t code = 0;
};

[[noreturn]] void become_worker(const Prepared& plan) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const int code = steps[i].act(plan);
    if (code == 0) continue;
    const Failure failure{static_cast<std::int32_t>(i), code};
    [[maybe_unused]] const ssize_t told = send(plan.launch, &failure, sizeof failure, MSG_NOSIGNAL);
    _exit(127);
  }
  _exit(127);
}

// ---- The manager's side ----

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

struct Pair {
  Fd ours;
  Fd theirs;
};

Result<Pair> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return posix_error("pipe", errno);
  Pair pair{Fd(ends[0]), Fd(ends[1])};
  if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) return posix_error("pipe", errno);
  return pair;
}

// Of open files the manager has raised its own limit, which no worker shall inherit.
Result<Limits> limits_of(const SpawnOrder& order) {
  Limits limits;
  rlimit open_files{};
  if (getrlimit(RLIMIT_NOFILE, &open_files) < 0) return posix_error("getrlimit", errno);
  const WorkerLimits& wanted = order.limits;
  if (wanted.open_files) {
    limits.add(RLIMIT_NOFILE, *wanted.open_files, *wanted.open_files);
  } else {
    limits.add(RLIMIT_NOFILE, std::min<rlim_t>(open_files.rlim_max, order.open_files), open_files.rlim_max);
  }
  if (const auto bytes = wanted.address_space_bytes) limits.add(RLIMIT_AS, *bytes, *bytes);
  if (const auto seconds = wanted.cpu_seconds) {
    rlimit cpu{};
    if (getrlimit(RLIMIT_CPU, &cpu) < 0) return posix_error("getrlimit", errno);
    limits.add(RLIMIT_CPU, *seconds, std::min<rlim_t>(cpu.rlim_max, *seconds + cpu_grace_seconds));
  }
  if (const auto bytes = wanted.core_bytes) {
    const rlim_t most = *bytes == no_limit ? RLIM_INFINITY : *bytes;
    limits.add(RLIMIT_CORE, most, most);
  }
  return limits;
}

Result<Pair> make_launch_pair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return posix_error("socketpair", errno);
  return Pair{Fd(ends[0]), Fd(ends[1])};
}

}  // namespace

Result<Spawned> spawn(const SpawnOrder& order) {
  auto out = make_pipe();
  if (!out) return out.error();
  auto err = make_pipe();
  if (!err) return err.error();
  auto notify = make_pipe();
  if (!notify) return notify.error();
  auto launch_pair = make_launch_pair();
  if (!launch_pair) return launch_pair.error();

  std::vector<std::string> arguments = order.arguments;
  arguments.insert(arguments.begin(), order.program);
  std::vector<std::string> environment = order.environment;
  environment.push_back("CPPFCGI_NOTIFY_FD=" + std::to_string(notify_fd));
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(environment);
  const std::string folder =
      order.folder.empty() ? order.program.substr(0, order.program.rfind('/') + 1) : order.folder;
  const auto limits = limits_of(order);
  if (!limits) return limits.error();

  const std::string file = order.pinned < 0 ? order.program : "/proc/self/fd/" + std::to_string(order.pinned);

  const Prepared plan{.program = file.c_str(),
                      .kept = order.is_script ? order.pinned : -1,
                      .folder = folder.c_str(),
                      .argv = argv.data(),
                      .envp = envp.data(),
                      .priority = order.priority,
                      .ends_with_us = order.ends_with_us,
                      .descriptors = {order.listener, out->theirs.get(), err->theirs.get(), notify->theirs.get()},
                      .launch = launch_pair->theirs.get(),
                      .launch_of_manager = launch_pair->ours.get(),
                      .umask = order.umask,
                      .limits = *limits};
  const pid_t pid = fork();
  if (pid < 0) return posix_error("fork", errno);
  if (pid == 0) become_worker(plan);

  Spawned spawned{.pid = pid,
                  .pidfd = open_pidfd(pid),
                  .out = std::move(out->ours),
                  .err = std::move(err->ours),
                  .notify = std::move(notify->ours),
                  .launch = std::move(launch_pair->ours)};
  if (!spawned.pidfd) {
    const Error error = posix_error("pidfd_open", errno);
    spawned.launch.reset();  // so that it ends by itself
    waitpid(pid, nullptr, 0);
    return error;
  }
  return spawned;
}

void launch(const Spawned& spawned) {
  [[maybe_unused]] const ssize_t told = send(spawned.launch.get(), "g", 1, MSG_NOSIGNAL);
}

std::string launch_failure(const Fd& launch) {
  Failure failure;
  if (recv(launch.get(), &failure, sizeof failure, MSG_DONTWAIT) != sizeof failure) return "";
  const auto step = static_cast<std::size_t>(failure.step);
  return posix_error(step < steps.size() ? steps[step].name : "?", failure.code).what;
}

}  // namespace cppfcgi
