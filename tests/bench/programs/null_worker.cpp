// The other end of bench-roundtrip: answers whatever comes with the same few bytes and parses nothing. Listens on fd 0.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>

int main() {
  constexpr std::string_view answer = "Hello, world\n";
  constexpr int listener = 0;
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event wanted{.events = EPOLLIN, .data = {.fd = listener}};
  if (epoll < 0 || ::epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &wanted) != 0) {
    std::perror("null_worker: fd 0 is no listening socket");
    return 1;
  }
  std::array<epoll_event, 64> events;
  std::array<char, 65'536> request;
  for (;;) {
    const int count = ::epoll_wait(epoll, events.data(), events.size(), -1);
    if (count < 0 && errno != EINTR) return 1;
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == listener) {
        const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        epoll_event readable{.events = EPOLLIN, .data = {.fd = connection}};
        if (connection >= 0) ::epoll_ctl(epoll, EPOLL_CTL_ADD, connection, &readable);
      } else if (::recv(fd, request.data(), request.size(), 0) <= 0 ||
                 ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) {
        ::close(fd);
      }
    }
  }
}
