#include "mod_cppfcgi/manager/endpoint_probe.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "shared/address.h"

namespace cppfcgi {

Result<std::unique_ptr<EndpointProbe>> EndpointProbe::begin(Loop& loop, const std::string& address,
                                                            Callbacks callbacks) {
  const auto place = Address::from(address);
  if (!place) return Error{EADDRNOTAVAIL, "connect " + address + ": its name was not resolved when httpd last read it"};
  Fd fd(socket(place->family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return posix_error("socket", errno);
  if (connect(fd.get(), place->get(), place->size()) < 0 && errno != EINPROGRESS) {
    return posix_error("connect " + address, errno);
  }
  std::unique_ptr<EndpointProbe> probe(new EndpointProbe(loop, std::move(fd), address, std::move(callbacks)));
  if (auto watched = probe->watch(EPOLLOUT); !watched) return watched.error();
  return probe;
}

Result<void> EndpointProbe::watch(std::uint32_t events) {
  watch_.reset();
  auto watching = loop_.watch(fd_.get(), events, [this](std::uint32_t) { is_connected_ ? receive() : look(); });
  if (!watching) return watching.error();
  watch_ = *std::move(watching);
  return {};
}

// What has become of the connection?
void EndpointProbe::look() {
  int code = 0;
  socklen_t bytes = sizeof code;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &code, &bytes) < 0) code = errno;
  if (code != 0) return fail(posix_error("connect " + address_, code));
  is_connected_ = true;
  ask();
}

void EndpointProbe::ask() {
  const std::string question = capacity_question();
  const bool is_asked = send(fd_.get(), question.data(), question.size(), MSG_NOSIGNAL) >= 0 && watch(EPOLLIN);
  callbacks_.reached();
  if (!is_asked) end(std::nullopt);
}

void EndpointProbe::receive() {
  std::array<std::byte, 1024> bytes;
  const ssize_t got = recv(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return end(std::nullopt);
  if (const auto offer = answer_.feed(std::span(bytes).first(static_cast<std::size_t>(got)))) end(offer);
}

void EndpointProbe::fail(const Error& why) {
  watch_.reset();
  const auto failed = callbacks_.failed;  // ours may end with us
  failed(why);
}

void EndpointProbe::end(std::optional<Offer> offer) {
  watch_.reset();
  const auto ended = callbacks_.ended;
  ended(offer);
}

}  // namespace cppfcgi
