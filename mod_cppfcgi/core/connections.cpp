#include "mod_cppfcgi/core/connections.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>

#include "shared/address.h"

namespace cppfcgi {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t longest_poll_ms = 60'000;
constexpr std::uint64_t free_place = 0;
constexpr std::uint64_t busy_place = ~std::uint64_t{0};

std::uint64_t worker_word(std::uint32_t slot, std::uint32_t generation) {
  return (std::uint64_t{slot} + 1) << 32 | generation;
}

// The listen queue is full. Only a blocking connect can wait for room in it.
int connect_blocking(int fd, const Address& address, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(deadline - Clock::now()).count();
  if (left <= 0) return EAGAIN;
  const timeval timeout{.tv_sec = left / 1'000'000, .tv_usec = left % 1'000'000};
  const int flags = ::fcntl(fd, F_GETFL);
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0) return errno;
  if (::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) return errno;
  int connected = -1;
  do {
    connected = ::connect(fd, address.get(), address.size());
  } while (connected != 0 && errno == EINTR && Clock::now() < deadline);
  const int code = connected == 0 ? 0 : errno;
  if (::fcntl(fd, F_SETFL, flags) != 0 && code == 0) return errno;
  return code;
}

// TCP's way: its outcome comes later.
int await_connection(int fd, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return ETIMEDOUT;
    pollfd connecting{.fd = fd, .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&connecting, 1, static_cast<int>(std::min<std::int64_t>(left, longest_poll_ms)));
    if (ready < 0 && errno != EINTR) return errno;
    if (ready <= 0) continue;
    int code = 0;
    socklen_t bytes = sizeof code;
    return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &bytes) == 0 ? code : errno;
  }
}

}  // namespace

Result<Fd> connect_to_worker(const std::string& text, Clock::time_point deadline) {
  const auto address = Address::from(text);
  if (!address) return posix_error("connect " + text, text.starts_with('/') ? ENAMETOOLONG : EADDRNOTAVAIL);
  Fd fd(::socket(address->family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return posix_error("socket", errno);
  const int on = 1;
  if (!address->is_path()) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd.get(), address->get(), address->size()) == 0) return fd;
  int code = errno;
  if (code == EAGAIN) code = connect_blocking(fd.get(), *address, deadline);
  if (code == EINPROGRESS) code = await_connection(fd.get(), deadline);
  if (code != 0) return posix_error("connect " + text, code);
  return fd;
}

Connections::Connections(std::uint32_t limit)
    : limit_(std::max(limit, std::uint32_t{1})), places_(std::make_unique<Place[]>(limit_)) {}

Connections::~Connections() {
  for (std::uint32_t i = 0; i < limit_; ++i) Fd closed(places_[i].fd);
}

Fd Connections::take(std::uint32_t slot, std::uint32_t generation) {
  const std::uint64_t wanted = worker_word(slot, generation);
  for (std::uint32_t i = 0; i < limit_; ++i) {
    Place& place = places_[i];
    std::uint64_t state = place.state.load(std::memory_order_relaxed);
    const bool is_same_slot = state != busy_place && state >> 32 == wanted >> 32;
    if (!is_same_slot || !place.state.compare_exchange_strong(state, busy_place, std::memory_order_acquire)) continue;
    Fd connection(std::exchange(place.fd, -1));
    place.state.store(free_place, std::memory_order_release);
    // One of another generation is closed here.
    if (state == wanted) return connection;
  }
  return {};
}

void Connections::put(Place& place, std::uint64_t worker, Fd connection) {
  const Fd replaced(std::exchange(place.fd, connection.release()));
  place.used.store(keeps_.fetch_add(1, std::memory_order_relaxed), std::memory_order_relaxed);
  place.state.store(worker, std::memory_order_release);
}

void Connections::keep(std::uint32_t slot, std::uint32_t generation, Fd connection) {
  const std::uint64_t worker = worker_word(slot, generation);
  // Others take and keep meanwhile; a connection that found no place after a few looks is closed.
  for (int tries = 0; tries < 4; ++tries) {
    Place* oldest = nullptr;
    for (std::uint32_t i = 0; i < limit_; ++i) {
      Place& place = places_[i];
      std::uint64_t state = place.state.load(std::memory_order_relaxed);
      if (state == free_place && place.state.compare_exchange_strong(state, busy_place, std::memory_order_acquire)) {
        return put(place, worker, std::move(connection));
      }
      if (state == busy_place) continue;
      if (oldest == nullptr ||
          place.used.load(std::memory_order_relaxed) < oldest->used.load(std::memory_order_relaxed)) {
        oldest = &place;
      }
    }
    if (oldest == nullptr) continue;
    std::uint64_t state = oldest->state.load(std::memory_order_relaxed);
    if (state != busy_place && oldest->state.compare_exchange_strong(state, busy_place, std::memory_order_acquire)) {
      return put(*oldest, worker, std::move(connection));
    }
  }
}

}  // namespace cppfcgi
