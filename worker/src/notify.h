// The descriptor on which the manager hears of this worker (CPPFCGI_NOTIFY_FD): first that it is ready, and perhaps
// later how it crashed (shared/worker_note.h). It stays open under its number, where a later manager finds it again;
// what the application starts does not get it.
#pragma once

#include <fcntl.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "shared/fd.h"
#include "shared/worker_note.h"
#include "worker/src/log.h"

namespace cppfcgi {

// Empty where there is none. The application's own children know nothing of it.
inline Fd take_notify_fd() {
  const char* text = std::getenv("CPPFCGI_NOTIFY_FD");
  if (text == nullptr) return {};
  int number = -1;
  std::from_chars(text, text + std::string_view(text).size(), number);
  unsetenv("CPPFCGI_NOTIFY_FD");
  if (number <= STDERR_FILENO) return {};
  const int flags = fcntl(number, F_GETFL);
  // A worker that crashes must not wait for a manager that does not read.
  if (flags < 0 || fcntl(number, F_SETFD, FD_CLOEXEC) < 0 || fcntl(number, F_SETFL, flags | O_NONBLOCK) < 0) {
    log_line("CPPFCGI_NOTIFY_FD names no open descriptor");
    return {};
  }
  return Fd(number);
}

inline void tell_ready(const Fd& notify) {
  if (notify && ::write(notify.get(), &ready_note, 1) < 0) log_line("cannot tell the manager that the worker is ready");
}

}  // namespace cppfcgi
