#include "worker/src/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace cppfcgi {
namespace {

constexpr int queue_depth = 511;

// An address as text, with IPv4 in its own form also where it came in IPv6's.
std::string as_numeric(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    const in6_addr& six = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&six)) {
      inet_ntop(AF_INET, &six.s6_addr[12], text, sizeof text);
    } else {
      inet_ntop(AF_INET6, &six, text, sizeof text);
    }
  }
  return text;
}

std::optional<std::string> normalized(const std::string& text) {
  sockaddr_storage address{};
  if (inet_pton(AF_INET, text.c_str(), &reinterpret_cast<sockaddr_in&>(address).sin_addr) == 1) {
    address.ss_family = AF_INET;
  } else if (inet_pton(AF_INET6, text.c_str(), &reinterpret_cast<sockaddr_in6&>(address).sin6_addr) == 1) {
    address.ss_family = AF_INET6;
  } else {
    return std::nullopt;
  }
  return as_numeric(address);
}

// A socket file on which nobody listens any more is what a killed worker left: remove it.
Result<void> clear_stale(const sockaddr_un& address) {
  const Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN) {
    return Error{EADDRINUSE, std::string("listen on ") + address.sun_path + ": another worker listens there"};
  }
  if (errno != ECONNREFUSED) return {};  // not there, or not ours to judge: bind will say
  struct stat status {};
  if (lstat(address.sun_path, &status) == 0 && S_ISSOCK(status.st_mode)) unlink(address.sun_path);
  return {};
}

}  // namespace

Result<Listener> Listener::open(const std::string& address, const char* allowed) {
  auto listener = address.empty()                          ? inherit()
                  : address.find('/') != std::string::npos ? open_unix(address)
                                                           : open_tcp(address);
  if (!listener) return listener;
  listener->is_own_ = !address.empty();
  // Shared with other processes: one of them may take the connection between our wake-up and our accept.
  const int flags = fcntl(listener->get(), F_GETFL);
  if (flags < 0 || fcntl(listener->get(), F_SETFL, flags | O_NONBLOCK) < 0)
    return posix_error("listening socket", errno);
  if (allowed != nullptr) {
    if (const auto result = listener->allow(allowed); !result) return result.error();
  }
  return listener;
}

Result<Listener> Listener::inherit() {
  int is_listening = 0;
  socklen_t size = sizeof is_listening;
  if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) < 0 || is_listening == 0) {
    return Error{ENOTSOCK,
                 "descriptor 0 is no listening socket: start the worker from a FastCGI process manager, or with "
                 "--listen /path.sock or --listen host:port"};
  }
  Listener listener;
  listener.socket_.reset(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  if (!listener.socket_) return posix_error("duplicate the listening socket", errno);
  // Programs that the application starts must not hold the socket: connections to it would wait for them.
  const Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!nothing || dup2(nothing.get(), STDIN_FILENO) < 0)
    return posix_error("put /dev/null in descriptor 0's place", errno);
  return listener;
}

Result<Listener> Listener::open_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error{ENAMETOOLONG,
                 "listen on " + path + ": longer than " + std::to_string(sizeof address.sun_path - 1) + " bytes"};
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (const auto cleared = clear_stale(address); !cleared) return cleared.error();
  Listener listener;
  listener.socket_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener.socket_) return posix_error("listen on " + path, errno);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return posix_error("listen on " + path, errno);
  }
  listener.path_ = path;
  if (listen(listener.get(), queue_depth) < 0) return posix_error("listen on " + path, errno);
  return listener;
}

Result<Listener> Listener::open_tcp(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon + 1 == address.size()) {
    return Error{EINVAL, "listen on " + address + ": neither /path.sock nor host:port"};
  }
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int code = getaddrinfo(host.empty() ? nullptr : host.c_str(), address.c_str() + colon + 1, &hints, &found);
      code != 0) {
    return Error{EINVAL, "listen on " + address + ": " + gai_strerror(code)};
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  Error last{EINVAL, "listen on " + address};
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Listener listener;
    listener.socket_.reset(socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol));
    const int yes = 1;
    if (listener.socket_ && setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
        bind(listener.get(), each->ai_addr, each->ai_addrlen) == 0 && listen(listener.get(), queue_depth) == 0) {
      return listener;
    }
    last = posix_error("listen on " + address, errno);
  }
  return last;
}

Listener::~Listener() {
  if (!path_.empty() && socket_) unlink(path_.c_str());
}

Result<void> Listener::allow(const std::string& list) {
  is_restricted_ = true;
  for (std::size_t from = 0; from <= list.size();) {
    const std::size_t comma = std::min(list.find(',', from), list.size());
    std::string entry = list.substr(from, comma - from);
    std::erase(entry, ' ');
    from = comma + 1;
    if (entry.empty()) continue;
    const auto address = normalized(entry);
    if (!address) return Error{EINVAL, "FCGI_WEB_SERVER_ADDRS: \"" + entry + "\" is no IP address"};
    allowed_.push_back(*address);
  }
  return {};
}

bool Listener::is_allowed(const sockaddr_storage& peer) const {
  if (!is_restricted_ || (peer.ss_family != AF_INET && peer.ss_family != AF_INET6)) return true;
  return std::ranges::find(allowed_, as_numeric(peer)) != allowed_.end();
}

Listener::Accepted Listener::accept() {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  Accepted accepted;
  accepted.connection.reset(accept4(get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!accepted.connection) {
    accepted.error = errno;
    const bool is_exhausted = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (is_exhausted) accepted.outcome = Outcome::exhausted;
    return accepted;
  }
  if (!is_allowed(peer)) {
    accepted.connection.reset();
    accepted.outcome = Outcome::refused;
    return accepted;
  }
  if (peer.ss_family != AF_UNIX) {
    const int yes = 1;
    setsockopt(accepted.connection.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(accepted.connection.get(), SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);  // finds peers that vanished
  }
  accepted.outcome = Outcome::accepted;
  return accepted;
}

}  // namespace cppfcgi
