// Loop: waits for descriptors, calls who watches them. One thread. A shell around epoll; decides nothing. Without a
// deadline and an event it makes no system call.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class Loop {
 public:
  using Handler = std::function<void(std::uint32_t events)>;  // EPOLLIN, EPOLLHUP, …

  // Watches until it is destroyed or reset. Declare it after its descriptor, so that it ends first. May end in its own
  // handler.
  class Watch {
   public:
    Watch() = default;
    Watch(Loop& loop, int fd, std::uint64_t id) : loop_(&loop), fd_(fd), id_(id) {}
    Watch(Watch&& other) noexcept : loop_(std::exchange(other.loop_, nullptr)), fd_(other.fd_), id_(other.id_) {}
    Watch& operator=(Watch&& other) noexcept {
      reset();
      loop_ = std::exchange(other.loop_, nullptr);
      fd_ = other.fd_;
      id_ = other.id_;
      return *this;
    }
    ~Watch() { reset(); }
    void reset();
    explicit operator bool() const { return loop_ != nullptr; }

   private:
    Loop* loop_ = nullptr;
    int fd_ = -1;
    std::uint64_t id_ = 0;
  };

  static Result<std::unique_ptr<Loop>> make();

  Result<Watch> watch(int fd, std::uint32_t events, Handler handler);

  // Waits for events, at most until the deadline, and handles those that are there.
  void turn(std::optional<std::chrono::steady_clock::time_point> deadline);

 private:
  explicit Loop(Fd epoll) : epoll_(std::move(epoll)) {}

  Fd epoll_;
  std::uint64_t last_id_ = 0;
  std::unordered_map<std::uint64_t, std::shared_ptr<Handler>> handlers_;  // shared: a handler may end its own watch
};

}  // namespace cppfcgi
