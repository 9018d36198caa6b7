#include "mod_cppfcgi/manager/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "mod_cppfcgi/manager/process.h"

namespace cppfcgi {
namespace {

constexpr std::size_t read_bytes = 16'384;
constexpr int last_reads = 64;  // of what an ended worker has printed: a pipe holds less, unless somebody still writes

std::string ending_of(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return fmt::format("exit {}", info.si_status);
  const char* name = sigabbrev_np(info.si_status);
  return fmt::format("killed by signal {}{}{}", info.si_status, name != nullptr ? " SIG" : "",
                     name != nullptr ? name : "");
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1'000'000;
}

std::string usage_text(const rusage& usage) {
  return fmt::format("used {:.2f} s of CPU ({:.2f} s of it in the kernel), at most {:.1f} MiB of memory",
                     seconds(usage.ru_utime) + seconds(usage.ru_stime), seconds(usage.ru_stime),
                     static_cast<double>(usage.ru_maxrss) / 1'024);
}

// The reading end of what an adopted worker writes to; the old manager's is gone. Empty where we may not.
Fd reopen_pipe(pid_t pid, int number) {
  const std::string path = fmt::format("/proc/{}/fd/{}", pid, number);
  std::array<char, 16> target{};
  if (readlink(path.c_str(), target.data(), target.size()) < 0) return {};
  if (std::strncmp(target.data(), "pipe:", 5) != 0) return {};
  return Fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

// Only our library keeps it, and sets it like this. What else a program may have there is no business of ours.
bool is_notify_pipe(pid_t pid) {
  const Fd file(open(fmt::format("/proc/{}/fdinfo/{}", pid, notify_fd).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> text{};
  if (!file || read(file.get(), text.data(), text.size() - 1) <= 0) return false;
  const char* const flags = std::strstr(text.data(), "flags:");
  if (flags == nullptr) return false;
  constexpr unsigned long expected = O_WRONLY | O_NONBLOCK | O_CLOEXEC;
  return (std::strtoul(flags + 6, nullptr, 8) & (O_ACCMODE | O_NONBLOCK | O_CLOEXEC)) == expected;
}

}  // namespace

Result<std::unique_ptr<Worker>> Worker::start(Loop& loop, const SpawnOrder& order, Callbacks callbacks) {
  auto spawned = spawn(order);
  if (!spawned) return spawned.error();
  std::unique_ptr<Worker> worker(new Worker(spawned->pid, std::move(callbacks)));
  worker->process_ = *std::move(spawned);
  worker->out_.fd = std::move(worker->process_.out);
  worker->err_.fd = std::move(worker->process_.err);
  worker->is_ours_ = true;
  if (const auto stat = read_process(worker->pid_)) worker->start_time_ = stat->start_time;
  if (auto watched = worker->watch(loop); !watched) {
    worker->process_.launch.reset();
    waitpid(worker->pid_, nullptr, 0);  // it has not been launched, so it ends at once
    return watched.error();
  }
  return worker;
}

Result<std::unique_ptr<Worker>> Worker::adopt(Loop& loop, pid_t pid, std::uint64_t start_time, Callbacks callbacks) {
  Fd pidfd = open_pidfd(pid);
  const auto stat = read_process(pid);
  if (!pidfd || has_ended(pidfd) || !stat || stat->start_time != start_time) {
    return posix_error(fmt::format("worker with pid {}", pid), ESRCH);
  }
  std::unique_ptr<Worker> worker(new Worker(pid, std::move(callbacks)));
  worker->start_time_ = start_time;
  worker->process_.pidfd = std::move(pidfd);
  worker->out_.fd = reopen_pipe(pid, STDOUT_FILENO);
  worker->err_.fd = reopen_pipe(pid, STDERR_FILENO);
  if (is_notify_pipe(pid)) worker->process_.notify = reopen_pipe(pid, notify_fd);
  if (auto watched = worker->watch(loop); !watched) return watched.error();
  return worker;
}

Result<void> Worker::watch(Loop& loop) {
  auto watching = loop.watch(process_.pidfd.get(), EPOLLIN, [this](std::uint32_t) { exit(); });
  if (!watching) return watching.error();
  exit_watch_ = *std::move(watching);
  if (process_.notify) {
    watching = loop.watch(process_.notify.get(), EPOLLIN, [this](std::uint32_t) { read_notes(); });
    if (!watching) return watching.error();
    notify_watch_ = *std::move(watching);
  }
  for (Output* output : {&out_, &err_}) {
    if (!output->fd) continue;
    watching = loop.watch(output->fd.get(), EPOLLIN, [this, output](std::uint32_t) {
      if (!read_output(*output)) finish_output(*output);
    });
    if (!watching) return watching.error();
    output->watch = *std::move(watching);
  }
  return {};
}

void Worker::launch() { cppfcgi::launch(process_); }

void Worker::terminate() { send_signal(process_.pidfd, SIGTERM); }

void Worker::kill() {
  send_group_signal(process_.pidfd, SIGKILL, is_ours_ ? std::optional(pid_) : std::nullopt);
  send_signal(process_.pidfd, SIGKILL);  // also if it has left its group
}

bool Worker::is_ending() const {
  const auto stat = read_process(pid_);
  return !stat || stat->is_ending || has_ended(process_.pidfd);
}

void Worker::exit() {
  exit_watch_.reset();
  notify_watch_.reset();
  // Before it is reaped: until then nobody else can have its number.
  send_group_signal(process_.pidfd, SIGKILL, is_ours_ ? std::optional(pid_) : std::nullopt);
  end_ = take_end();
  if (const std::string failure = launch_failure(process_.launch); !failure.empty()) end_.text = failure;
  for (int i = 0; i < last_reads && read_notes(); ++i) {
  }
  end_.record = notes_.record();
  for (Output* output : {&out_, &err_}) {
    for (int i = 0; i < last_reads && read_output(*output); ++i) {
    }
    finish_output(*output);
  }
  const auto exited = callbacks_.exited;  // ours may end with us
  exited();
}

// Reaps it.
Worker::End Worker::take_end() {
  if (!is_ours_) {
    return {.text = "ended; an earlier manager was its parent, so nobody knows how", .is_known = false};
  }
  siginfo_t info{};
  rusage usage{};  // which the library's waitid() does not give
  if (syscall(SYS_waitid, P_PIDFD, process_.pidfd.get(), &info, WEXITED, &usage) < 0) {
    return {.text = posix_error("waitid", errno).what};
  }
  const bool is_killed = info.si_code != CLD_EXITED;
  return {.text = ending_of(info),
          .is_failure = is_killed || info.si_status != 0,
          .signal = is_killed ? info.si_status : 0,
          .usage = usage_text(usage)};
}

// A piece of them. False: there is no more now.
bool Worker::read_notes() {
  if (!process_.notify) return false;
  std::array<char, read_bytes> bytes;
  const ssize_t got = read(process_.notify.get(), bytes.data(), bytes.size());
  if (got < 0) return false;
  if (got == 0) {
    notify_watch_.reset();
    process_.notify.reset();
    return false;
  }
  const bool was_ready = notes_.is_ready();
  notes_.feed({bytes.data(), static_cast<std::size_t>(got)});
  if (was_ready || !notes_.is_ready() || !notify_watch_) return true;
  const auto notified = callbacks_.notified;
  notified();
  return true;
}

// A bounded piece, so that one that floods does not keep the others waiting. False: there is no more now.
bool Worker::read_output(Output& output) {
  if (!output.fd) return false;
  std::array<char, read_bytes> bytes;
  const ssize_t got = read(output.fd.get(), bytes.data(), bytes.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return static_cast<bool>(exit_watch_);  // ended: no more comes
  if (got <= 0) return false;
  output.lines.feed({bytes.data(), static_cast<std::size_t>(got)}, callbacks_.printed);
  return true;
}

void Worker::finish_output(Output& output) {
  output.lines.finish(callbacks_.printed);
  output.watch.reset();
  output.fd.reset();
}

}  // namespace cppfcgi
