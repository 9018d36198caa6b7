// Peer: a foreign server (NGINX, HAProxy, a worker of another library …) that a test or the bench runs in the
// foreground for its own use: started, waited for until it listens, ended by its pid. Not for httpd with our module in
// it: that is HttpdServer.
#pragma once

#include <map>
#include <string>

#include "shared/fd.h"
#include "tests/support/process.h"

namespace cppfcgi::test {

class Peer {
 public:
  Peer() = default;
  // Starts it and returns as soon as something accepts connections at `address` ("/path.sock" or "127.0.0.1:8080"; "":
  // at once). Throws, with what it wrote to spawn.stderr_file, where it ends instead or takes too long.
  Peer(const Spawn& spawn, const std::string& address);
  Peer(Peer&&) = default;
  Peer& operator=(Peer&& other) noexcept;
  ~Peer() { stop(); }

  Process& process() { return process_; }
  const Process& process() const { return process_; }

  // SIGTERM, and the end of it and of all that it started. Twice is harmless.
  void stop();

 private:
  Process process_;
};

// A configuration's text with every {name} of these replaced.
std::string fill(std::string text, const std::map<std::string, std::string>& values);

// A listening Unix socket that anyone may connect to, as a FastCGI program wants it for its fd 0.
Fd listen_on(const std::string& path, int backlog = 511);

// True if something accepts a connection there now: "/path.sock" or "127.0.0.1:8080".
bool is_listening(const std::string& address);

}  // namespace cppfcgi::test
