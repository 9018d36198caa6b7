// Log: lines in httpd's ErrorLogFormat on the error log, which is stderr (httpd's parent sends a new one when logs are
// rotated). One write a line, so that lines of several processes do not mix. A shell.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace cppfcgi {

enum class Level : std::uint8_t { error, warn, notice, info };

std::optional<Level> level_from_name(std::string_view name);

class Log {
 public:
  explicit Log(Level most = Level::notice) : most_(most) {}

  void set_level(Level most) { most_ = most; }
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
};

}  // namespace cppfcgi
