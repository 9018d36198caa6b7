// Guard: a thread that looks after the worker while its loop may be inside a handler. It takes the signals that end the
// worker and ends the process when the grace is over, whatever still runs. With one handler thread it also runs the
// loop on loan while a handler that asked for its stop token is busy.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class Server;

class Guard {
 public:
  // SIGTERM, SIGINT and SIGUSR1 must be blocked in all threads.
  Guard(Server& server, std::chrono::milliseconds grace) : server_(server), grace_(grace) {}
  ~Guard();

  Result<void> start();

  // The loop's thread lends the loop, and takes it back.
  void lend();
  void reclaim();

 private:
  void run();
  void check_signals();
  int milliseconds_left() const;

  Server& server_;
  const std::chrono::milliseconds grace_;
  Fd signals_;
  Fd wake_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;  // the guard's own
  std::mutex lock_;
  std::condition_variable changed_;
  bool is_wanted_ = false;  // the loop is to be run here
  bool is_running_ = false;
  bool is_ending_ = false;
  std::thread thread_;
};

}  // namespace cppfcgi
