// Outlet: the sending side of one connection. Handlers send whole records and wait while the web server is slow; the
// loop posts short replies and never waits. Records never mix. Any thread may call; the descriptor is borrowed.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

namespace cppfcgi {

class Outlet {
 public:
  // How a handler waits until the socket takes more: false when the connection is lost or its patience is over.
  class Patience {
   public:
    virtual bool wait_writable() = 0;

   protected:
    ~Patience() = default;
  };

  explicit Outlet(int fd) : fd_(fd) {}

  // Sends all of `parts` (which it uses up), waiting as long as it must. False: the connection is lost.
  bool send(std::span<iovec> parts, Patience& patience);

  // Sends what the socket takes at once and keeps the rest for later. False: too much is kept, or the connection is
  // lost.
  bool post(std::string_view bytes);
  // Tries to send what is kept.
  void send_kept();
  // Bytes are kept that only a writable socket can bring forward.
  bool wants_writable();

  // The connection cannot be used any more; sends fail from now on.
  void lose() { is_lost_.store(true, std::memory_order_relaxed); }
  bool is_lost() const { return is_lost_.load(std::memory_order_relaxed); }

 private:
  enum class Step { all, some, lost };
  Step send_some(std::span<iovec>& parts);
  void send_kept_locked();

  const int fd_;
  std::mutex lock_;
  std::condition_variable freed_;
  bool is_sending_ = false;  // a handler is inside send(): nobody else may touch the socket
  std::string kept_;
  std::atomic<bool> is_lost_{false};
};

}  // namespace cppfcgi
