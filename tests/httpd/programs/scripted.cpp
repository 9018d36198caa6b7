// scripted: a FastCGI responder that does exactly what each request's query string tells it (tests/support/script.h),
// rules of the protocol or not. It speaks raw records on the listening socket that it has as fd 0 and uses nothing of
// the worker library, so that it can misbehave in every way. Its own ways are set by the environment:
//   SCRIPTED_VALUES   its answer to FCGI_GET_VALUES: "FCGI_MAX_CONNS=1&FCGI_MAX_REQS=1&FCGI_MPXS_CONNS=0" (the
//   default),
//                     "close": none, the connection is closed; "silent": none, and the connection stays open
//   SCRIPTED_THREADS  connections at a time (1)
//   SCRIPTED_START    "exit N": at once; "hang": never accept; "stdout TEXT", "stderr TEXT": a line there, then as
//   usual SCRIPTED_SIGTERM  "ignore"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "shared/fd.h"
#include "shared/params.h"
#include "shared/record.h"

namespace cppfcgi {
namespace {

constexpr int longest_wait_ms = 60'000;

std::string setting(const char* name, const std::string& otherwise = "") {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

std::string from_hex(std::string_view digits) {
  auto value = [](char digit) { return digit <= '9' ? digit - '0' : digit - 'a' + 10; };
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    bytes += static_cast<char>(value(digits[i]) * 16 + value(digits[i + 1]));
  return bytes;
}

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  for (;;) {
    const auto end = text.find(at);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// One connection: the requests on it, one after the other.
class Connection {
 public:
  explicit Connection(Fd socket) : socket_(std::move(socket)) {}
  void serve();

 private:
  struct Request {
    std::uint16_t id = 0;
    bool is_kept = false;
    std::string params;
    std::map<std::string, std::string> values;
    std::string body;
    bool has_all_params = false;
    bool has_all_stdin = false;
    bool is_aborted = false;
  };

  bool read_more(int within_ms = longest_wait_ms);  // false: end of file, error or deadline
  void take(const RecordReader::Step& step);
  void answer_get_values();
  void run(const std::string& script);
  void step(char letter, const std::string& argument);
  void put(RecordType type, std::string_view content);
  void flush();
  void finish_request();
  bool is_over() const { return !socket_; }

  Fd socket_;
  RecordReader reader_;
  std::string content_;  // of the record that is being read
  std::string out_;      // gathered, not yet sent
  Request request_;
  std::size_t piece_bytes_ = max_content_bytes;
  int padding_ = -1;  // as recommended
  bool has_ended_ = false;
};

bool Connection::read_more(int within_ms) {
  flush();
  if (is_over()) return false;
  pollfd wanted{socket_.get(), POLLIN, 0};
  if (::poll(&wanted, 1, within_ms) <= 0) return false;
  std::byte bytes[65'536];
  const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
  if (got <= 0) {
    socket_.reset();
    return false;
  }
  Bytes rest(bytes, static_cast<std::size_t>(got));
  for (;;) {
    const RecordReader::Step step = reader_.next(rest);
    if (step.kind == RecordReader::Kind::need_more) return true;
    if (step.kind == RecordReader::Kind::violation) {
      socket_.reset();
      return false;
    }
    take(step);
  }
}

void Connection::take(const RecordReader::Step& step) {
  if (step.is_first) content_.clear();
  content_ += as_text(step.content);
  if (!step.is_last) return;
  if (step.header.is(RecordType::get_values)) return answer_get_values();
  if (step.header.is(RecordType::begin_request)) {
    request_ = {};
    request_.id = step.header.id;
    if (const auto begin = decode_begin_request(content_)) request_.is_kept = (begin->flags & keep_conn_flag) != 0;
  } else if (step.header.is(RecordType::params)) {
    request_.params += content_;
    request_.has_all_params = content_.empty();
  } else if (step.header.is(RecordType::stdin_stream)) {
    request_.body += content_;
    request_.has_all_stdin = request_.has_all_stdin || content_.empty();
  } else if (step.header.is(RecordType::abort_request)) {
    request_.is_aborted = true;
  }
}

void Connection::answer_get_values() {
  const std::string values = setting("SCRIPTED_VALUES", "FCGI_MAX_CONNS=1&FCGI_MAX_REQS=1&FCGI_MPXS_CONNS=0");
  if (values == "silent") return;
  if (values == "close") return socket_.reset();
  std::string pairs;
  for (const std::string& pair : split(values, '&')) {
    const auto equals = pair.find('=');
    append_pair(pairs, {std::string_view(pair).substr(0, equals), std::string_view(pair).substr(equals + 1)});
  }
  append_record(out_, RecordType::get_values_result, 0, pairs);
  flush();
}

void Connection::flush() {
  std::string_view rest = out_;
  while (!rest.empty() && socket_) {
    const ssize_t sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      socket_.reset();
      break;
    }
    rest.remove_prefix(static_cast<std::size_t>(sent));
  }
  out_.clear();
}

void Connection::put(RecordType type, std::string_view content) {
  while (!content.empty()) {
    const std::string_view piece = content.substr(0, piece_bytes_);
    content.remove_prefix(piece.size());
    if (padding_ < 0) {
      append_record(out_, type, request_.id, piece);
    } else {
      out_ += as_text(encode({.type = static_cast<std::uint8_t>(type),
                              .id = request_.id,
                              .content_length = static_cast<std::uint16_t>(piece.size()),
                              .padding_length = static_cast<std::uint8_t>(padding_)}));
      out_ += piece;
      out_.append(static_cast<std::size_t>(padding_), 'P');
    }
    if (out_.size() > 256 * 1024) flush();
  }
}

void Connection::serve() {
  while (!is_over()) {
    while (!request_.has_all_params) {
      if (!read_more()) return;
    }
    PairCursor cursor(request_.params);
    while (const auto pair = cursor.next()) request_.values[std::string(pair->name)] = pair->value;
    piece_bytes_ = max_content_bytes;
    padding_ = -1;
    has_ended_ = false;
    run(request_.values["QUERY_STRING"]);
    finish_request();
  }
}

void Connection::finish_request() {
  flush();
  if (!has_ended_ || !request_.is_kept) return socket_.reset();
  while (!request_.has_all_stdin) {
    if (!read_more()) return;
  }
  request_ = {};
}

void Connection::run(const std::string& script) {
  if (script.empty()) {
    while (!request_.has_all_stdin && read_more()) {
    }
    put(RecordType::stdout_stream, "Content-Type: text/plain\r\n\r\nhello");
    append_end_request(out_, request_.id, 0, ProtocolStatus::request_complete);
    has_ended_ = true;
    return;
  }
  for (const std::string& word : split(script, '.')) {
    if (!word.empty()) step(word[0], word.substr(1));
  }
}

void wait_for_file(const std::string& path, int socket) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(longest_wait_ms);
  while (::access(path.c_str(), F_OK) != 0 && std::chrono::steady_clock::now() < end) {
    pollfd gone{socket, POLLRDHUP, 0};
    if (::poll(&gone, 1, 5) > 0) return;
  }
}

void Connection::step(char letter, const std::string& argument) {
  const std::vector<std::string> parts = split(argument, ',');
  const auto number = [&](std::size_t i) { return i < parts.size() ? std::strtoul(parts[i].c_str(), nullptr, 10) : 0; };
  const auto repeated = [&] { return std::string(number(0), from_hex(parts.at(1)).at(0)); };
  switch (letter) {
    case 'r':
      while (!request_.has_all_stdin && !request_.is_aborted && read_more()) {
      }
      break;
    case 'R':
      while (request_.body.size() < number(0) && !request_.has_all_stdin && read_more()) {
      }
      break;
    case 'o':
      put(RecordType::stdout_stream, from_hex(argument));
      break;
    case 'O':
      put(RecordType::stdout_stream, repeated());
      break;
    case 'e':
      put(RecordType::stderr_stream, from_hex(argument));
      break;
    case 'E':
      put(RecordType::stderr_stream, repeated());
      break;
    case 'L':
      for (unsigned long i = 0; i < number(0); ++i) {
        put(RecordType::stderr_stream, std::string(99, from_hex(parts.at(1)).at(0)) + "\n");
      }
      break;
    case 'p':
      append_record(out_, RecordType::stdout_stream, request_.id, "");
      break;
    case 'n':
      append_end_request(out_, request_.id, static_cast<std::uint32_t>(number(0)),
                         static_cast<ProtocolStatus>(number(1)));
      has_ended_ = true;
      break;
    case 'b':
      out_ += from_hex(argument);
      break;
    case 'B':
      out_ += repeated();
      break;
    case 'c': {
      const std::string content = from_hex(parts.at(3));
      const long id = request_.id + std::strtol(parts.at(2).c_str(), nullptr, 10);
      out_ += as_text(encode({.version = static_cast<std::uint8_t>(number(1)),
                              .type = static_cast<std::uint8_t>(number(0)),
                              .id = static_cast<std::uint16_t>(id),
                              .content_length = static_cast<std::uint16_t>(content.size())}));
      out_ += content;
      break;
    }
    case 's':
      piece_bytes_ = number(0);
      break;
    case 'P':
      padding_ = static_cast<int>(number(0));
      break;
    case 'f':
      flush();
      break;
    case 'w':
      flush();
      wait_for_file(from_hex(argument), socket_.get());
      break;
    case 't':
      flush();
      if (!Fd(::open(from_hex(argument).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0666))) std::_Exit(71);
      break;
    case 'h':
      while (!request_.is_aborted && read_more()) {
      }
      break;
    case 'x':
      flush();
      socket_.reset();
      break;
    case 'X': {
      flush();
      const linger hard{1, 0};
      if (socket_) ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
      socket_.reset();
      break;
    }
    case 'q':
      flush();
      std::_Exit(static_cast<int>(number(0)));
    case 'k':
      flush();
      ::kill(::getpid(), static_cast<int>(number(0)));
      break;
    case 'i':
      put(RecordType::stdout_stream, std::to_string(::getpid()));
      break;
    case 'N':
      put(RecordType::stdout_stream, request_.values["HTTP_X_NONCE"]);
      break;
    case 'v':
      put(RecordType::stdout_stream, request_.values[from_hex(argument)]);
      break;
    case 'V': {
      PairCursor cursor(request_.params);
      while (const auto pair = cursor.next()) {
        put(RecordType::stdout_stream, std::string(pair->name) + "=" + std::string(pair->value) + "\n");
      }
      break;
    }
    case 'd':
      put(RecordType::stdout_stream, request_.body);
      break;
    case 'D':
      put(RecordType::stdout_stream, std::to_string(request_.body.size()));
      break;
    default:
      std::cerr << "scripted: no step '" << letter << "'\n";
      std::_Exit(70);
  }
}

void accept_for_ever() {
  for (;;) {
    Fd socket(::accept4(0, nullptr, nullptr, SOCK_CLOEXEC));
    if (socket) Connection(std::move(socket)).serve();
  }
}

int start() {
  const std::string way = setting("SCRIPTED_START");
  if (way.starts_with("exit ")) return std::atoi(way.c_str() + 5);
  if (way.starts_with("stdout ")) std::cout << way.substr(7) << std::endl;
  if (way.starts_with("stderr ")) std::cerr << way.substr(7) << std::endl;
  while (way == "hang") ::pause();
  if (setting("SCRIPTED_SIGTERM") == "ignore") ::signal(SIGTERM, SIG_IGN);
  std::vector<std::thread> more;
  for (int i = 1; i < std::atoi(setting("SCRIPTED_THREADS", "1").c_str()); ++i) more.emplace_back(accept_for_ever);
  accept_for_ever();
  return 0;
}

}  // namespace
}  // namespace cppfcgi

int main() { return cppfcgi::start(); }
