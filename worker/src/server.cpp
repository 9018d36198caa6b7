#include "worker/src/server.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "worker/src/crash_recorder.h"
#include "worker/src/log.h"
#include "worker/src/notify.h"

namespace cppfcgi {
namespace {

constexpr unsigned spare_connections = 1'000;  // beyond the threads: web servers keep connections that are idle
constexpr std::size_t receive_bytes = std::size_t{64} << 10;
constexpr std::size_t events_per_turn = 16;
constexpr int retry_accepting_ms = 100;  // after descriptors ran out

// How many connections this process can hold, with descriptors left for the application.
unsigned connection_limit(unsigned threads) {
  rlimit files{};
  unsigned limit = spare_connections + threads;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
    limit = static_cast<unsigned>(std::min<rlim_t>(limit, files.rlim_cur / 2));
  }
  return std::max(limit, threads + 1);
}

}  // namespace

Server::Server(const Options& options, Handler handler, Listener listener)
    : options_(options), handler_(std::move(handler)), listener_(std::move(listener)), buffer_(receive_bytes) {
  capacity_ = {.connections = connection_limit(options.threads), .requests = options.threads};
  limits_ = {.params_bytes = options.max_params_bytes, .body_bytes = options.max_body_bytes};
}

Server::~Server() {
  guard_.reset();  // it uses the rest
  {
    const std::lock_guard guard(lock_);
    are_handlers_done_ = true;
  }
  queued_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Result<void> Server::prepare() {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return posix_error("epoll_create1", errno);
  wake_.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake_) return posix_error("eventfd", errno);
  epoll_event event{.events = EPOLLIN, .data = {.ptr = &wake_}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) < 0) return posix_error("epoll_ctl", errno);
  loop_thread_ = std::this_thread::get_id();
  watch_listener(true);
  guard_ = std::make_unique<Guard>(*this, options_.grace);
  if (auto started = guard_->start(); !started) return started;
  if (runs_handlers_in_loop()) return {};
  for (unsigned i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { handler_thread(); });
  return {};
}

void Server::run(const Fd& notify) {
  tell_ready(notify);
  for (;;) {
    turn(is_full_ ? retry_accepting_ms : -1);
    if (runs_handlers_in_loop()) serve_queue();
    if (!is_draining_ && !is_busy()) watch_listener(true);
    if (!must_stop_.load(std::memory_order_relaxed)) continue;
    start_draining();
    if (live() == 0) break;
  }
  while (!connections_.empty()) close(*connections_.front());
  closed_.clear();
}

// ---- the loop ----

void Server::turn(int timeout_ms) {
  std::array<epoll_event, events_per_turn> events;
  const int count = epoll_wait(epoll_.get(), events.data(), events.size(), timeout_ms);
  is_turning_ = true;
  for (int i = 0; i < count; ++i) {
    void* const about = events[static_cast<std::size_t>(i)].data.ptr;
    if (about == &listener_) {
      on_listener();
    } else if (about == &wake_) {
      eventfd_t ignored = 0;
      eventfd_read(wake_.get(), &ignored);
    } else {
      on_event(*static_cast<Connection*>(about), events[static_cast<std::size_t>(i)].events);
    }
  }
  closed_.clear();
  if (!unwatched_.empty() && (!runs_handlers_in_loop() || is_lent_.load(std::memory_order_relaxed))) watch_new();
  is_turning_ = false;
}

// A worker that has no thread to spare accepts nobody: others may share the socket, and have one. (So no EPOLLEXCLUSIVE
// either: it might wake the busy alone.)
void Server::on_listener() {
  if (is_busy()) {
    watch_listener(false);
    is_declining_.store(true);
    if (is_busy()) return;  // whoever ends its handler now knows
    is_declining_.store(false);
    watch_listener(true);
  }
  accept_one();
}

