// HTTP by libcurl, for what is well-formed: HTTP/1.1, HTTP/2 (with prior knowledge, or over TLS), large bodies, and
// loads of many requests at a time. Certificates are not checked: they are the rig's own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/wait.h"

namespace cppfcgi::test {

enum class HttpVersion { http1_0, http1_1, http2 };  // http2: h2 for https://, prior knowledge for http://

struct Fetch {
  std::string url;
  std::string method = "GET";
  std::vector<std::string> header_lines;  // "Name: value"
  HttpVersion version = HttpVersion::http1_1;
  std::string body;
  // Instead of `body`: this many bytes, made by produce(offset, count). body_bytes < 0 with produce: without a length
  // (chunked).
  std::function<std::string(std::size_t offset, std::size_t count)> produce;
  long long body_bytes = 0;
  // Instead of Fetched::body: each piece as it comes; false ends the transfer there.
  std::function<bool(std::string_view piece)> consume;
  Milliseconds within{30'000};
};

struct Fetched {
  int curl_code = 0;  // 0: the answer came whole
  std::string error;  // what curl says
  int status = 0;
  int http_major = 0;  // 2 for HTTP/2
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  long new_connections = 0;  // that this transfer opened
  double seconds = 0;

  bool is_whole() const { return curl_code == 0; }
  std::string header(std::string_view name) const;
};
void PrintTo(const Fetched& fetched, std::ostream* out);

// One after the other, on connections that are kept.
class CurlSession {
 public:
  CurlSession();
  ~CurlSession();
  CurlSession(const CurlSession&) = delete;
  CurlSession& operator=(const CurlSession&) = delete;
  Fetched fetch(const Fetch& fetch);

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

Fetched fetch(const Fetch& fetch);  // on a connection of its own

// `count` requests, at most `parallel` at a time and, with HTTP/1.1, on as many kept connections (with HTTP/2 on
// `connections`). done(i, answer) is told of each. All from the calling thread.
struct Load {
  std::size_t count = 0;
  std::size_t parallel = 1;
  std::size_t connections = 0;  // 0: as `parallel`
  std::function<Fetch(std::size_t)> make;
  std::function<void(std::size_t, const Fetched&)> done;
  Milliseconds within{120'000};  // altogether
};
void run_load(const Load& load);  // throws at the deadline

}  // namespace cppfcgi::test
