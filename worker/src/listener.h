// Listener: the socket on which web servers connect: inherited as descriptor 0, or opened here. Owns it, and the file
// of a Unix socket that it made. Accepts whom FCGI_WEB_SERVER_ADDRS allows.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <vector>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class Listener {
 public:
  // `address` as in Options::listen; `allowed` is FCGI_WEB_SERVER_ADDRS, or null.
  static Result<Listener> open(const std::string& address, const char* allowed);
  Listener(Listener&& other) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  int get() const { return socket_.get(); }

  // It was opened here: nobody else accepts on it.
  bool is_own() const { return is_own_; }

  // refused: from an address that is not allowed; exhausted: no descriptor or memory is left (`error`), and it still
  // waits.
  enum class Outcome { accepted, none, refused, exhausted };
  struct Accepted {
    Outcome outcome = Outcome::none;
    int error = 0;
    Fd connection;
  };
  // Never blocks: others may share the socket and have been faster.
  Accepted accept();

 private:
  Listener() = default;
  static Result<Listener> inherit();
  static Result<Listener> open_unix(const std::string& path);
  static Result<Listener> open_tcp(const std::string& address);
  Result<void> allow(const std::string& list);
  bool is_allowed(const sockaddr_storage& peer) const;

  Fd socket_;
  std::string path_;  // of the socket file to be removed; "": none
  bool is_own_ = false;
  bool is_restricted_ = false;        // there is a list
  std::vector<std::string> allowed_;  // numeric addresses, as inet_ntop writes them
};

}  // namespace cppfcgi
