// Log: lines in httpd's ErrorLogFormat on an error log: stderr, or a virtual host's own (httpd's parent sends new ones
// when logs are rotated). One write a line, so that lines of several processes do not mix. A shell.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "shared/fd.h"

namespace cppfcgi {

enum class Level : std::uint8_t { error, warn, notice, info };

std::optional<Level> level_from_name(std::string_view name);

class Log {
 public:
  using File = std::shared_ptr<const Fd>;
  explicit Log(Level most = Level::notice, File file = nullptr) : most_(most), file_(std::move(file)) {}
  Log on(const File& file) const { return Log(most_, file); }  // the same on another log; nullptr: stderr
  bool has(Level level) const { return level <= most_; }

  template <class... Values>
  void error(fmt::format_string<Values...> format, Values&&... values) const {
    line(Level::error, fmt::format(format, std::forward<Values>(values)...));
  }
  template <class... Values>
  void warn(fmt::format_string<Values...> format, Values&&... values) const {
    line(Level::warn, fmt::format(format, std::forward<Values>(values)...));
  }
  template <class... Values>
  void notice(fmt::format_string<Values...> format, Values&&... values) const {
    line(Level::notice, fmt::format(format, std::forward<Values>(values)...));
  }
  template <class... Values>
  void info(fmt::format_string<Values...> format, Values&&... values) const {
    line(Level::info, fmt::format(format, std::forward<Values>(values)...));
  }

  void line(Level level, std::string_view text) const;

 private:
  Level most_;
  File file_;
};

}  // namespace cppfcgi
