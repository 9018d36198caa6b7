// Request: what a handler is asked. Its params (the CGI/1.1 variables), its body, and the token that says when nobody
// waits for the answer any more. Views into it are good until the handler returns. A test builds one by hand:
//   Request request({{"REQUEST_METHOD", "POST"}}, "a=1");
#pragma once

#include <cppfcgi/export.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cppfcgi {

struct Param {
  std::string_view name;
  std::string_view value;
  friend bool operator==(const Param&, const Param&) = default;
};

namespace detail {

// The params as they came, and where each lies in that block.
struct ParamSet {
  std::vector<char> block;
  std::vector<Param> pairs;
};

class StopSeam;
struct Access;

}  // namespace detail

// A request's whole body, which is there before the handler runs: in memory while it is small, in an unlinked temporary
// file above that. Read as a stream. A file that cannot be read throws std::system_error.
class CPPFCGI_EXPORT Body {
 public:
  Body() = default;
  explicit Body(std::string content);
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body();

  std::uint64_t size() const { return size_; }
  // The next bytes, as many as fit; 0 at the end.
  std::size_t read(std::span<std::byte> into);
  std::size_t read(std::span<char> into) { return read(std::as_writable_bytes(into)); }
  // All that was not yet read. More than `limit`: std::length_error, and nothing is read.
  std::string read_all(std::size_t limit = std::size_t{16} << 20);
  // Reading begins anew.
  void rewind() { position_ = 0; }

 private:
  friend struct detail::Access;
  void append(std::span<const std::byte> bytes, std::size_t memory_limit);
  void clear();

  std::string memory_;
  int file_ = -1;
  std::uint64_t size_ = 0;
  std::uint64_t position_ = 0;
};

class CPPFCGI_EXPORT Request {
 public:
  Request();
  explicit Request(std::span<const Param> params, std::string body = {}, std::stop_token stop = {});
  Request(std::initializer_list<Param> params, std::string body = {}, std::stop_token stop = {})
      : Request(std::span<const Param>(params.begin(), params.size()), std::move(body), std::move(stop)) {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  ~Request();

  // All params in the order in which they came.
  std::span<const Param> params() const { return params_.pairs; }
  // The first param of this name; "" where there is none.
  std::string_view param(std::string_view name) const { return find_param(name).value_or(std::string_view()); }
  std::optional<std::string_view> find_param(std::string_view name) const;

  // The request header of this name in any case, "User-Agent", say; "" where the client sent none.
  std::string_view header(std::string_view name) const;

  std::string_view method() const { return param("REQUEST_METHOD"); }
  std::string_view uri() const { return param("REQUEST_URI"); }     // as the client wrote it, with its query
  std::string_view path() const { return param("PATH_INFO"); }      // behind the application's own path, decoded
  std::string_view query() const { return param("QUERY_STRING"); }  // without "?", not decoded

  Body& body() const { return *body_; }

  // Asked to stop when the web server aborts the request or hangs up. A handler that never asks for the token pays
  // nothing for it.
  std::stop_token stop_token() const;

  // What names it in all logs (UNIQUE_ID); "" where the web server gives none.
  std::string_view unique_id() const { return param("UNIQUE_ID"); }

  // Its number on its connection, FastCGI's request id.
  std::uint16_t id() const { return id_; }

 private:
  friend struct detail::Access;

  detail::ParamSet params_;
  std::unique_ptr<Body> body_;
  std::uint16_t id_ = 0;
  detail::StopSeam* stop_seam_ = nullptr;
  std::stop_token stop_;
};

}  // namespace cppfcgi
