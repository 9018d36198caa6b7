#include "mod_cppfcgi/manager/log.h"

#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <string>

namespace cppfcgi {
namespace {

constexpr std::array<std::string_view, 4> names = {"error", "warn", "notice", "info"};

// "Tue Nov 24 01:02:03.123456 2026"
std::string time_text() {
  timeval now{};
  gettimeofday(&now, nullptr);
  tm local{};
  localtime_r(&now.tv_sec, &local);
  char day[32];
  char year[8];
  strftime(day, sizeof day, "%a %b %d %H:%M:%S", &local);
  strftime(year, sizeof year, "%Y", &local);
  return fmt::format("{}.{:06} {}", day, now.tv_usec, year);
}

}  // namespace

std::optional<Level> level_from_name(std::string_view name) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<Level>(i);
  }
  return std::nullopt;
}

void Log::line(Level level, std::string_view text) const {
  if (!has(level)) return;
  const std::string whole = fmt::format("[{}] [cppfcgi:{}] [pid {}] {}\n", time_text(),
                                        names[static_cast<std::size_t>(level)], getpid(), text);
  // A log that cannot be written has no better place to say so.
  [[maybe_unused]] const ssize_t written = write(file_ ? file_->get() : STDERR_FILENO, whole.data(), whole.size());
}

}  // namespace cppfcgi
