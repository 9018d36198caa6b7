// Response: what a handler answers. Status and headers first, then the body; the first byte of the body, or flush(),
// closes the head. Small answers leave as one piece when the handler returns, larger ones as they are written. Without
// a server around it, in a test, it gathers everything: text() is the whole answer.
#pragma once

#include <cppfcgi/export.h>

#include <charconv>
#include <concepts>
#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <string_view>

namespace cppfcgi {

namespace detail {
class ResponseSink;
struct Access;
}  // namespace detail

// Thrown out of write(), << and flush() when the web server has aborted the request or hung up. Let it pass: it is no
// error.
class CPPFCGI_EXPORT RequestStopped : public std::exception {
 public:
  const char* what() const noexcept override;
};

class CPPFCGI_EXPORT Response {
 public:
  Response();
  Response(const Response&) = delete;
  Response& operator=(const Response&) = delete;
  ~Response();

  // 200 … 599; without a reason the usual one. std::invalid_argument: another number, or CR, LF or NUL in the reason.
  Response& status(int code, std::string_view reason = {});

  // Adds a header. Content-Type, Content-Length, Location and Status can be there once: the last one counts.
  // std::invalid_argument: the name is no token, or CR, LF or NUL in the value (so a value from a client cannot forge
  // headers). Both throw std::logic_error once the head is closed. Without a Content-Type a body is "text/plain;
  // charset=utf-8".
  Response& header(std::string_view name, std::string_view value);

  Response& write(std::string_view text) {
    if (!head_is_open_ && text.size() <= room()) {
      buffer_.append(text);
    } else {
      write_slowly(text);
    }
    return *this;
  }
  Response& write(std::span<const std::byte> bytes) {
    return write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  }

  Response& operator<<(std::string_view text) { return write(text); }
  Response& operator<<(char character) { return write(std::string_view(&character, 1)); }
  template <class Number>
  requires(std::integral<Number> || std::floating_point<Number>) Response& operator<<(Number number) {
    if constexpr (std::same_as<Number, bool>) {
      return *this << (number ? '1' : '0');
    } else {
      char digits[64];
      const auto end = std::to_chars(digits, digits + sizeof digits, number);
      return write(std::string_view(digits, static_cast<std::size_t>(end.ptr - digits)));
    }
  }

  // Sends what is there: for streams.
  void flush();

  // A line for the web server's error log, sent at once.
  void log(std::string_view line);

  // True once a part of the answer has left and can no longer be taken back.
  bool is_sent() const { return is_sent_; }

  int status_code() const { return status_ == 0 ? 200 : status_; }
  // What is not sent yet, in CGI's form: headers, an empty line, body.
  std::string_view text() const { return std::string_view(buffer_).substr(record_room); }

 private:
  friend struct detail::Access;
  static constexpr std::size_t record_room = 8;          // in front of the text, for the record's header
  static constexpr std::size_t capacity_bytes = 65'528;  // one record's worth, a multiple of eight: no padding

  std::size_t room() const {
    const std::size_t used = buffer_.size() - record_room;
    return used < capacity_bytes ? capacity_bytes - used : 0;
  }
  void write_slowly(std::string_view text);
  void require_open_head(const char* what) const;
  void remove_header(std::string_view name);
  void close_head(bool has_body);
  void reset();

  std::string buffer_;
  std::string reason_;
  int status_ = 0;  // 0: none was set
  bool head_is_open_ = true;
  bool has_content_type_ = false;
  bool has_content_length_ = false;
  bool has_location_ = false;
  bool is_sent_ = false;
  detail::ResponseSink* sink_ = nullptr;
};

}  // namespace cppfcgi
