// DeployCheck: one request to a worker on trial, the way a web server would ask it. Good is a whole answer with a
// status of 2xx. A shell; owned by the pool's keeper.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "mod_cppfcgi/manager/loop.h"
#include "shared/fd.h"
#include "shared/record.h"
#include "shared/result.h"

namespace cppfcgi {

// What comes back, as far as the check wants to know it. Pure.
class CheckAnswer {
 public:
  enum class Verdict { open, good, bad };
  Verdict feed(Bytes bytes);
  const std::string& why() const { return why_; }  // bad: "it answered with status 500"

 private:
  Verdict end();
  Verdict fail(const std::string& why);

  RecordReader reader_;
  std::string head_;  // of the answer; bounded
  std::string end_body_;
  std::string why_;
};

// The whole request: a GET of this path (and query) by 127.0.0.1 to the application at `mount`.
std::string check_request(const std::string& path, const std::string& mount);

class DeployCheck {
 public:
  using Callback = std::function<void(const std::string& failure)>;  // "": good; called once, may destroy the check

  static Result<std::unique_ptr<DeployCheck>> begin(Loop& loop, const std::string& socket, const std::string& request,
                                                    Callback callback);

 private:
  DeployCheck(Fd fd, Callback callback) : fd_(std::move(fd)), callback_(std::move(callback)) {}
  void receive();
  void finish(const std::string& failure);  // not of this object, which may end

  Fd fd_;
  Callback callback_;
  CheckAnswer answer_;
  Loop::Watch watch_;
};

}  // namespace cppfcgi
