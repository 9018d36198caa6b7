// Server: a worker process's whole life between requests, in one object: its listener, its connections, its tasks and
// their queue, and the loop over them. One thread runs the loop. With one handler thread, that is the same thread: it
// receives, runs the handler and sends, three system calls for a small request; while a handler waits for a slow web
// server it runs the loop itself, and while one holds a stop token the guard does (guard.h). With more, handler threads
// take from the queue.
//
//   turn(): epoll_wait ─▶ accept | receive ─▶ Session ─▶ queue        serve_queue(): queue ─▶ handler ─▶ send
//
// Between two calls of run_one() lies the point between two requests: everything of the one is sent and forgotten.
#pragma once

#include <cppfcgi/worker.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "shared/fd.h"
#include "shared/result.h"
#include "worker/src/connection.h"
#include "worker/src/guard.h"
#include "worker/src/listener.h"
#include "worker/src/task.h"

namespace cppfcgi {

class Server {
 public:
  Server(const Options& options, Handler handler, Listener listener);
  ~Server();

  // Makes what it needs of the kernel; signals are blocked already.
  Result<void> prepare();
  // Says on `notify` that requests can come, and serves until it is asked to stop, by a signal.
  void run(const Fd& notify);

  // ---- for the guard, from its thread ----
  void begin_stop();  // sets the loop going towards its end
  void turn(int timeout_ms);
  int epoll() const { return epoll_.get(); }
  std::size_t live() const { return live_.load(std::memory_order_relaxed); }

  // ---- for connections, from the loop ----
  bool is_admitting() const { return is_admitting_ && live() < options_.max_queued; }
  Task& make_task(const std::shared_ptr<Connection>& connection, std::size_t slot, std::uint16_t id);
  void free_task(Task& task);
  void enqueue(Task& task);

  // ---- for tasks, from a handler's thread ----
  bool wait_writable(Connection& connection);
  void watch_while_running();  // somebody wants to know at once when a running request is aborted

 private:
  using Clock = std::chrono::steady_clock;

  bool runs_handlers_in_loop() const { return options_.threads == 1; }
  bool is_busy() const { return busy_.load() >= options_.threads; }
  void on_listener();
  bool accept_one();
  bool make_room();
  void on_event(Connection& connection, std::uint32_t events);
  void apply(Connection& connection, Connection::Next next);
  void watch(Connection& connection, std::uint32_t events);
  void watch_new();
  void watch_listener(bool is_wanted);
  void close(Connection& connection);
  void linger(Connection& connection);
  void start_draining();

  Task* take_first();
  void serve_queue();
  void run_one(Task& task);
  void handler_thread();
  void wake();

  const Options options_;
  const Handler handler_;
  Listener listener_;
  Capacity capacity_;
  SessionLimits limits_;
  Fd epoll_;
  Fd wake_;
  std::unique_ptr<Guard> guard_;
  std::vector<std::byte> buffer_;  // what was received last

  Connection::List connections_;  // least recently used first
  Connection::List closed_;       // until the events of this turn are through
  std::vector<std::shared_ptr<Connection>> unwatched_;
  bool is_admitting_ = true;
  bool is_draining_ = false;
  bool is_listening_ = false;  // epoll watches the listener
  bool is_full_ = false;       // no connection can be accepted, for want of descriptors
  bool is_turning_ = false;
  std::atomic<bool> is_declining_{false};  // connections wait until a handler ends
  std::atomic<bool> is_lent_{false};       // the guard runs the loop
  std::atomic<bool> must_stop_{false};
  std::thread::id loop_thread_;

  std::mutex lock_;  // the rest
  std::condition_variable queued_;
  Task* queue_first_ = nullptr;
  Task* queue_last_ = nullptr;
  bool are_handlers_done_ = false;
  std::vector<std::unique_ptr<Task>> tasks_;
  std::vector<Task*> spare_tasks_;
  std::atomic<std::size_t> live_{0};  // tasks in use
  std::atomic<std::size_t> busy_{0};  // of them, those that wait for a handler or run
  std::vector<std::thread> threads_;
};

}  // namespace cppfcgi
