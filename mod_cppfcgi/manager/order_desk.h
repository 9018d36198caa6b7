// OrderDesk: reads the orders for dynamic applications that httpd's children send, on the socket that httpd's parent
// keeps for all managers, one after the other: what no manager has read yet waits there for the next. Believes nothing:
// what is no order is dropped, and said a few times only. A shell.
#pragma once

#include <memory>

#include "mod_cppfcgi/manager/log.h"
#include "mod_cppfcgi/manager/loop.h"
#include "mod_cppfcgi/manager/manager.h"

namespace cppfcgi {

class OrderDesk {
 public:
  static Result<std::unique_ptr<OrderDesk>> open(Loop& loop, Manager& manager, const Log& log, Fd socket);

 private:
  OrderDesk(Manager& manager, const Log& log, Fd socket) : manager_(manager), log_(log), socket_(std::move(socket)) {}
  void receive(std::uint32_t events);
  void complain(const std::string& what);

  Manager& manager_;
  const Log& log_;
  Fd socket_;
  Loop::Watch watch_;
  Time next_complaint_{};
  std::uint64_t unsaid_ = 0;
};

}  // namespace cppfcgi
