// Drainer: a slow client must not hold a worker. A thread that writes to a client is blocked in httpd's output filters
// for as long as the client likes, and cannot read from the worker meanwhile; so one thread per httpd child does it in
// its place.
//
//            begin_pass             take_over (the write takes too long)
//   direct ─────────────▶ passing ─────────────────────────────────────▶ drained ──END_REQUEST, a loss──▶ over
//      ▲       end_pass      │                                              │
//      └─────────────────────┴──────────────── retake (all is written) ─────┘
//
// Where the worker's time is over first, the answer is over at once, and on_late says so: the handler's thread may be
// stuck in its write.
//
// direct, passing: the handler's thread reads from the worker and writes to the client by turns: quick clients cost
// nothing more. drained: this thread reads into a spool, the handler's thread writes what is in it. A worker that has
// ended its answer is free at once, whoever reads then. This thread also waits for the workers of requests whose time
// is over (LateRequest). A shell.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "mod_cppfcgi/core/conversation.h"
#include "mod_cppfcgi/core/late_request.h"
#include "mod_cppfcgi/core/spool.h"

namespace cppfcgi {

class Drainer;

// One answer that is under way to its client. Made and destroyed by the handler's thread; the conversation must outlive
// it.
class DrainedAnswer {
 public:
  using Clock = std::chrono::steady_clock;
  // What is there for the client, and how it goes on.
  struct Portion {
    enum class Kind {
      bytes,    // `bytes` are next
      rest,     // `rest` is all that is left, and the answer is whole
      retaken,  // nothing more for now: the handler's thread reads on
      over,     // nothing more at all: see `input` and `violation`
      failed,   // our own trouble: `error`
    };
    Kind kind = Kind::retaken;
    std::string bytes;
    Spool::Rest rest;
    std::string error_text;              // of the worker, since the last portion
    std::size_t error_text_dropped = 0;  // bytes of it that were too many
    std::string error;                   // failed; or, beside anything else, why the spool does not grow any more
  };

  // Called by the draining thread, once at most, and one of them: END_REQUEST has come, the worker's time is over. From
  // then on it leaves the conversation alone.
  struct Callbacks {
    std::function<void()> on_end;
    std::function<void()> on_late;
  };

  DrainedAnswer(Drainer& drainer, Conversation& conversation, std::chrono::milliseconds idle_timeout,
                Callbacks callbacks);
  ~DrainedAnswer();
  DrainedAnswer(const DrainedAnswer&) = delete;
  DrainedAnswer& operator=(const DrainedAnswer&) = delete;

  // Around every write to the client that may block. end_pass: true where the handler's thread still reads itself.
  void begin_pass();
  bool end_pass();
  bool is_taken_over() const;

  Portion next();  // once end_pass has said false
  void retake();   // whatever the state: the handler's thread alone uses the conversation from here on

  // Once it is over: how. has_ended: END_REQUEST has come.
  struct Ending {
    bool has_ended = false;
    EndRequestBody end{};
    const char* violation = nullptr;
    Conversation::Input input{};
  };
  Ending ending() const;

 private:
  friend class Drainer;
  struct Shared;  // what both threads use
  std::shared_ptr<Shared> shared_;
  Drainer* drainer_;
};

class Drainer {
 public:
  using Clock = std::chrono::steady_clock;
  struct Settings {
    std::string folder;  // for temporary files
    Spool::Limits spool{};
    std::chrono::milliseconds patience{10};  // a write that takes longer is taken for a slow client's
  };
  explicit Drainer(Settings settings) : settings_(std::move(settings)) {}
  Drainer(const Drainer&) = delete;
  Drainer& operator=(const Drainer&) = delete;

  // Settles it within its patience.
  void wait_for(LateRequest late);

  // Ends the thread. Waits no longer than a moment, and takes no lock: httpd's prefork calls it from a signal's
  // handler.
  void stop();

 private:
  friend class DrainedAnswer;
  using SharedAnswer = std::shared_ptr<DrainedAnswer::Shared>;

  void add(const SharedAnswer& answer);
  void wake_sleeper();
  void remove(const DrainedAnswer::Shared& answer);
  void wake();
  void start();
  void run();
  void handle(std::uint64_t id);
  bool look_after_all();

  Settings settings_;
  std::once_flag started_;
  Fd epoll_;
  Fd wake_up_;      // eventfd, in epoll_
  Fd has_stopped_;  // eventfd
  std::atomic<bool> is_asleep_{false};
  std::atomic<bool> is_stopping_{false};
  std::mutex mutex_;  // for what follows
  std::unordered_map<std::uint64_t, SharedAnswer> answers_;
  std::uint64_t last_id_ = 0;
  std::vector<LateRequest> late_;
};

}  // namespace cppfcgi
