// EndpointProbe: one connection to an external application, to see whether it can be reached, and then to ask for its
// capacity, which most answer and none must. A shell; owned by ExternalKeeper, which ends it when it takes too long.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "mod_cppfcgi/manager/capacity.h"
#include "mod_cppfcgi/manager/loop.h"
#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class EndpointProbe {
 public:
  struct Callbacks {  // each at most once; `failed` and `ended` may destroy the probe
    std::function<void()> reached;
    std::function<void(const Error& why)> failed;
    std::function<void(std::optional<Offer> offer)> ended;  // after `reached`; nullopt: it has not told its capacity
  };

  // Errors: it cannot be reached. EAGAIN: somebody listens there, and has no room just now.
  static Result<std::unique_ptr<EndpointProbe>> begin(Loop& loop, const std::string& address, Callbacks callbacks);

  bool is_connected() const { return is_connected_; }

 private:
  EndpointProbe(Loop& loop, Fd fd, std::string address, Callbacks callbacks)
      : loop_(loop), fd_(std::move(fd)), address_(std::move(address)), callbacks_(std::move(callbacks)) {}
  Result<void> watch(std::uint32_t events);
  void look();
  void ask();
  void receive();
  void fail(const Error& why);
  void end(std::optional<Offer> offer);

  Loop& loop_;
  Fd fd_;
  std::string address_;
  Callbacks callbacks_;
  CapacityAnswer answer_;
  bool is_connected_ = false;
  Loop::Watch watch_;
};

}  // namespace cppfcgi
