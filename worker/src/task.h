// Task: one request in the worker, from its first record to its last: the Request and Response that its handler sees,
// and their way to the connection. The server keeps tasks and uses them again, so that a warm worker allocates nothing
// for a request.
#pragma once

#include <cppfcgi/worker.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "shared/record.h"
#include "worker/src/access.h"
#include "worker/src/connection.h"

namespace cppfcgi {

class Task final : private detail::StopSeam, private detail::ResponseSink, private Outlet::Patience {
 public:
  explicit Task(Server& server);
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  // ---- the loop's side, under the connection's lock ----
  void begin(const std::shared_ptr<Connection>& connection, std::size_t slot, std::uint16_t id);
  void append_body(Bytes content);
  void take_params(detail::ParamSet& params);
  bool is_handed_over() const { return is_handed_over_; }
  void abort();  // the web server asks for its end
  void stop();   // the web server sends no more, or is gone

  // ---- the handler's side ----
  // Runs the handler and sends the answer, or its end; what is to become of the connection. Throws nothing.
  Connection::Next run(const Handler& handler);
  const std::shared_ptr<Connection>& connection() const { return connection_; }

  Task* next_in_queue = nullptr;  // the server's

  // Ready for another request.
  void reset();

 private:
  class Batch;

  std::stop_token stop_token() override;
  void send_stdout(std::string& framed, std::string_view more) override;
  void send_stderr(std::string_view text) override;
  bool wait_writable() override;

  std::string name() const;
  bool call(const Handler& handler);  // false: the answer must be cut
  bool answer_failure(std::string_view what);
  bool send_end();
  void finish();
  bool send(std::span<iovec> parts);
  void frame(std::string& framed) const;

  Server& server_;
  Request request_;
  Response response_;
  std::shared_ptr<Connection> connection_;
  std::size_t slot_ = 0;
  std::uint16_t id_ = 0;
  bool is_handed_over_ = false;
  bool is_finished_ = false;
  bool has_stderr_ = false;
  std::string body_failure_;  // why its body could not be kept; "": it could
  std::atomic<bool> is_aborted_{false};
  std::mutex stop_lock_;
  bool is_stopping_ = false;
  std::optional<std::stop_source> stop_source_;
};

}  // namespace cppfcgi
