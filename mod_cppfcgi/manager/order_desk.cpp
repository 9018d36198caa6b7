#include "mod_cppfcgi/manager/order_desk.h"

#include <sys/epoll.h>

#include <cerrno>

#include "shared/control.h"

namespace cppfcgi {
namespace {

constexpr int most_at_once = 16;  // then everything else has its turn
constexpr Duration complaint_pause{10'000};

}  // namespace

Result<std::unique_ptr<OrderDesk>> OrderDesk::open(Loop& loop, Manager& manager, const Log& log, Fd socket) {
  std::unique_ptr<OrderDesk> desk(new OrderDesk(manager, log, std::move(socket)));
  auto watch =
      loop.watch(desk->socket_.get(), EPOLLIN, [raw = desk.get()](std::uint32_t events) { raw->receive(events); });
  if (!watch) return watch.error();
  desk->watch_ = *std::move(watch);
  return desk;
}

void OrderDesk::receive(std::uint32_t events) {
  for (int read = 0; read < most_at_once; ++read) {
    auto message = receive_message(socket_.get(), std::chrono::milliseconds{0});
    if (message && message->kind == MessageKind::order && message->descriptors.size() == 1) {
      manager_.take({message->number, std::move(message->text), std::move(message->descriptors.front())});
    } else if (message) {
      complain("a message of kind " + std::to_string(static_cast<std::uint32_t>(message->kind)) + " with " +
               std::to_string(message->descriptors.size()) + " descriptors");
    } else if (message.error().code == ETIMEDOUT) {
      return;
    } else if ((events & EPOLLHUP) != 0) {
      watch_.reset();  // nobody is left who could order
      return;
    } else {
      complain(message.error().what);
    }
  }
}

void OrderDesk::complain(const std::string& what) {
  const Time now = std::chrono::steady_clock::now();
  ++unsaid_;
  if (now < next_complaint_) return;
  log_.warn("a process of httpd sent what is no order for a pool: {}; {} such since the last line like this", what,
            unsaid_);
  next_complaint_ = now + complaint_pause;
  unsaid_ = 0;
}

}  // namespace cppfcgi
