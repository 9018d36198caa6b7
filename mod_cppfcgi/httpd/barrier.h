// barrier: every function that httpd calls goes through it, since an exception that crosses into C is undefined
// behaviour. Exceptions mean bugs and memory running out; they are logged and the hook fails as its caller says.
#pragma once

#include <exception>
#include <utility>

#include "mod_cppfcgi/httpd/log.h"

namespace cppfcgi {

template <class Value, class Function>
Value barrier(const server_rec* server, const char* where, Value failed, Function&& function) noexcept {
  try {
    return std::forward<Function>(function)();
  } catch (const std::exception& failure) {
    ap_log_error(APLOG_MARK, APLOG_CRIT, 0, server, "%s failed: %s", where, failure.what());
  } catch (...) {
    ap_log_error(APLOG_MARK, APLOG_CRIT, 0, server, "%s failed: unknown exception", where);
  }
  return failed;
}

template <class Function>
void barrier(const server_rec* server, const char* where, Function&& function) noexcept {
  barrier(server, where, 0, [&] {
    std::forward<Function>(function)();
    return 0;
  });
}

}  // namespace cppfcgi
