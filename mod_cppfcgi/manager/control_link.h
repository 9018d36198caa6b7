// ControlLink: takes configurations from httpd's parent over the control socket, and notices that it is gone. A shell.
#pragma once

#include <functional>
#include <optional>

#include "mod_cppfcgi/manager/log.h"
#include "mod_cppfcgi/manager/loop.h"
#include "mod_cppfcgi/manager/manager.h"
#include "shared/control.h"

namespace cppfcgi {

class ControlLink {
 public:
  // `gone` is called once, when the socket's other end is closed or the parent has ended.
  static Result<std::unique_ptr<ControlLink>> open(Loop& loop, Manager& manager, const Log& log, Fd socket,
                                                   std::optional<pid_t> parent, std::function<void()> gone);

 private:
  ControlLink(Manager& manager, const Log& log, Fd socket, std::function<void()> gone)
      : manager_(manager), log_(log), socket_(std::move(socket)), gone_(std::move(gone)) {}
  void receive();
  void obey(Message& message);
  void configure(Message& message);
  Result<void> apply(Message& message);
  void lose();

  Manager& manager_;
  const Log& log_;
  Fd socket_;
  Fd parent_;  // its pidfd: children that inherit its end of the socket may keep that open
  std::function<void()> gone_;
  Loop::Watch socket_watch_;
  Loop::Watch parent_watch_;
};

}  // namespace cppfcgi
