// Question: one connection to a slot's socket on which the manager asks for the capacity. It waits in the listen queue
// until the worker accepts, so the answer also says that the worker is ready. A shell; owned by the pool's keeper.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "mod_cppfcgi/manager/capacity.h"
#include "mod_cppfcgi/manager/loop.h"
#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

// A non-blocking connection to the worker of ours that listens at this Address, on which the bytes have been sent.
// EAGAIN: the listen queue is full.
Result<Fd> send_to_slot(const std::string& address, const std::string& bytes);

class Question {
 public:
  enum class Outcome { answered, closed, reset };  // reset: closed, and nobody had read the question
  using Callback = std::function<void(Outcome outcome, Offer offer)>;  // called once; may destroy the question

  // Errors as above.
  static Result<std::unique_ptr<Question>> ask(Loop& loop, const std::string& address, Callback callback);

  // True: nobody has read it, so the slot's next worker will find it.
  bool is_unread() const;

 private:
  Question(Fd fd, Callback callback) : fd_(std::move(fd)), callback_(std::move(callback)) {}
  void receive();

  Fd fd_;
  Callback callback_;
  CapacityAnswer answer_;
  Loop::Watch watch_;
};

}  // namespace cppfcgi
