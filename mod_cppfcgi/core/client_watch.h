// ClientWatch: is the client still there? Asked while a request waits, since nobody needs an answer to a client that is
// gone. A client that has closed its sending half alone may still want its answer, and looks the same as one that has
// closed everything: it gets a moment's grace, so that whoever half-closes gets quick answers. Makes one system call,
// poll.
#pragma once

#include <poll.h>

#include <chrono>
#include <optional>

namespace cppfcgi {

// What still waits for the client to take it.
class PendingOutput {
 public:
  virtual bool is_pending() const = 0;
  virtual void write_on() = 0;  // as much as the client's socket takes

 protected:
  ~PendingOutput() = default;
};

class ClientWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // `socket`: the client's connection, or -1 where it is no socket of this request's alone (HTTP/2); `is_aborted` is
  // asked as well. `output`: whoever waits writes on meanwhile; nullptr: there never is any.
  ClientWatch(int socket, bool (*is_aborted)(const void* context), const void* context, PendingOutput* output = nullptr)
      : socket_(socket), is_aborted_(is_aborted), context_(context), output_(output) {}

  // For those who poll anyway: what to poll for, until when at the latest, and what the result means.
  pollfd wanted() const;
  Clock::time_point look_again(Clock::time_point now) const;
  bool is_gone(short happened, Clock::time_point now);

  bool has_output() const { return output_ != nullptr && output_->is_pending(); }

  // For those who do not.
  bool is_gone_now();

 private:
  int socket_;
  bool (*is_aborted_)(const void* context);
  const void* context_;
  PendingOutput* output_;
  std::optional<Clock::time_point> half_closed_;
};

}  // namespace cppfcgi
