// Front: one of the web servers that speak FastCGI to a worker of ours, private to a test. What lies in front of the
// worker is all that a test sees: a port of HTTP.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/httpd_server.h"
#include "tests/support/peer.h"

namespace cppfcgi::test {

class Front {
 public:
  virtual ~Front() = default;
  int port() const { return port_; }
  std::string url(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port_) + path; }

 protected:
  int port_ = free_port();
  TempFolder folder_{"cppfcgi-front"};
};

// Each starts `worker` (a program on our library) with threads of its own, in the way that its users do.
std::unique_ptr<Front> nginx(const std::string& worker);       // worker --listen /path.sock; kept connections
std::unique_ptr<Front> lighttpd(const std::string& worker);    // started by lighttpd itself (bin-path)
std::unique_ptr<Front> haproxy(const std::string& worker);     // worker --listen host:port; multiplexed connections
std::unique_ptr<Front> proxy_fcgi(const std::string& worker);  // worker --listen host:port; kept connections
std::unique_ptr<Front> fcgid(const std::string& worker);       // started by mod_fcgid itself
std::unique_ptr<Front> supervised(const std::string& worker);  // kept by supervisord, behind NGINX

// An httpd with mod_fcgid whose own files lie in the folder.
HttpdOptions fcgid_options(const TempFolder& folder, const std::string& config);
// What it may say: now and then a child of such an httpd crashes while it ends.
inline constexpr char fcgid_log[] = "exit signal Segmentation fault";

}  // namespace cppfcgi::test
