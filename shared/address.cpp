#include "shared/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <charconv>
#include <cstddef>
#include <cstring>

#include "shared/pool_config.h"

namespace cppfcgi {

std::optional<HostPort> split_host_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  unsigned port = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (failure != std::errc{} || end != digits.data() + digits.size() || port < 1 || port > 65'535) return std::nullopt;
  const bool is_bracketed = host.starts_with('[') && host.ends_with(']');
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  // Without brackets nobody can tell an address of IPv6 from its port.
  if (host.empty() || (!is_bracketed && host.find(':') != std::string_view::npos)) return std::nullopt;
  return HostPort{std::string(host), static_cast<std::uint16_t>(port)};
}

std::optional<Address> Address::from(std::string_view text) {
  Address address;
  if (text.starts_with('/')) {
    if (text.size() > max_socket_path_bytes) return std::nullopt;
    auto* path = reinterpret_cast<sockaddr_un*>(&address.bytes_);
    path->sun_family = AF_UNIX;
    text.copy(path->sun_path, max_socket_path_bytes);
    address.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + 1);
    return address;
  }
  const auto parts = split_host_port(text);
  if (!parts) return std::nullopt;
  auto* four = reinterpret_cast<sockaddr_in*>(&address.bytes_);
  auto* six = reinterpret_cast<sockaddr_in6*>(&address.bytes_);
  if (text.starts_with('[')) {
    if (inet_pton(AF_INET6, parts->host.c_str(), &six->sin6_addr) != 1) return std::nullopt;
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(parts->port);
    address.size_ = sizeof *six;
  } else {
    if (inet_pton(AF_INET, parts->host.c_str(), &four->sin_addr) != 1) return std::nullopt;
    four->sin_family = AF_INET;
    four->sin_port = htons(parts->port);
    address.size_ = sizeof *four;
  }
  return address;
}

bool Address::operator==(const Address& other) const {
  return size_ == other.size_ && std::memcmp(&bytes_, &other.bytes_, size_) == 0;
}

}  // namespace cppfcgi
