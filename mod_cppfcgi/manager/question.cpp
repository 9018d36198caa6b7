#include "mod_cppfcgi/manager/question.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "shared/address.h"

namespace cppfcgi {

Result<Fd> send_to_slot(const std::string& text, const std::string& bytes) {
  const auto address = Address::from(text);
  if (!address) return posix_error("connect " + text, text.starts_with('/') ? ENAMETOOLONG : EADDRNOTAVAIL);
  Fd fd(socket(address->family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return posix_error("socket", errno);
  // To this host's own address TCP is as quick as a Unix socket.
  if (connect(fd.get(), address->get(), address->size()) < 0 && errno != EINPROGRESS) {
    return posix_error("connect " + text, errno);
  }
  const ssize_t sent = send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(bytes.size())) return posix_error("ask " + text, sent < 0 ? errno : EMSGSIZE);
  return fd;
}

Result<std::unique_ptr<Question>> Question::ask(Loop& loop, const std::string& address, Callback callback) {
  auto fd = send_to_slot(address, capacity_question());
  if (!fd) return fd.error();
  std::unique_ptr<Question> question(new Question(*std::move(fd), std::move(callback)));
  auto watch = loop.watch(question->fd_.get(), EPOLLIN, [raw = question.get()](std::uint32_t) { raw->receive(); });
  if (!watch) return watch.error();
  question->watch_ = *std::move(watch);
  return question;
}

bool Question::is_unread() const {
  int unread = 0;
  char byte = 0;
  const bool has_more = recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
  return !has_more && ioctl(fd_.get(), SIOCOUTQ, &unread) == 0 && unread > 0;
}

void Question::receive() {
  std::array<std::byte, 1024> bytes;
  const ssize_t got = recv(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  std::optional<Offer> offer;
  Outcome outcome = got < 0 && errno == ECONNRESET ? Outcome::reset : Outcome::closed;
  if (got > 0) {
    offer = answer_.feed(std::span(bytes).first(static_cast<std::size_t>(got)));
    if (!offer) return;
    outcome = Outcome::answered;
  }
  watch_.reset();
  const Callback callback = callback_;  // ours may end with us
  callback(outcome, offer.value_or(Offer{}));
}

}  // namespace cppfcgi
