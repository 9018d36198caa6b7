// Http2Connection: the client's side of one connection of HTTP/2 (with prior knowledge, no TLS), for many requests at a
// time. It tells an answer that was ended from one that was reset, each stream for itself, and repeats nothing by
// itself. (libcurl 7.88 does neither: it takes a reset that arrives while data waits for an orderly end.) Not blocking:
// its owner polls.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "shared/fd.h"
#include "tests/support/http_client.h"
#include "tests/support/wait.h"

namespace cppfcgi::test {

struct Http2Request {
  std::size_t number = 0;  // the caller's, to tell the answer by
  std::string method = "GET";
  std::string target;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
};

struct Http2Answer {
  std::size_t number = 0;
  Ending ending = Ending::none;  // none: not processed, or the connection ended before a byte of it
  int status = 0;
  std::map<std::string, std::string> headers;
  std::string body;
};

class Http2Connection {
 public:
  explicit Http2Connection(int port);  // to 127.0.0.1; throws where nobody listens
  Http2Connection(const Http2Connection&) = delete;
  Http2Connection& operator=(const Http2Connection&) = delete;

  bool may_ask() const { return !is_leaving_ && !is_over_; }
  bool was_used() const { return has_answered_; }
  bool is_idle() const { return streams_.empty(); }
  void ask(Http2Request request, Milliseconds patience);

  int fd() const { return socket_.get(); }
  short wanted_events() const;
  // Sends and reads what can be; the answers that are there, or will not come any more.
  std::vector<Http2Answer> proceed();

 private:
  struct Stream {
    Http2Answer answer;
    std::string body;
    std::size_t sent = 0;
    bool has_ended = false;
    Deadline deadline{Milliseconds(0)};
  };
  struct SessionDeleter {
    void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
  };
  struct Hooks;

  void read();
  void give_up_late();
  void finish(std::map<std::int32_t, Stream>::iterator stream, Ending ending);
  void end();  // of the connection: all that is under way is lost

  Fd socket_;
  std::unique_ptr<nghttp2_session, SessionDeleter> session_;
  std::map<std::int32_t, Stream> streams_;
  std::vector<Http2Answer> finished_;
  bool is_leaving_ = false;  // the server takes no more requests here
  bool is_over_ = false;
  bool has_answered_ = false;
};

}  // namespace cppfcgi::test
