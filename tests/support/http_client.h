// A plain HTTP/1 client on a socket, for what must be sent or judged byte by byte: malformed requests, pipelining,
// answers that are cut. It says of every answer whether it came whole. For well-formed loads and HTTP/2 see
// curl_client.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/fd.h"
#include "tests/support/wait.h"

namespace cppfcgi::test {

enum class Ending {
  whole,      // as its framing says
  cut,        // the connection ended (or broke) before that
  malformed,  // what came is not HTTP
  timed_out,  // nothing more came, and the connection is open
  none,       // the connection ended without a byte
};

struct HttpResponse {
  Ending ending = Ending::none;
  int status = 0;
  std::string version;  // "HTTP/1.1"
  std::string reason;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::vector<int> interim;  // the 1xx that came before
  bool is_chunked = false;
  bool is_delimited_by_close = false;  // HTTP/1.0's way: its end and a cut look alike, unless the connection was reset
  std::string raw;                     // all bytes of it

  std::string header(std::string_view name) const;  // the first of this name, in any case; "" where there is none
  std::vector<std::string> all(std::string_view name) const;  // each of this name
  bool has(std::string_view name) const { return !all(name).empty(); }
  bool is_whole() const { return ending == Ending::whole; }
};
void PrintTo(const HttpResponse& response, std::ostream* out);
void PrintTo(Ending ending, std::ostream* out);

class HttpConnection {
 public:
  explicit HttpConnection(int port);  // to 127.0.0.1; throws where nobody listens

  // All bytes; false where the other side does not take them (any more) within the deadline.
  bool send(std::string_view bytes, Milliseconds within = Milliseconds(20'000));
  // As many as it takes without blocking.
  std::size_t send_some(std::string_view bytes);
  void shut_down_sending();
  void close() { socket_.reset(); }
  void reset();  // ends the connection by RST

  // The next answer; pipelined ones follow each other. Without a body where it answers a HEAD.
  HttpResponse receive(std::string_view method = "GET", Milliseconds within = Milliseconds(20'000));
  // All that comes until the other side closes (or the deadline).
  std::string receive_all(Milliseconds within = Milliseconds(20'000));
  // At least this many bytes, without taking them for an answer; what there is at the deadline.
  std::string receive_bytes(std::size_t count, Milliseconds within = Milliseconds(20'000));
  // Something has come, or the other side has closed. Takes nothing.
  bool has_input(Milliseconds within = Milliseconds(10'000));
  // All up to the end of this text, without taking it for an answer; what there is at the deadline.
  std::string receive_until(std::string_view text, Milliseconds within = Milliseconds(10'000));
  // True once the other side has closed and all is read.
  bool is_closed(Milliseconds within = Milliseconds(5'000));
  int fd() const { return socket_.get(); }

 private:
  enum class More { bytes, end, broken, timed_out };
  More read_more(const Deadline& deadline);
  std::string take(std::size_t count);
  std::optional<std::string> line(const Deadline& deadline, Ending& ending);
  bool head(HttpResponse& response, const Deadline& deadline);
  void chunked_body(HttpResponse& response, const Deadline& deadline);
  void sized_body(HttpResponse& response, std::size_t bytes, const Deadline& deadline);
  void body_until_close(HttpResponse& response, const Deadline& deadline);
  static Ending ending_for(More more);

  Fd socket_;
  std::string buffer_;  // read, not yet taken
};

// One request on a connection of its own: "GET /x HTTP/1.1\r\nHost: …" is up to the caller, the empty line included.
HttpResponse ask(int port, std::string_view request, std::string_view method = "GET",
                 Milliseconds within = Milliseconds(20'000));

// GET with Host and Connection: close, and whole header lines ("Name: value") where given.
HttpResponse get(int port, const std::string& target, const std::vector<std::string>& header_lines = {});
HttpResponse post(int port, const std::string& target, std::string_view body,
                  const std::vector<std::string>& header_lines = {});

// The text of a request, with Host; no Connection header.
std::string request_text(const std::string& method, const std::string& target,
                         const std::vector<std::string>& header_lines = {}, std::string_view body = {});

std::string chunked(std::string_view body, std::size_t chunk_bytes = 1000);

}  // namespace cppfcgi::test
