// Connection: one web server's connection as the shell sees it: the socket, its Session, its Outlet and the tasks that
// live on it. Received by whoever runs the server's loop; handler threads come in by finish() and the Outlet only. The
// server and each of its tasks share it; the socket closes with the last of them.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "shared/fd.h"
#include "worker/src/outlet.h"
#include "worker/src/session.h"

namespace cppfcgi {

class Server;
class Task;

class Connection {
 public:
  using List = std::list<std::shared_ptr<Connection>>;

  Connection(Server& server, Fd socket, const SessionLimits& limits, const Capacity& capacity)
      : server_(server), socket_(std::move(socket)), session_(limits, capacity), outlet_(socket_.get()) {}

  int get() const { return socket_.get(); }
  Outlet& outlet() { return outlet_; }

  // What is to become of it after an event.
  enum class Next { keep, close, linger };

  // Reads what has come, once, and carries it out.
  Next receive(const std::shared_ptr<Connection>& self, std::span<std::byte> buffer);
  // The web server sends no more: forgets what is incomplete and asks the rest to stop.
  Next end_of_input();
  // Reads and drops; close at its end.
  Next drain_input(std::span<std::byte> buffer);
  // Forgets all requests that were not handed over and asks the others to stop: the connection is being dropped.
  void abandon();

  // The task in this slot is about to send its last record. Its id is free from here on.
  void finish(std::size_t slot);
  // It has sent it. `is_cut`: it did not, and the connection must end without.
  Next finished(bool is_cut);

  bool is_idle();

  // The loop's own notes.
  List::iterator place;              // in the server's list, least recently used first
  std::uint32_t watched_events = 0;  // what epoll watches
  bool is_watched = false;
  bool is_closed = false;
  bool is_input_ended = false;
  bool is_lingering = false;  // our side is shut; what still comes is dropped

 private:
  Next carry_out(const std::shared_ptr<Connection>& self, Bytes bytes);
  void drop_task(std::size_t slot);
  void forget_tasks();
  Next next_locked() const;

  Server& server_;
  Fd socket_;
  std::mutex lock_;  // session_, tasks_, answering_
  Session session_;
  std::vector<Task*> tasks_;   // by slot
  std::size_t answering_ = 0;  // handed over and not yet finished()
  Outlet outlet_;
};

}  // namespace cppfcgi
