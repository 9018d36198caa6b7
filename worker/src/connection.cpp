#include "worker/src/connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <exception>

#include "worker/src/log.h"
#include "worker/src/server.h"
#include "worker/src/task.h"

namespace cppfcgi {

Connection::Next Connection::receive(const std::shared_ptr<Connection>& self, std::span<std::byte> buffer) {
  const ssize_t count = recv(get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return Next::keep;
    outlet_.lose();
    return Next::close;
  }
  if (count == 0) return end_of_input();
  return carry_out(self, buffer.first(static_cast<std::size_t>(count)));
}

Connection::Next Connection::carry_out(const std::shared_ptr<Connection>& self, Bytes bytes) {
  const std::lock_guard guard(lock_);
  for (;;) {
    session_.admit(server_.is_admitting());
    const Session::Event event = session_.next(bytes);
    switch (event.kind) {
      case Session::Kind::need_more:
        return next_locked();
      case Session::Kind::begun:
        if (tasks_.size() <= event.slot) tasks_.resize(event.slot + 1);
        tasks_[event.slot] = &server_.make_task(self, event.slot, event.id);
        break;
      case Session::Kind::body:
        tasks_[event.slot]->append_body(event.content);
        break;
      case Session::Kind::ready:
        tasks_[event.slot]->take_params(session_.params(event.slot));
        ++answering_;
        server_.enqueue(*tasks_[event.slot]);
        break;
      case Session::Kind::dropped:
        drop_task(event.slot);
        break;
      case Session::Kind::aborted:
        tasks_[event.slot]->abort();
        break;
      case Session::Kind::reply:
        if (!outlet_.post(as_text(event.content))) return Next::close;
        break;
      case Session::Kind::violation:
        log_line(std::string("connection closed: the web server sent ").append(as_text(event.content)));
        return Next::close;
    }
  }
}

void Connection::drop_task(std::size_t slot) { server_.free_task(*std::exchange(tasks_[slot], nullptr)); }

// Closing with input unread would reset the connection under a reply that is still on its way; so only where a whole
// request was read, and nothing after it, does it close at once.
Connection::Next Connection::next_locked() const {
  if (!session_.is_over() || answering_ > 0) return Next::keep;
  return Next::linger;
}

Connection::Next Connection::end_of_input() {
  const std::lock_guard guard(lock_);
  is_input_ended = true;
  forget_tasks();
  return answering_ == 0 ? Next::close : Next::keep;
}

Connection::Next Connection::drain_input(std::span<std::byte> buffer) {
  const ssize_t count = recv(get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))) return Next::keep;
  return Next::close;
}

void Connection::abandon() {
  outlet_.lose();
  const std::lock_guard guard(lock_);
  forget_tasks();
}

// Drops the tasks that will never be whole, and asks the others to stop.
void Connection::forget_tasks() {
  for (std::size_t slot = 0; slot < tasks_.size(); ++slot) {
    if (tasks_[slot] == nullptr) continue;
    if (tasks_[slot]->is_handed_over()) {
      tasks_[slot]->stop();
    } else {
      drop_task(slot);
    }
  }
}

void Connection::finish(std::size_t slot) {
  const std::lock_guard guard(lock_);
  tasks_[slot] = nullptr;
  session_.finish(slot);
}

Connection::Next Connection::finished(bool is_cut) {
  const std::lock_guard guard(lock_);
  --answering_;
  if (is_cut) session_.end();
  if (answering_ > 0) return Next::keep;
  if (is_input_ended || session_.is_over()) return Next::close;
  return Next::keep;
}

bool Connection::is_idle() {
  const std::lock_guard guard(lock_);
  return answering_ == 0 && (is_lingering || session_.is_idle());
}

}  // namespace cppfcgi
