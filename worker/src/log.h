// The library's own lines on stderr, which the manager brings to the error log. One write each, so that lines stay
// whole.
#pragma once

#include <unistd.h>

#include <string>
#include <string_view>

namespace cppfcgi {

inline void log_line(std::string_view text) {
  const std::string line = std::string("cppfcgi: ").append(text) + '\n';
  [[maybe_unused]] const ssize_t ignored =
      ::write(STDERR_FILENO, line.data(), line.size());  // there is nowhere else to say it
}

}  // namespace cppfcgi
