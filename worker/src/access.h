// Access: the library's own way into Request, Response and Body. What it needs of them and nobody else should.
#pragma once

#include <cppfcgi/request.h>
#include <cppfcgi/response.h>

#include <cstdint>
#include <stop_token>
#include <string>
#include <utility>

namespace cppfcgi::detail {

// Where a Request's stop token comes from, when it is asked for.
class StopSeam {
 public:
  virtual std::stop_token stop_token() = 0;

 protected:
  ~StopSeam() = default;
};

// Where a Response's bytes go. Throws RequestStopped when nobody takes them any more.
class ResponseSink {
 public:
  // `framed`: room for a record's header, then content; `more`: content that follows it. Both are sent, as STDOUT
  // records.
  virtual void send_stdout(std::string& framed, std::string_view more) = 0;
  virtual void send_stderr(std::string_view text) = 0;

 protected:
  ~ResponseSink() = default;
};

struct Access {
  static void connect(Request& request, StopSeam& seam) { request.stop_seam_ = &seam; }
  static void connect(Response& response, ResponseSink& sink) { response.sink_ = &sink; }

  static void begin(Request& request, std::uint16_t id) { request.id_ = id; }
  static void append_body(Request& request, std::span<const std::byte> bytes, std::size_t memory_limit) {
    request.body_->append(bytes, memory_limit);
  }
  static void swap_params(Request& request, ParamSet& params) { std::swap(request.params_, params); }
  static void reset(Request& request);

  static constexpr std::size_t record_room = Response::record_room;
  static std::string& finish(Response& response);  // closes the head; what is not sent yet, framed
  static bool head_is_open(const Response& response) { return response.head_is_open_; }
  static void reset(Response& response) { response.reset(); }
};

}  // namespace cppfcgi::detail