// False: none waits, or none can be taken now.
bool Server::accept_one() {
  const bool has_room = connections_.size() < capacity_.connections || make_room();
  Listener::Accepted accepted;
  if (has_room) accepted = listener_.accept();
  is_full_ = !has_room || (accepted.outcome == Listener::Outcome::exhausted && !make_room());
  if (is_full_) {
    if (accepted.error != 0)
      log_line(std::string("cannot accept another connection yet: ") + std::strerror(accepted.error));
    watch_listener(false);
  }
  if (accepted.outcome != Listener::Outcome::accepted) return accepted.outcome == Listener::Outcome::refused;
  const auto place = connections_.insert(
      connections_.end(), std::make_shared<Connection>(*this, std::move(accepted.connection), limits_, capacity_));
  Connection& connection = **place;
  connection.place = place;
  // A request is usually there already, and often the connection ends with it: epoll need not know of it yet.
  unwatched_.push_back(*place);
  apply(connection, connection.receive(*place, buffer_));
  return true;
}

// Closes the connection that has been idle longest.
bool Server::make_room() {
  const auto idle = std::ranges::find_if(connections_, [](const auto& connection) { return connection->is_idle(); });
  if (idle == connections_.end()) return false;
  close(**idle);
  return true;
}

void Server::on_event(Connection& connection, std::uint32_t events) {
  if (std::ranges::find(closed_, &connection, &std::shared_ptr<Connection>::get) != closed_.end()) return;
  connections_.splice(connections_.end(), connections_, connection.place);
  if (events & EPOLLOUT) {
    connection.outlet().send_kept();
    if (connection.is_lingering && !connection.outlet().wants_writable()) shutdown(connection.get(), SHUT_WR);
  }
  if (connection.is_input_ended) {
    if (events & (EPOLLHUP | EPOLLERR)) close(connection);
    return;
  }
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    return apply(connection, connection.is_lingering ? connection.drain_input(buffer_)
                                                     : connection.receive(*connection.place, buffer_));
  }
  apply(connection, Connection::Next::keep);
}

void Server::apply(Connection& connection, Connection::Next next) {
  switch (next) {
    case Connection::Next::close:
      return close(connection);
    case Connection::Next::linger:
      if (!connection.is_lingering) linger(connection);
      break;
    case Connection::Next::keep:
      break;
  }
  std::uint32_t events = connection.is_input_ended ? 0 : std::uint32_t{EPOLLIN};
  if (connection.outlet().wants_writable()) events |= EPOLLOUT;
  if (connection.is_watched || events != EPOLLIN) watch(connection, events);
}

void Server::watch(Connection& connection, std::uint32_t events) {
  if (connection.is_watched && connection.watched_events == events) return;
  epoll_event event{.events = events, .data = {.ptr = &connection}};
  if (epoll_ctl(epoll_.get(), connection.is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, connection.get(), &event) < 0) {
    log_line(posix_error("a connection is closed: epoll_ctl", errno).what);
    return close(connection);
  }
  connection.is_watched = true;
  connection.watched_events = events;
}

void Server::watch_new() {
  const auto fresh = std::exchange(unwatched_, {});
  for (const auto& connection : fresh) {
    if (!connection->is_watched) watch(*connection, EPOLLIN);
  }
}

void Server::watch_listener(bool is_wanted) {
  if (is_wanted == is_listening_) return;
  epoll_event event{.events = EPOLLIN, .data = {.ptr = &listener_}};
  epoll_ctl(epoll_.get(), is_wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener_.get(), &event);
  is_listening_ = is_wanted;
}

void Server::linger(Connection& connection) {
  connection.is_lingering = true;
  if (!connection.outlet().wants_writable()) shutdown(connection.get(), SHUT_WR);
}

// Its tasks may hold it for a while yet; the loop has done with it.
void Server::close(Connection& connection) {
  if (connection.is_closed) return;
  connection.is_closed = true;
  connection.abandon();
  std::erase_if(unwatched_, [&](const auto& each) { return each.get() == &connection; });
  if (connection.is_watched) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.get(), nullptr);
  if (connection.place->use_count() > 1) shutdown(connection.get(), SHUT_RDWR);
  closed_.splice(closed_.end(), connections_, connection.place);
  if (!is_turning_) closed_.clear();
}

void Server::start_draining() {
  if (!is_draining_) {
    // What has come until now is still served. On a socket that others hold too, they or a successor accept what waits.
    while (listener_.is_own() && accept_one()) {
    }
    for (std::size_t rounds = connections_.size() / events_per_turn + 1; rounds > 0; --rounds) {
      turn(0);
      if (runs_handlers_in_loop()) serve_queue();
    }
    is_draining_ = true;
    is_admitting_ = false;
    watch_listener(false);
  }
  for (auto place = connections_.begin(); place != connections_.end();) {
    Connection& connection = **place++;
    if (connection.is_idle()) close(connection);
  }
}

