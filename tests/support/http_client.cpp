#include "tests/support/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ostream>
#include <stdexcept>

namespace cppfcgi::test {

namespace {

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

}  // namespace

void PrintTo(Ending ending, std::ostream* out) {
  switch (ending) {
    case Ending::whole:
      *out << "whole";
      return;
    case Ending::cut:
      *out << "cut";
      return;
    case Ending::malformed:
      *out << "malformed";
      return;
    case Ending::timed_out:
      *out << "timed out";
      return;
    case Ending::none:
      *out << "no answer";
      return;
  }
}

void PrintTo(const HttpResponse& response, std::ostream* out) {
  PrintTo(response.ending, out);
  *out << ", " << response.raw.size() << " bytes: " << response.raw.substr(0, 600);
}

std::string HttpResponse::header(std::string_view name) const {
  const auto found = all(name);
  return found.empty() ? "" : found.front();
}

std::vector<std::string> HttpResponse::all(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [other, value] : headers) {
    if (same_name(other, name)) values.push_back(value);
  }
  return values;
}

HttpConnection::HttpConnection(int port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("connect to port " + std::to_string(port) + ": " + std::strerror(errno));
  }
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool HttpConnection::send(std::string_view bytes, Milliseconds within) {
  const Deadline deadline(within);
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return false;
    pollfd wanted{socket_.get(), POLLOUT, 0};
    if (::poll(&wanted, 1, deadline.left_ms()) == 0) return false;
  }
  return true;
}

std::size_t HttpConnection::send_some(std::string_view bytes) {
  const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent > 0 ? static_cast<std::size_t>(sent) : 0;
}

void HttpConnection::shut_down_sending() { ::shutdown(socket_.get(), SHUT_WR); }

