// Conversation: one request's bytes on one connection to a worker, both ways at once. Sends what the socket takes,
// waits for what comes, and looks after the client meanwhile: who is gone needs no answer. What the bytes mean is
// Exchange's business. A shell; one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "mod_cppfcgi/core/client_watch.h"
#include "mod_cppfcgi/core/exchange.h"
#include "mod_cppfcgi/core/request_source.h"
#include "shared/fd.h"

namespace cppfcgi {

// A socket to a worker. One that is kept blocks for a short time in recv(), so that a quick answer costs one system
// call.
struct Connection {
  Fd fd;
  bool is_blocking = false;
  bool was_kept = false;  // it has carried a request before
};

// Makes a connection one to keep.
Result<void> make_blocking(Connection& connection);

// Nothing has come in on it, nor has it been closed: a kept connection may carry the next request.
bool is_quiet(const Connection& connection);

// Takes what has come on it and nobody wants, without waiting. True: the worker is through with the request, by
// END_REQUEST or by the connection's end.
bool swallow(const Connection& connection, Exchange& exchange);

class Conversation {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Outcome {
    bytes,        // `bytes` of them
    closed,       // end of file
    reset,        // ECONNRESET, EPIPE and the like: `code`
    timed_out,    // neither took a byte nor sent one for the idle time-out
    out_of_time,  // the whole request has taken too long
    client_gone,  // nobody waits for the answer
    failed,       // our own trouble: error()
    nothing,      // not now (receive_now alone)
  };
  struct Input {
    Outcome outcome = Outcome::failed;
    std::size_t bytes = 0;
    int code = 0;
  };

  // `end`: of the request's time; max(): it may take any.
  Conversation(Connection connection, RequestSource& source, const Exchange::Rules& rules,
               Clock::time_point end = Clock::time_point::max())
      : connection_(std::move(connection)), source_(&source), exchange_(rules), end_(end) {}

  // Waits for bytes from the worker while it sends what is left of the request.
  Input receive(std::span<std::byte> buffer, std::chrono::milliseconds idle_timeout, ClientWatch& client);

  // The same for a thread that must not wait; poll the connection for input, and for output while is_sending().
  Input receive_now(std::span<std::byte> buffer);
  bool is_sending() const { return sent_ < source_->size() && send_code_ == 0; }

  // For the thread that reads on in another's place: the worker's time, less what it waited for us.
  bool is_out_of_time(Clock::time_point now) const { return now >= end_; }
  void extend(Clock::duration waited);

  // Nobody wants the answer: FCGI_ABORT_REQUEST. False: it cannot be said now.
  bool send_abort();
  void end_sending();
  // The same, then swallows what comes until END_REQUEST or the deadline.
  void abort(std::chrono::milliseconds patience);

  Exchange& exchange() { return exchange_; }
  std::uint64_t sent_bytes() const { return sent_; }
  bool has_received() const { return has_received_; }
  const std::string& error() const { return error_; }  // of Outcome::failed
  bool was_kept() const { return connection_.was_kept; }
  Connection& connection() { return connection_; }

 private:
  enum class Wait { ready, timed_out, out_of_time, client_gone };

  Clock::duration time_left() const;
  bool send_some();
  Wait wait(ClientWatch& client);
  std::optional<Input> after_recv(ssize_t got, int code);

  Connection connection_;
  RequestSource* source_;
  Exchange exchange_;
  Clock::time_point end_;
  std::uint64_t sent_ = 0;
  int send_code_ = 0;  // errno of a send that failed; the worker's last words may lie in the socket all the same
  bool has_received_ = false;
  bool has_failed_ = false;
  std::string error_;
  std::optional<Clock::time_point> deadline_;  // of the wait that goes on
};

}  // namespace cppfcgi
