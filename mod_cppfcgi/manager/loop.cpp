#include "mod_cppfcgi/manager/loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace cppfcgi {

Result<std::unique_ptr<Loop>> Loop::make() {
  Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return posix_error("epoll_create1", errno);
  return std::unique_ptr<Loop>(new Loop(std::move(epoll)));
}

Result<Loop::Watch> Loop::watch(int fd, std::uint32_t events, Handler handler) {
  const std::uint64_t id = ++last_id_;
  epoll_event event{.events = events, .data = {.u64 = id}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return posix_error("watch a descriptor", errno);
  handlers_.emplace(id, std::make_shared<Handler>(std::move(handler)));
  return Watch(*this, fd, id);
}

void Loop::Watch::reset() {
  Loop* loop = std::exchange(loop_, nullptr);
  if (loop == nullptr) return;
  epoll_ctl(loop->epoll_.get(), EPOLL_CTL_DEL, fd_, nullptr);
  loop->handlers_.erase(id_);
}

void Loop::turn(std::optional<std::chrono::steady_clock::time_point> deadline) {
  int timeout = -1;
  if (deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now());
    timeout = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000));
  }
  std::array<epoll_event, 64> events;
  const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout);
  for (int i = 0; i < count; ++i) {
    // Not there any more: an earlier handler of this turn has ended it.
    const auto found = handlers_.find(events[static_cast<std::size_t>(i)].data.u64);
    if (found == handlers_.end()) continue;
    const std::shared_ptr<Handler> handler = found->second;
    (*handler)(events[static_cast<std::size_t>(i)].events);
  }
}

}  // namespace cppfcgi
