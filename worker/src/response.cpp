#include <cppfcgi/response.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "worker/src/access.h"

namespace cppfcgi {
namespace {

constexpr std::size_t kept_buffer_bytes = std::size_t{256} << 10;  // more than this is given back after the request

char lower(char character) {
  return character >= 'A' && character <= 'Z' ? static_cast<char>(character - 'A' + 'a') : character;
}

bool is_name(std::string_view one, std::string_view other) { return std::ranges::equal(one, other, {}, lower, lower); }

constexpr auto token_characters = [] {
  std::array<bool, 256> is_one{};
  for (const char character :
       std::string_view("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&'*+-.^_`|~")) {
    is_one[static_cast<unsigned char>(character)] = true;
  }
  return is_one;
}();

bool is_token_character(char character) { return token_characters[static_cast<unsigned char>(character)]; }

// What would end the line it stands in, and so begin another one.
bool breaks_line(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

std::string_view usual_reason(int code) {
  struct Reason {
    int code;
    std::string_view text;
  };
  static constexpr Reason reasons[] = {
      {200, "OK"},
      {201, "Created"},
      {202, "Accepted"},
      {204, "No Content"},
      {206, "Partial Content"},
      {301, "Moved Permanently"},
      {302, "Found"},
      {303, "See Other"},
      {304, "Not Modified"},
      {307, "Temporary Redirect"},
      {308, "Permanent Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {406, "Not Acceptable"},
      {409, "Conflict"},
      {410, "Gone"},
      {411, "Length Required"},
      {412, "Precondition Failed"},
      {413, "Content Too Large"},
      {415, "Unsupported Media Type"},
      {416, "Range Not Satisfiable"},
      {422, "Unprocessable Content"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {502, "Bad Gateway"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
  };
  const auto found = std::ranges::find(reasons, code, &Reason::code);
  return found == std::end(reasons) ? "Status" : found->text;
}

}  // namespace

const char* RequestStopped::what() const noexcept { return "the web server no longer wants the answer"; }

Response::Response() { reset(); }
Response::~Response() = default;

void Response::reset() {
  if (buffer_.capacity() > kept_buffer_bytes) std::string().swap(buffer_);
  if (buffer_.capacity() == std::string().capacity()) buffer_.reserve(record_room + capacity_bytes + 64);
  buffer_.assign(record_room, '\0');
  reason_.clear();
  status_ = 0;
  head_is_open_ = true;
  has_content_type_ = has_content_length_ = has_location_ = is_sent_ = false;
}

void Response::require_open_head(const char* what) const {
  if (!head_is_open_) throw std::logic_error(std::string(what) + " after the first byte of the body");
}

Response& Response::status(int code, std::string_view reason) {
  require_open_head("Response::status");
  if (code < 200 || code > 599)
    throw std::invalid_argument("Response::status: " + std::to_string(code) + " is not in 200 … 599");
  if (breaks_line(reason)) throw std::invalid_argument("Response::status: a line break in the reason");
  status_ = code;
  reason_ = reason.empty() ? usual_reason(code) : reason;
  return *this;
}

Response& Response::header(std::string_view name, std::string_view value) {
  require_open_head("Response::header");
  if (name.empty() || !std::ranges::all_of(name, is_token_character)) {
    throw std::invalid_argument("Response::header: the name is no token");
  }
  if (breaks_line(value))
    throw std::invalid_argument("Response::header: a line break in the value of " + std::string(name));
  if (is_name(name, "Status")) {
    int code = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), code);
    if (error != std::errc()) throw std::invalid_argument("Response::header: Status without a number");
    value.remove_prefix(static_cast<std::size_t>(end - value.data()));
    value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
    return status(code, value);
  }
  for (auto [single, has_it] :
       {std::pair{"Content-Type", &has_content_type_}, std::pair{"Content-Length", &has_content_length_},
        std::pair{"Location", &has_location_}}) {
    if (!is_name(name, single)) continue;
    if (*has_it) remove_header(single);
    *has_it = true;
  }
  buffer_.append(name).append(": ").append(value).append("\r\n");
  return *this;
}

void Response::remove_header(std::string_view name) {
  std::size_t line = record_room;
  while (line < buffer_.size()) {
    const std::size_t next = buffer_.find('\n', line) + 1;
    const std::string_view text = std::string_view(buffer_).substr(line, next - line);
    if (text.size() > name.size() && text[name.size()] == ':' && is_name(text.substr(0, name.size()), name)) {
      buffer_.erase(line, next - line);
      return;
    }
    line = next;
  }
}

void Response::close_head(bool has_body) {
  if (!head_is_open_) return;
  // A redirect that the web server carries out must have no other header; 204 and 304 have no body to describe.
  const bool is_bare_redirect = has_location_ && status_ == 0 && !has_body;
  const bool has_no_body = status_ == 204 || status_ == 304;
  if (!has_content_type_ && !is_bare_redirect && !has_no_body) buffer_ += "Content-Type: text/plain; charset=utf-8\r\n";
  if (status_ != 0)
    buffer_.append("Status: ").append(std::to_string(status_)).append(" ").append(reason_).append("\r\n");
  buffer_ += "\r\n";
  head_is_open_ = false;
}

void Response::write_slowly(std::string_view text) {
  if (text.empty()) return;
  close_head(true);
  if (sink_ == nullptr || text.size() <= room()) {
    buffer_.append(text);
    return;
  }
  // Fill the buffered record and send it, and with it as many whole records of `text` as there are; the rest waits.
  const std::size_t filling = std::min(room(), text.size());
  buffer_.append(text.substr(0, filling));
  text.remove_prefix(filling);
  const std::size_t direct = text.size() / capacity_bytes * capacity_bytes;
  is_sent_ = true;
  sink_->send_stdout(buffer_, text.substr(0, direct));
  buffer_.assign(record_room, '\0');
  buffer_.append(text.substr(direct));
}

void Response::flush() {
  close_head(true);
  if (sink_ == nullptr || buffer_.size() == record_room) return;
  is_sent_ = true;
  sink_->send_stdout(buffer_, {});
  buffer_.assign(record_room, '\0');
}

void Response::log(std::string_view line) {
  if (sink_ == nullptr || line.empty()) return;
  std::string whole(line);
  if (whole.back() != '\n') whole += '\n';
  sink_->send_stderr(whole);
}

std::string& detail::Access::finish(Response& response) {
  response.close_head(false);
  return response.buffer_;
}

}  // namespace cppfcgi
