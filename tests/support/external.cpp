#include "tests/support/external.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "shared/address.h"

namespace cppfcgi::test {

Fd listen_at(const std::string& text, int backlog) {
  const auto address = Address::from(text).value();
  Fd socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.is_path()) ::unlink(text.c_str());
  if (!socket || ::bind(socket.get(), address.get(), address.size()) != 0 || ::listen(socket.get(), backlog) != 0) {
    throw std::runtime_error("listen at " + text + ": " + std::strerror(errno));
  }
  if (address.is_path()) ::chmod(text.c_str(), 0777);
  return socket;
}

External::External(std::string address, std::vector<std::string> command, std::vector<std::string> environment)
    : address_(std::move(address)),
      spawn_{.command = std::move(command), .environment = std::move(environment), .stderr_file = "/dev/null"} {
  start();
}

void External::start() {
  const Fd listener = listen_at(address_);
  spawn_.stdin_fd = listener.get();
  process_ = Process(spawn_);
  spawn_.stdin_fd = -1;
}

void External::kill() {
  process_.kill();
  if (address_.starts_with('/')) ::unlink(address_.c_str());
}

}  // namespace cppfcgi::test
