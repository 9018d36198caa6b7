#include "mod_cppfcgi/manager/control_link.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

#include "mod_cppfcgi/manager/process.h"

namespace cppfcgi {
namespace {

constexpr std::size_t max_configuration_bytes = 64 << 20;

}  // namespace

Result<std::unique_ptr<ControlLink>> ControlLink::open(Loop& loop, Manager& manager, const Log& log, Fd socket,
                                                       std::optional<pid_t> parent, std::function<void()> gone) {
  std::unique_ptr<ControlLink> link(new ControlLink(manager, log, std::move(socket), std::move(gone)));
  auto watch = loop.watch(link->socket_.get(), EPOLLIN, [raw = link.get()](std::uint32_t) { raw->receive(); });
  if (!watch) return watch.error();
  link->socket_watch_ = *std::move(watch);
  if (!parent) return link;
  link->parent_ = open_pidfd(*parent);
  if (!link->parent_ && errno == ESRCH) {
    link->lose();  // so soon; workers of an earlier manager may have to be ended
    return link;
  }
  if (!link->parent_) return posix_error(fmt::format("the parent, pid {}", *parent), errno);
  watch = loop.watch(link->parent_.get(), EPOLLIN, [raw = link.get()](std::uint32_t) { raw->lose(); });
  if (!watch) return watch.error();
  link->parent_watch_ = *std::move(watch);
  return link;
}

void ControlLink::receive() {
  auto message = receive_message(socket_.get(), std::chrono::milliseconds{0});
  if (message) {
    obey(*message);
  } else if (message.error().code != ETIMEDOUT) {
    if (message.error().code != 0) log_.error("control socket: {}", message.error().what);
    lose();
  }
}

void ControlLink::obey(Message& message) {
  switch (message.kind) {
    case MessageKind::configure:
      return configure(message);
    case MessageKind::generation_ended:
      return manager_.generation_ended(message.number);
    case MessageKind::configured:
    case MessageKind::refused:
    case MessageKind::order:
    case MessageKind::opened:
    case MessageKind::not_opened:
      break;
  }
  log_.warn("control socket: a message of kind {} makes no sense here: ignored",
            static_cast<std::uint32_t>(message.kind));
}

void ControlLink::configure(Message& message) {
  Message answer{.kind = MessageKind::configured, .number = message.number};
  const auto applied = apply(message);
  if (!applied) {
    answer.kind = MessageKind::refused;
    answer.text = applied.error().what.substr(0, max_message_text_bytes);
    log_.error("configuration {} is refused: {}", message.number, applied.error().what);
  }
  if (const auto sent = send_message(socket_.get(), answer); !sent) log_.error("control socket: {}", sent.error().what);
  if (applied) manager_.begin();
}

Result<void> ControlLink::apply(Message& message) {
  if (message.descriptors.empty()) return Error{EINVAL, "no configuration came with the message"};
  // First the log, so that whatever comes next is written to the one that is read.
  if (message.descriptors.size() > 1) dup2(message.descriptors[1].get(), STDERR_FILENO);
  const auto text = text_from_memory(message.descriptors[0].get(), max_configuration_bytes);
  if (!text) return text.error();
  const auto configuration = configuration_from_json(*text);
  if (!configuration) return configuration.error();
  std::vector<Log::File> logs;
  for (std::size_t i = 2; i < message.descriptors.size(); ++i)
    logs.push_back(std::make_shared<Fd>(std::move(message.descriptors[i])));
  return manager_.configure(message.number, *configuration, logs);
}

void ControlLink::lose() {
  socket_watch_.reset();
  parent_watch_.reset();
  const auto gone = gone_;
  gone();
}

}  // namespace cppfcgi
