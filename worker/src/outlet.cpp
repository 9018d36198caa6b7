#include "worker/src/outlet.h"

#include <sys/socket.h>

#include <cerrno>

namespace cppfcgi {
namespace {

constexpr std::size_t max_kept_bytes = std::size_t{256}
                                       << 10;  // of replies that a web server asks for and does not read

// One part is what small answers are, and send() is the cheaper call.
ssize_t send_once(int fd, std::span<iovec> parts) {
  if (parts.size() == 1) return ::send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

iovec as_part(std::string_view text) { return {const_cast<char*>(text.data()), text.size()}; }

}  // namespace

Outlet::Step Outlet::send_some(std::span<iovec>& parts) {
  while (!parts.empty()) {
    if (is_lost()) return Step::lost;
    const ssize_t sent = send_once(fd_, parts);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == ENOBUFS) return Step::some;
      lose();
      return Step::lost;
    }
    std::size_t left = static_cast<std::size_t>(sent);
    while (!parts.empty() && left >= parts.front().iov_len) {
      left -= parts.front().iov_len;
      parts = parts.subspan(1);
    }
    if (!parts.empty()) {
      parts.front().iov_base = static_cast<char*>(parts.front().iov_base) + left;
      parts.front().iov_len -= left;
    }
  }
  return Step::all;
}

bool Outlet::send(std::span<iovec> parts, Patience& patience) {
  std::unique_lock guard(lock_);
  freed_.wait(guard, [&] { return !is_sending_; });
  // In the usual case all of it goes at once, under the lock.
  Step step = kept_.empty() ? send_some(parts) : Step::some;
  while (step == Step::some || (step == Step::all && !kept_.empty())) {  // kept: also what is posted meanwhile
    is_sending_ = true;
    std::string kept = std::move(kept_);
    kept_.clear();
    guard.unlock();
    iovec kept_part = as_part(kept);
    std::span<iovec> before(&kept_part, kept.empty() ? 0 : 1);
    while ((step = send_some(before)) == Step::some || (step == Step::all && (step = send_some(parts)) == Step::some)) {
      if (!patience.wait_writable()) {
        lose();
        step = Step::lost;
        break;
      }
    }
    guard.lock();
    is_sending_ = false;
  }
  freed_.notify_one();
  return step == Step::all;
}

bool Outlet::post(std::string_view bytes) {
  const std::lock_guard guard(lock_);
  kept_ += bytes;
  if (!is_sending_) send_kept_locked();
  return !is_lost() && kept_.size() <= max_kept_bytes;
}

void Outlet::send_kept() {
  const std::lock_guard guard(lock_);
  if (!is_sending_) send_kept_locked();
}

void Outlet::send_kept_locked() {
  if (kept_.empty()) return;
  iovec part = as_part(kept_);
  std::span<iovec> parts(&part, 1);
  if (send_some(parts) == Step::some) {
    kept_.erase(0, kept_.size() - part.iov_len);
  } else {
    kept_.clear();
  }
}

bool Outlet::wants_writable() {
  const std::lock_guard guard(lock_);
  return !is_sending_ && !kept_.empty();
}

}  // namespace cppfcgi