void Server::begin_stop() {
  must_stop_.store(true, std::memory_order_relaxed);
  wake();
}

void Server::wake() { eventfd_write(wake_.get(), 1); }

// ---- tasks and those who run them ----

Task& Server::make_task(const std::shared_ptr<Connection>& connection, std::size_t slot, std::uint16_t id) {
  live_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard guard(lock_);
  if (spare_tasks_.empty()) {
    tasks_.push_back(std::make_unique<Task>(*this));
    spare_tasks_.reserve(tasks_.size());
    spare_tasks_.push_back(tasks_.back().get());
  }
  Task& task = *spare_tasks_.back();
  spare_tasks_.pop_back();
  task.begin(connection, slot, id);
  return task;
}

void Server::free_task(Task& task) {
  const bool was_handed_over = task.is_handed_over();
  task.reset();
  {
    const std::lock_guard guard(lock_);
    spare_tasks_.push_back(&task);
  }
  live_.fetch_sub(1, std::memory_order_relaxed);
  if (was_handed_over) busy_.fetch_sub(1);
  if (must_stop_.load(std::memory_order_relaxed) || (is_declining_.load() && is_declining_.exchange(false))) wake();
}

void Server::enqueue(Task& task) {
  busy_.fetch_add(1);
  {
    const std::lock_guard guard(lock_);
    task.next_in_queue = nullptr;
    (queue_last_ == nullptr ? queue_first_ : queue_last_->next_in_queue) = &task;
    queue_last_ = &task;
  }
  if (!runs_handlers_in_loop()) queued_.notify_one();
}

Task* Server::take_first() {
  Task* const task = queue_first_;
  if (task == nullptr) return nullptr;
  queue_first_ = task->next_in_queue;
  if (queue_first_ == nullptr) queue_last_ = nullptr;
  return task;
}

void Server::serve_queue() {
  for (;;) {
    Task* task = nullptr;
    {
      const std::lock_guard guard(lock_);
      task = take_first();
    }
    if (task == nullptr) break;
    run_one(*task);
  }
  if (!unwatched_.empty()) watch_new();
}

// With the loop in the same thread: the whole of one request. Beyond its end nothing of it is left.
void Server::run_one(Task& task) {
  const Connection::Next next = task.run(handler_);
  if (is_lent_.load(std::memory_order_relaxed)) {
    guard_->reclaim();
    is_lent_.store(false, std::memory_order_relaxed);
  }
  if (next == Connection::Next::close) close(*task.connection());
  free_task(task);
}

void Server::handler_thread() {
  const AlternateStack stack;
  for (;;) {
    Task* task = nullptr;
    {
      std::unique_lock guard(lock_);
      queued_.wait(guard, [&] { return (task = take_first()) != nullptr || are_handlers_done_; });
    }
    if (task == nullptr) return;
    const Connection::Next next = task->run(handler_);
    if (next == Connection::Next::close) shutdown(task->connection()->get(), SHUT_RDWR);  // the loop closes it
    free_task(*task);
  }
}

void Server::watch_while_running() {
  const bool is_ours = runs_handlers_in_loop() && std::this_thread::get_id() == loop_thread_;
  if (!is_ours || is_lent_.load(std::memory_order_relaxed) || is_turning_) return;
  watch_new();
  is_lent_.store(true, std::memory_order_relaxed);
  guard_->lend();
}

bool Server::wait_writable(Connection& connection) {
  const auto deadline = Clock::now() + options_.send_timeout;
  for (;;) {
    const bool has_loop = runs_handlers_in_loop() && std::this_thread::get_id() == loop_thread_ &&
                          !is_lent_.load(std::memory_order_relaxed) && !is_turning_;
    if (has_loop) watch_new();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    pollfd watched[] = {{connection.get(), POLLOUT, 0}, {has_loop ? epoll_.get() : -1, POLLIN, 0}};
    if (poll(watched, std::size(watched), static_cast<int>(left.count())) < 0 && errno != EINTR) return false;
    if (watched[1].revents != 0) turn(0);
    if (connection.outlet().is_lost()) return false;
    if (watched[0].revents != 0) return true;
  }
}

}  // namespace cppfcgi
