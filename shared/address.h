// Address: where something listens, as text and as the kernel wants it: "/path", "127.0.0.1:9000" or "[::1]:9000".
// Names of hosts are resolved earlier, when the configuration is read. Makes no system call.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cppfcgi {

class Address {
 public:
  // nullopt: it is none of these forms. A path that is too long for a socket is none.
  static std::optional<Address> from(std::string_view text);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes_); }
  socklen_t size() const { return size_; }
  int family() const { return bytes_.ss_family; }
  bool is_path() const { return family() == AF_UNIX; }
  bool operator==(const Address& other) const;

 private:
  sockaddr_storage bytes_{};
  socklen_t size_ = 0;
};

// "host:port", "[host]:port": its parts as they stand there, the port 1 … 65535. nullopt: it is not of that form.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
std::optional<HostPort> split_host_port(std::string_view text);

}  // namespace cppfcgi
