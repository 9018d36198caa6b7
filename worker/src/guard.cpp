#include "worker/src/guard.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "worker/src/crash_recorder.h"
#include "worker/src/log.h"
#include "worker/src/server.h"
#include "worker/src/signals.h"

namespace cppfcgi {

Result<void> Guard::start() {
  const sigset_t ending = ending_signals();
  signals_.reset(signalfd(-1, &ending, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals_) return posix_error("signalfd", errno);
  wake_.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake_) return posix_error("eventfd", errno);
  thread_ = std::thread([this] { run(); });
  return {};
}

Guard::~Guard() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard guard(lock_);
    is_ending_ = true;
  }
  eventfd_write(wake_.get(), 1);
  thread_.join();
}

void Guard::lend() {
  {
    const std::lock_guard guard(lock_);
    is_wanted_ = true;
  }
  eventfd_write(wake_.get(), 1);
}

void Guard::reclaim() {
  std::unique_lock guard(lock_);
  is_wanted_ = false;
  eventfd_write(wake_.get(), 1);
  changed_.wait(guard, [this] { return !is_running_; });
}

void Guard::run() {
  const AlternateStack stack;
  for (;;) {
    bool is_running = false;
    {
      const std::lock_guard guard(lock_);
      if (is_ending_) return;
      is_running = is_running_ = is_wanted_;
    }
    changed_.notify_all();
    pollfd watched[] = {
        {signals_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}, {is_running ? server_.epoll() : -1, POLLIN, 0}};
    poll(watched, std::size(watched), milliseconds_left());
    eventfd_t ignored = 0;
    if (watched[1].revents != 0) eventfd_read(wake_.get(), &ignored);
    check_signals();
    if (watched[2].revents != 0) server_.turn(0);
  }
}

void Guard::check_signals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (deadline_) continue;  // it is ending already
    deadline_ = std::chrono::steady_clock::now() + grace_;
    server_.begin_stop();
  }
  if (!deadline_ || std::chrono::steady_clock::now() < *deadline_) return;
  log_line("ends with its grace over; requests that were still in work: " + std::to_string(server_.live()));
  _exit(0);
}

int Guard::milliseconds_left() const {
  if (!deadline_) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000));
}

}  // namespace cppfcgi
