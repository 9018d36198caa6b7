// ThreadShare: which part of an httpd child's threads may wait for workers. httpd's children share no threads: one
// whose threads all wait serves nothing else, not even a file on a connection that it has kept, whatever the other
// children do. So the requests of one pool may wait here only while they are less than three times as many as the
// child's threads that are free of us: one slow pool gets three quarters of the threads at most, two get three sevenths
// each, and one is left however many are slow. Where the operator grants more than that of the whole server's threads,
// likewise in proportion. Any thread may call; pure.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "shared/scoreboard.h"

namespace cppfcgi {

class ThreadShare {
  using Count = std::atomic<std::uint32_t>;
  // One more for as long as it lives.
  class Counted {
   public:
    Counted() = default;
    explicit Counted(Count& count) : count_(&count) { before_ = count.fetch_add(1, std::memory_order_relaxed); }
    Counted(Counted&& other) noexcept : count_(std::exchange(other.count_, nullptr)), before_(other.before_) {}
    Counted& operator=(Counted&&) = delete;
    ~Counted() {
      if (count_ != nullptr) count_->fetch_sub(1, std::memory_order_relaxed);
    }
    std::uint32_t before() const { return before_; }

   private:
    Count* count_ = nullptr;
    std::uint32_t before_ = 0;
  };

 public:
  ThreadShare(std::uint32_t threads, std::uint32_t threads_in_server)
      : threads_(threads), threads_in_server_(std::max(threads, threads_in_server)) {}

  // A thread is at a request that a worker has taken, until this ends.
  using Held = Counted;
  Held hold() { return Held(held_); }

  // A request of this pool wants to wait, and may if this is true; it counts until the object ends. `granted`: threads
  // of the whole server that the pool's waiting requests may hold. `is_short`: not for long, and so in any case.
  class Waiting {
   public:
    static Waiting any() { return {}; }
    explicit operator bool() const { return may_; }

   private:
    friend ThreadShare;
    Waiting() = default;
    Waiting(Counted of_pool, Counted held, bool may)
        : of_pool_(std::move(of_pool)), held_(std::move(held)), may_(may) {}
    Counted of_pool_;
    Counted held_;
    bool may_ = true;
  };
  Waiting wait(std::uint32_t pool, std::uint32_t granted, bool is_short = false) {
    Counted of_pool(waiting_[pool]);
    Counted held(held_);
    if (!is_short && !is_left(of_pool.before(), held.before(), granted)) return Waiting(Counted(), Counted(), false);
    return Waiting(std::move(of_pool), std::move(held), true);
  }

  std::uint32_t threads_in_server() const { return threads_in_server_; }

 private:
  // Whether one more may wait where so many wait and all requests together hold so many threads.
  bool is_left(std::uint32_t waiting, std::uint32_t held, std::uint32_t granted) const {
    // A process of one thread has nobody to leave it to (prefork).
    if (threads_ <= 1 || granted >= threads_in_server_) return true;
    if (held + 1 >= threads_) return false;
    const std::uint64_t least = std::uint64_t{3} * threads_in_server_ / 4;
    const std::uint64_t ours = std::max<std::uint64_t>(granted, least), others = threads_in_server_ - ours;
    return waiting * others < (threads_ - held) * ours;
  }

  const std::uint32_t threads_;
  const std::uint32_t threads_in_server_;
  Count held_{0};
  std::array<Count, max_pools> waiting_{};
};

}  // namespace cppfcgi
