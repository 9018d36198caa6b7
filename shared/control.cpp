#include "shared/control.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace cppfcgi {
namespace {

struct Head {  // what stands before the text in a packet
  std::uint32_t kind;
  std::uint32_t text_bytes;
  std::uint64_t number;
};

std::vector<Fd> take_descriptors(msghdr& packet) {
  std::vector<Fd> taken;
  for (cmsghdr* part = CMSG_FIRSTHDR(&packet); part; part = CMSG_NXTHDR(&packet, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      taken.emplace_back(fd);
    }
  }
  return taken;
}

}  // namespace

Result<void> send_message(int socket, const Message& message) {
  if (message.text.size() > max_message_text_bytes || message.descriptors.size() > max_message_descriptors) {
    return Error{EMSGSIZE, "control message: more than " + std::to_string(max_message_text_bytes) +
                               " bytes of text, or than " + std::to_string(max_message_descriptors) + " descriptors"};
  }
  Head head{static_cast<std::uint32_t>(message.kind), static_cast<std::uint32_t>(message.text.size()), message.number};
  std::array<iovec, 2> parts{{{&head, sizeof head}, {const_cast<char*>(message.text.data()), message.text.size()}}};
  alignas(cmsghdr) char control[CMSG_SPACE(max_message_descriptors * sizeof(int))] = {};
  msghdr packet{.msg_iov = parts.data(), .msg_iovlen = parts.size()};
  if (!message.descriptors.empty()) {
    packet.msg_control = control;
    packet.msg_controllen = CMSG_SPACE(message.descriptors.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(message.descriptors.size() * sizeof(int));
    for (std::size_t i = 0; i < message.descriptors.size(); ++i) {
      const int fd = message.descriptors[i].get();
      std::memcpy(CMSG_DATA(rights) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  if (sendmsg(socket, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return posix_error("control message", errno);
  return {};
}

Result<Message> receive_message(int socket, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd ready{.fd = socket, .events = POLLIN, .revents = 0};
    const int polled = poll(&ready, 1, left.count() > 0 ? static_cast<int>(left.count()) : 0);
    if (polled > 0) break;
    if (polled == 0) return posix_error("control socket", ETIMEDOUT);
    if (errno != EINTR) return posix_error("control socket", errno);
  }
  Head head{};
  std::array<char, max_message_text_bytes> text;
  std::array<iovec, 2> parts{{{&head, sizeof head}, {text.data(), text.size()}}};
  alignas(cmsghdr) char control[CMSG_SPACE(max_message_descriptors * sizeof(int))];
  msghdr packet{
      .msg_iov = parts.data(), .msg_iovlen = parts.size(), .msg_control = control, .msg_controllen = sizeof control};
  const ssize_t got = recvmsg(socket, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return posix_error("control socket", errno);
  std::vector<Fd> descriptors = take_descriptors(packet);
  if (got == 0) return Error{0, "control socket: the other end has closed it"};
  const bool whole = static_cast<std::size_t>(got) == sizeof head + head.text_bytes &&
                     (packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
  if (!whole) return Error{EBADMSG, "control socket: a packet of " + std::to_string(got) + " bytes that is no message"};
  return Message{.kind = static_cast<MessageKind>(head.kind),
                 .number = head.number,
                 .text = std::string(text.data(), head.text_bytes),
                 .descriptors = std::move(descriptors)};
}

Result<Fd> text_to_memory(const std::string& text) {
  Fd memory(memfd_create("cppfcgi-text", MFD_CLOEXEC));
  if (!memory) return posix_error("memory for a text", errno);
  for (std::size_t written = 0; written < text.size();) {
    const ssize_t wrote =
        pwrite(memory.get(), text.data() + written, text.size() - written, static_cast<off_t>(written));
    if (wrote < 0) return posix_error("memory for a text of " + std::to_string(text.size()) + " bytes", errno);
    written += static_cast<std::size_t>(wrote);
  }
  return memory;
}

Result<std::string> text_from_memory(int fd, std::size_t max_bytes) {
  struct stat status {};
  if (fstat(fd, &status) < 0) return posix_error("memory of a text", errno);
  if (status.st_size < 0 || static_cast<std::size_t>(status.st_size) > max_bytes) {
    return Error{EFBIG, "a text of " + std::to_string(status.st_size) + " bytes; at most " + std::to_string(max_bytes)};
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  for (std::size_t have = 0; have < text.size();) {
    const ssize_t got = pread(fd, text.data() + have, text.size() - have, static_cast<off_t>(have));
    if (got < 0) return posix_error("memory of a text", errno);
    if (got == 0) return Error{EIO, "memory of a text: it shrank"};
    have += static_cast<std::size_t>(got);
  }
  return text;
}

}  // namespace cppfcgi
