#include "tests/support/fastcgi_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "shared/params.h"

namespace cppfcgi::test {

namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what + ": " + std::strerror(errno)); }

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("path too long: " + path);
  std::copy(path.begin(), path.end(), address.sun_path);
  return address;
}

sockaddr_in port_address(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

template <class Address>
const sockaddr* generic(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

}  // namespace

FastcgiClient FastcgiClient::to_unix(const std::string& path) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = unix_address(path);
  if (::connect(socket.get(), generic(address), sizeof address) != 0) fail("connect " + path);
  return FastcgiClient(std::move(socket));
}

FastcgiClient FastcgiClient::to_port(int port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = port_address(port);
  if (::connect(socket.get(), generic(address), sizeof address) != 0) fail("connect to port " + std::to_string(port));
  return FastcgiClient(std::move(socket));
}

bool FastcgiClient::send(std::string_view bytes, Milliseconds within) {
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

bool FastcgiClient::begin(std::uint16_t id, bool keep_connection, Role role) {
  std::string out;
  append_begin_request(out, id, role, keep_connection ? keep_conn_flag : 0);
  return send(out);
}

bool FastcgiClient::params(std::uint16_t id, const Params& params) {
  std::string out;
  ParamsWriter writer(out, id);
  for (const auto& [name, value] : params) writer.add(name, value);
  writer.finish();
  return send(out);
}

bool FastcgiClient::input(std::uint16_t id, std::string_view body) {
  std::string out;
  append_stream(out, RecordType::stdin_stream, id, body);
  return send(out);
}

bool FastcgiClient::end_of_input(std::uint16_t id) {
  std::string out;
  append_record(out, RecordType::stdin_stream, id, "");
  return send(out);
}

bool FastcgiClient::abort(std::uint16_t id) {
  std::string out;
  append_record(out, RecordType::abort_request, id, "");
  return send(out);
}

bool FastcgiClient::request(std::uint16_t id, const Params& params, std::string_view body, bool keep_connection) {
  std::string out;
  append_begin_request(out, id, Role::responder, keep_connection ? keep_conn_flag : 0);
  ParamsWriter writer(out, id);
  for (const auto& [name, value] : params) writer.add(name, value);
  writer.finish();
  append_stream(out, RecordType::stdin_stream, id, body);
  append_record(out, RecordType::stdin_stream, id, "");
  return send(out);
}

std::optional<Record> FastcgiClient::receive(Milliseconds within) {
  const Deadline deadline(within);
  for (;;) {
    if (buffer_.size() >= header_bytes) {
      const RecordHeader header = decode_header(as_bytes(buffer_).first<header_bytes>());
      if (header.version != protocol_version)
        throw std::runtime_error("a record of version " + std::to_string(header.version));
      const std::size_t whole = header_bytes + header.content_length + header.padding_length;
      if (buffer_.size() >= whole) {
        Record record{header, buffer_.substr(header_bytes, header.content_length)};
        buffer_.erase(0, whole);
        return record;
      }
    }
    if (has_ended_) return std::nullopt;
    pollfd wanted{socket_.get(), POLLIN, 0};
    if (::poll(&wanted, 1, deadline.left_ms()) <= 0) return std::nullopt;
    char bytes[65'536];
    const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
    if (got > 0) buffer_.append(bytes, static_cast<std::size_t>(got));
    has_ended_ = got <= 0;
  }
}

FastcgiAnswer FastcgiClient::answer(std::uint16_t id, Milliseconds within) {
  const Deadline deadline(within);
  FastcgiAnswer answer;
  auto take = [&](const Record& record) {
    if (record.header.is(RecordType::stdout_stream)) answer.out += record.content;
    if (record.header.is(RecordType::stderr_stream)) answer.err += record.content;
    if (!record.header.is(RecordType::end_request)) return;
    answer.has_ended = true;
    if (const auto body = decode_end_request(record.content)) {
      answer.app_status = body->app_status;
      answer.protocol_status = body->protocol_status;
    }
  };
  for (const Record& record : for_others_[id]) take(record);
  for_others_.erase(id);
  while (!answer.has_ended) {
    const auto record = receive(Milliseconds(deadline.left_ms()));
    if (!record) break;
    if (record->header.id == id) {
      take(*record);
    } else {
      for_others_[record->header.id].push_back(*record);
    }
  }
  return answer;
}

bool FastcgiClient::is_closed(Milliseconds within) {
  const Deadline deadline(within);
  while (!has_ended_ && !deadline.has_passed()) receive(Milliseconds(deadline.left_ms()));
  return has_ended_;
}

void FastcgiClient::shut_down_sending() { ::shutdown(socket_.get(), SHUT_WR); }

Params get_params(const std::string& path, const Params& more) {
  const std::string script = path.substr(0, path.find('?'));
  const std::string query = script.size() == path.size() ? "" : path.substr(script.size() + 1);
  Params params{{"REQUEST_METHOD", "GET"},    {"SCRIPT_NAME", ""},        {"PATH_INFO", script},
                {"REQUEST_URI", path},        {"QUERY_STRING", query},    {"SERVER_PROTOCOL", "HTTP/1.1"},
                {"SERVER_NAME", "localhost"}, {"SERVER_PORT", "80"},      {"GATEWAY_INTERFACE", "CGI/1.1"},
                {"REMOTE_ADDR", "127.0.0.1"}, {"SERVER_SOFTWARE", "test"}};
  for (const auto& entry : more) {
    const auto found =
        std::find_if(params.begin(), params.end(), [&](const auto& param) { return param.first == entry.first; });
    if (found == params.end()) {
      params.push_back(entry);
    } else {
      found->second = entry.second;
    }
  }
  return params;
}

WorkerProcess::WorkerProcess(const WorkerOptions& options) : folder_("cppfcgi-worker"), path_(folder_ / "socket") {
  const Fd socket(::socket(options.is_on_port ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int bound = 0;
  if (options.is_on_port) {
    port_ = free_port();
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in address = port_address(port_);
    bound = ::bind(socket.get(), generic(address), sizeof address);
  } else {
    const sockaddr_un address = unix_address(path_);
    bound = ::bind(socket.get(), generic(address), sizeof address);
    if (bound == 0) bound = ::chmod(path_.c_str(), 0666);
  }
  if (bound != 0 || ::listen(socket.get(), options.backlog) != 0) fail("listen for " + options.command.at(0));
  process_ = Process({.command = options.command,
                      .environment = options.environment,
                      .stdin_fd = socket.get(),
                      .stdout_file = folder_ / "output",
                      .stderr_file = folder_ / "output"});
}

FastcgiClient WorkerProcess::connect() const {
  return port_ != 0 ? FastcgiClient::to_port(port_) : FastcgiClient::to_unix(path_);
}

std::string WorkerProcess::output() const { return read_file(folder_ / "output"); }

}  // namespace cppfcgi::test
