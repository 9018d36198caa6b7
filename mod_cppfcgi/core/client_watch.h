// ClientWatch: is the client still there? Asked while a request waits, since nobody needs an answer to a client that is
// gone. A client that has closed its sending half alone may still want its answer, and looks the same as one that has
// closed everything: it gets a moment's grace, so that whoever half-closes gets quick answers. Makes one system call,
// poll.
#pragma once

#include <poll.h>

#include <chrono>
#include <optional>

namespace cppfcgi {

class ClientWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // `socket`: the client's connection, or -1 where it is no socket of this request's alone (HTTP/2); `is_aborted` is
  // asked as well.
  ClientWatch(int socket, bool (*is_aborted)(const void* context), const void* context)
      : socket_(socket), is_aborted_(is_aborted), context_(context) {}

  // For those who poll anyway: what to poll for, until when at the latest, and what the result means.
  pollfd wanted() const;
  Clock::time_point look_again(Clock::time_point now) const;
  bool is_gone(short happened, Clock::time_point now);

  // For those who do not.
  bool is_gone_now();

 private:
  int socket_;
  bool (*is_aborted_)(const void* context);
  const void* context_;
  std::optional<Clock::time_point> half_closed_;
};

}  // namespace cppfcgi
