#include "mod_cppfcgi/manager/worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
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

// The reading end of what an adopted worker prints to; the old manager's is gone. Empty where we may not.
Fd reopen_output(pid_t pid, int number) {
  const std::string path = fmt::format("/proc/{}/fd/{}", pid, number);
  std::array<char, 16> target{};
  if (readlink(path.c_str(), target.data(), target.size()) < 0) return {};
  if (std::strncmp(target.data(), "pipe:", 5) != 0) return {};
  return Fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
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
  worker->out_.fd = reopen_output(pid, STDOUT_FILENO);
  worker->err_.fd = reopen_output(pid, STDERR_FILENO);
  if (auto watched = worker->watch(loop); !watched) return watched.error();
  return worker;
}

Result<void> Worker::watch(Loop& loop) {
  auto watching = loop.watch(process_.pidfd.get(), EPOLLIN, [this](std::uint32_t) { exit(); });
  if (!watching) return watching.error();
  exit_watch_ = *std::move(watching);
  if (process_.notify) {
    watching = loop.watch(process_.notify.get(), EPOLLIN, [this](std::uint32_t) { be_notified(); });
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
  siginfo_t info{};
  if (!is_ours_) {
    end_ = {"ended; an earlier manager was its parent, so nobody knows how", true, 0, false};
  } else if (waitid(P_PIDFD, static_cast<id_t>(process_.pidfd.get()), &info, WEXITED) < 0) {
    end_ = {posix_error("waitid", errno).what, true};
  } else {
    const bool is_killed = info.si_code != CLD_EXITED;
    end_ = {ending_of(info), is_killed || info.si_status != 0, is_killed ? info.si_status : 0};
  }
  if (const std::string failure = launch_failure(process_.launch); !failure.empty()) end_.text = failure;
  for (Output* output : {&out_, &err_}) {
    for (int i = 0; i < last_reads && read_output(*output); ++i) {
    }
    finish_output(*output);
  }
  const auto exited = callbacks_.exited;  // ours may end with us
  exited();
}

void Worker::be_notified() {
  char byte = 0;
  const ssize_t got = read(process_.notify.get(), &byte, 1);
  if (got < 0) return;
  notify_watch_.reset();
  process_.notify.reset();
  if (got == 0) return;  // closed without a word: a program that does not know of it
  const auto notified = callbacks_.notified;
  notified();
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