void HttpConnection::reset() {
  const linger hard{1, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  socket_.reset();
}

HttpConnection::More HttpConnection::read_more(const Deadline& deadline) {
  char bytes[65'536];
  for (;;) {
    pollfd wanted{socket_.get(), POLLIN, 0};
    const int ready = ::poll(&wanted, 1, deadline.left_ms());
    if (ready == 0) return More::timed_out;
    if (ready < 0) continue;
    const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return More::broken;
    if (got == 0) return More::end;
    buffer_.append(bytes, static_cast<std::size_t>(got));
    return More::bytes;
  }
}

Ending HttpConnection::ending_for(More more) { return more == More::timed_out ? Ending::timed_out : Ending::cut; }

std::string HttpConnection::take(std::size_t count) {
  std::string taken = buffer_.substr(0, count);
  buffer_.erase(0, count);
  return taken;
}

std::optional<std::string> HttpConnection::line(const Deadline& deadline, Ending& ending) {
  std::size_t searched = 0;
  for (;;) {
    const auto end = buffer_.find('\n', searched);
    if (end != std::string::npos) return take(end + 1);
    searched = buffer_.size();
    const More more = read_more(deadline);
    if (more == More::bytes) continue;
    ending = ending_for(more);
    return std::nullopt;
  }
}

bool HttpConnection::head(HttpResponse& response, const Deadline& deadline) {
  if (buffer_.empty()) {
    const More more = read_more(deadline);
    if (more != More::bytes) {
      response.ending = more == More::timed_out ? Ending::timed_out : Ending::none;
      return false;
    }
  }
  response.headers.clear();
  for (bool is_first = true;; is_first = false) {
    const auto text = line(deadline, response.ending);
    if (!text) {
      response.raw += take(buffer_.size());
      return false;
    }
    response.raw += *text;
    if (!text->ends_with("\r\n")) return response.ending = Ending::malformed, false;
    const std::string_view bare = std::string_view(*text).substr(0, text->size() - 2);
    if (is_first) {
      if (bare.size() < 12 || !bare.starts_with("HTTP/1.") || bare[8] != ' ')
        return response.ending = Ending::malformed, false;
      response.version = bare.substr(0, 8);
      const auto digits = bare.substr(9, 3);
      const auto parsed = std::from_chars(digits.begin(), digits.end(), response.status);
      if (parsed.ptr != digits.end()) return response.ending = Ending::malformed, false;
      response.reason = bare.size() > 13 ? bare.substr(13) : "";
      continue;
    }
    if (bare.empty()) return true;
    const auto colon = bare.find(':');
    if (colon == std::string_view::npos || colon == 0 || bare.find_first_of(" \t") < colon) {
      return response.ending = Ending::malformed, false;
    }
    response.headers.emplace_back(bare.substr(0, colon), trimmed(bare.substr(colon + 1)));
  }
}

void HttpConnection::sized_body(HttpResponse& response, std::size_t bytes, const Deadline& deadline) {
  std::size_t missing = bytes;
  for (;;) {
    const std::string piece = take(std::min(missing, buffer_.size()));
    response.body += piece;
    response.raw += piece;
    missing -= piece.size();
    if (missing == 0) return;
    const More more = read_more(deadline);
    if (more == More::bytes) continue;
    response.ending = ending_for(more);
    return;
  }
}

void HttpConnection::chunked_body(HttpResponse& response, const Deadline& deadline) {
  while (response.ending == Ending::whole) {
    const auto size_line = line(deadline, response.ending);
    if (!size_line) return;
    response.raw += *size_line;
    std::size_t size = 0;
    const auto parsed = std::from_chars(size_line->data(), size_line->data() + size_line->size(), size, 16);
    if (parsed.ec != std::errc() || parsed.ptr == size_line->data()) {
      response.ending = Ending::malformed;
      return;
    }
    if (size > 0) sized_body(response, size, deadline);
    if (response.ending != Ending::whole) return;
    // After a chunk an empty line; after the last one trailers, then an empty line.
    for (;;) {
      const auto after = line(deadline, response.ending);
      if (!after) return;
      response.raw += *after;
      if (*after == "\r\n") break;
      if (size > 0) {
        response.ending = Ending::malformed;
        return;
      }
    }
    if (size == 0) return;
  }
}

void HttpConnection::body_until_close(HttpResponse& response, const Deadline& deadline) {
  response.is_delimited_by_close = true;
  for (;;) {
    const std::string piece = take(buffer_.size());
    response.body += piece;
    response.raw += piece;
    const More more = read_more(deadline);
    if (more == More::end) return;
    if (more == More::bytes) continue;
    response.ending = ending_for(more);
    return;
  }
}

HttpResponse HttpConnection::receive(std::string_view method, Milliseconds within) {
  const Deadline deadline(within);
  HttpResponse response;
  for (;;) {
    if (!head(response, deadline)) return response;
    if (response.status < 100 || response.status >= 200 || response.status == 101) break;
    response.interim.push_back(response.status);
  }
  response.ending = Ending::whole;
  if (method == "HEAD" || response.status == 204 || response.status == 304) return response;
  const std::string length = response.header("Content-Length");
  if (response.has("Transfer-Encoding")) {
    response.is_chunked = true;
    chunked_body(response, deadline);
  } else if (!length.empty()) {
    std::size_t bytes = 0;
    const auto parsed = std::from_chars(length.data(), length.data() + length.size(), bytes);
    if (parsed.ec != std::errc() || parsed.ptr != length.data() + length.size() ||
        response.all("Content-Length").size() > 1) {
      response.ending = Ending::malformed;
      return response;
    }
    sized_body(response, bytes, deadline);
  } else {
    body_until_close(response, deadline);
  }
  return response;
}

std::string HttpConnection::receive_all(Milliseconds within) {
  const Deadline deadline(within);
  while (read_more(deadline) == More::bytes) {
  }
  return take(buffer_.size());
}

std::string HttpConnection::receive_bytes(std::size_t count, Milliseconds within) {
  const Deadline deadline(within);
  while (buffer_.size() < count && read_more(deadline) == More::bytes) {
  }
  return take(std::max(count, buffer_.size()));
}

std::string HttpConnection::receive_until(std::string_view text, Milliseconds within) {
  const Deadline deadline(within);
  while (buffer_.find(text) == std::string::npos && read_more(deadline) == More::bytes) {
  }
  const auto at = buffer_.find(text);
  return take(at == std::string::npos ? buffer_.size() : at + text.size());
}

bool HttpConnection::has_input(Milliseconds within) {
  pollfd wanted{socket_.get(), POLLIN, 0};
  return !buffer_.empty() || ::poll(&wanted, 1, static_cast<int>(within.count())) == 1;
}

bool HttpConnection::is_closed(Milliseconds within) {
  const Deadline deadline(within);
  More more = More::bytes;
  while (more == More::bytes) more = read_more(deadline);
  return more == More::end || more == More::broken;
}

HttpResponse ask(int port, std::string_view request, std::string_view method, Milliseconds within) {
  HttpConnection connection(port);
  connection.send(request, within);  // an early answer may come although not all was taken
  return connection.receive(method, within);
}

std::string request_text(const std::string& method, const std::string& target,
                         const std::vector<std::string>& header_lines, std::string_view body) {
  std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n";
  for (const std::string& line : header_lines) text += line + "\r\n";
  if (!body.empty() || method == "POST" || method == "PUT")
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  text += "\r\n";
  text += body;
  return text;
}

HttpResponse get(int port, const std::string& target, const std::vector<std::string>& header_lines) {
  std::vector<std::string> lines = header_lines;
  lines.emplace_back("Connection: close");
  return ask(port, request_text("GET", target, lines));
}

HttpResponse post(int port, const std::string& target, std::string_view body,
                  const std::vector<std::string>& header_lines) {
  std::vector<std::string> lines = header_lines;
  lines.emplace_back("Connection: close");
  return ask(port, request_text("POST", target, lines, body), "POST");
}

std::string chunked(std::string_view body, std::size_t chunk_bytes) {
  std::string out;
  char size[32];
  while (!body.empty()) {
    const std::string_view piece = body.substr(0, chunk_bytes);
    std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
    out += size;
    out += piece;
    out += "\r\n";
    body.remove_prefix(piece.size());
  }
  return out + "0\r\n\r\n";
}

}  // namespace cppfcgi::test
