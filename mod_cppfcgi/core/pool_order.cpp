#include "mod_cppfcgi/core/pool_order.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "shared/control.h"

namespace cppfcgi {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int most_tries = 10;  // each but the last ended with a manager's death, or where nobody likes our orders

milliseconds time_left(Clock::time_point deadline) {
  return std::max(std::chrono::ceil<milliseconds>(deadline - Clock::now()), milliseconds(0));
}

// Waits while the socket is full of others' orders.
Result<void> send_order(int orders, const Message& message, Clock::time_point deadline) {
  for (;;) {
    auto sent = send_message(orders, message);
    if (sent || sent.error().code != EAGAIN) return sent;
    pollfd room{.fd = orders, .events = POLLOUT, .revents = 0};
    const milliseconds left = time_left(deadline);
    if (left.count() == 0 || poll(&room, 1, static_cast<int>(left.count())) == 0) return posix_error("send", ETIMEDOUT);
  }
}

// Code 0: whoever had it is gone.
Result<Message> ask(int orders, const PoolOrder& order, Clock::time_point deadline) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return posix_error("socketpair", errno);
  const Fd ours(ends[0]);
  Message message{.kind = MessageKind::order, .number = order.template_key, .text = order.program, .descriptors = {}};
  message.descriptors.emplace_back(ends[1]);
  if (auto sent = send_order(orders, message, deadline); !sent) return sent.error();
  message.descriptors.clear();
  return receive_message(ours.get(), time_left(deadline));
}

}  // namespace

Result<void> order_pool(int orders, const PoolOrder& order, Clock::time_point deadline) {
  if (order.program.size() > max_message_text_bytes)
    return Error{EINVAL, "its path is longer than " + std::to_string(max_message_text_bytes) + " bytes"};
  for (int tries = 1;; ++tries) {
    const auto answer = ask(orders, order, deadline);
    if (!answer && answer.error().code == 0 && tries < most_tries && Clock::now() < deadline) continue;
    if (!answer) return Error{answer.error().code, "the manager did not answer: " + answer.error().what};
    if (answer->kind == MessageKind::opened) return {};
    return Error{answer->kind == MessageKind::not_opened ? static_cast<int>(answer->number) : EPROTO, answer->text};
  }
}

}  // namespace cppfcgi
