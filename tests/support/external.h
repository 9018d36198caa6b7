// External: a FastCGI application that somebody else has started: a program on a listening socket of its own, at an
// address that stays the same while it dies and returns.
#pragma once

#include <string>
#include <vector>

#include "shared/fd.h"
#include "tests/support/process.h"

namespace cppfcgi::test {

// Listens at "/path" (for all to connect), "127.0.0.1:9000" or "[::1]:9000". Throws where that cannot be.
Fd listen_at(const std::string& address, int backlog = 100);

class External {
 public:
  External(std::string address, std::vector<std::string> command, std::vector<std::string> environment = {});

  void start();
  void kill();  // -9, and nobody listens there any more
  const std::string& address() const { return address_; }
  Process& process() { return process_; }

 private:
  std::string address_;
  Spawn spawn_;
  Process process_;
};

}  // namespace cppfcgi::test
