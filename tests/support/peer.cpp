#include "tests/support/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "tests/support/temp_folder.h"

namespace cppfcgi::test {
namespace {

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("path too long for a socket: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

template <class Address>
bool accepts(const Address& address) {
  const Fd socket(::socket(reinterpret_cast<const sockaddr*>(&address)->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Peer::Peer(const Spawn& spawn, const std::string& address) : process_(spawn) {
  if (address.empty()) return;
  bool has_ended = false;
  const bool in_time = wait_until([&] {
    has_ended = !process_.is_running();
    return has_ended || is_listening(address);
  });
  if (in_time && !has_ended) return;
  const std::string log = spawn.stderr_file.empty() ? "" : ": " + read_file(spawn.stderr_file);
  stop();
  throw std::runtime_error(spawn.command.at(0) + (has_ended ? " ended" : " does not listen at " + address) + log);
}

Peer& Peer::operator=(Peer&& other) noexcept {
  if (this != &other) {
    stop();
    process_ = std::move(other.process_);
  }
  return *this;
}

void Peer::stop() {
  if (!process_.is_running()) return;
  const auto family = descendants_of(process_.pid());
  process_.signal(SIGTERM);
  process_.signal(SIGCONT);
  process_.wait(Milliseconds(5'000));
  process_.kill();
  // What it started ends by itself: our manager ends its workers then, which nobody would if it were killed first.
  const auto left = [&family] {
    auto orphans = adopted_orphans();
    std::erase_if(orphans, [&](pid_t each) { return std::find(family.begin(), family.end(), each) == family.end(); });
    return orphans;
  };
  if (wait_until([&] { return left().empty(); }, Milliseconds(3'000))) return;
  wait_until([&] {
    for (const pid_t orphan : left()) ::kill(orphan, SIGKILL);
    return left().empty();
  });
}

std::string fill(std::string text, const std::map<std::string, std::string>& values) {
  for (const auto& [name, value] : values) {
    const auto mark = "{" + name + "}";
    for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size())) {
      text.replace(at, mark.size(), value);
    }
  }
  return text;
}

Fd listen_on(const std::string& path, int backlog) {
  const auto address = unix_address(path);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), 0777) != 0 || ::listen(socket.get(), backlog) != 0) {
    throw std::runtime_error("listen on " + path + ": " + std::strerror(errno));
  }
  return socket;
}

bool is_listening(const std::string& address) {
  if (address.front() == '/') return accepts(unix_address(address));
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  loopback.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  return accepts(loopback);
}

}  // namespace cppfcgi::test
