#include "mod_cppfcgi/httpd/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <memory>

#include "shared/address.h"

namespace cppfcgi {
namespace {

std::string text_of(const addrinfo& address, std::uint16_t port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const bool is_six = address.ai_family == AF_INET6;
  const void* bytes = is_six ? static_cast<const void*>(&reinterpret_cast<sockaddr_in6*>(address.ai_addr)->sin6_addr)
                             : &reinterpret_cast<sockaddr_in*>(address.ai_addr)->sin_addr;
  inet_ntop(address.ai_family, bytes, text.data(), text.size());
  const std::string host = text.data();
  return (is_six ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace

Result<std::string> resolve(const std::string& host_and_port) {
  const auto parts = split_host_port(host_and_port);
  if (!parts) return Error{0, "not host:port; accepted: a name or an address and a port, [::1]:9000 for IPv6"};
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int failure = getaddrinfo(parts->host.c_str(), nullptr, &wanted, &found); failure != 0)
    return Error{0, std::string("its name is not known: ") + gai_strerror(failure)};
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(found, freeaddrinfo);
  for (const int family : {AF_INET, AF_INET6}) {
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
      if (each->ai_family == family) return text_of(*each, parts->port);
    }
  }
  return Error{0, "its name has no address of IPv4 or IPv6"};
}

}  // namespace cppfcgi
