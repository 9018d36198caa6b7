#include "mod_cppfcgi/manager/scale_guard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace cppfcgi {
namespace {

constexpr std::chrono::milliseconds look_again_after{100};

// "max" and a missing file are no number.
std::optional<double> number_in(const std::string& path) {
  std::ifstream file(path);
  double number = 0;
  return file >> number ? std::optional(number) : std::nullopt;
}

std::optional<double> member_of(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  for (double number = 0; file >> word;) {
    if (word == name) return file >> number ? std::optional(number) : std::nullopt;
    file.ignore(1'000, '\n');
  }
  return std::nullopt;
}

// The group of the unified hierarchy: "0::/system.slice/apache2.service".
std::string group_of_this_process(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return {};
}

}  // namespace

const std::string& ScaleGuard::shortage(Time now) {
  if (looked_ && now - *looked_ < look_again_after) return shortage_;
  looked_ = now;
  shortage_ = look();
  return shortage_;
}

std::string ScaleGuard::look() const {
  if (limits_.memory_percent > 0) {
    if (const auto percent = available_percent(); percent && *percent < limits_.memory_percent)
      return fmt::format("{:.1f} % of the memory are available", *percent);
    if (const auto percent = group_percent(); percent && *percent < limits_.memory_percent)
      return fmt::format("{:.1f} % of the control group's memory are available", *percent);
  }
  if (const auto load = load_per_processor(); limits_.load > 0 && load && *load > limits_.load)
    return fmt::format("the load is {:.1f} for each processor", *load);
  return {};
}

std::optional<double> ScaleGuard::available_percent() const {
  const auto available = member_of(root_ + "/proc/meminfo", "MemAvailable:");
  const auto total = member_of(root_ + "/proc/meminfo", "MemTotal:");
  return available && total && *total > 0 ? std::optional(*available * 100 / *total) : std::nullopt;
}

// Of the narrowest of this process's groups. Files in the cache that can be let go count as available.
std::optional<double> ScaleGuard::group_percent() const {
  std::optional<double> least;
  for (std::string group = group_of_this_process(root_); !group.empty();) {
    const std::string folder = root_ + "/sys/fs/cgroup" + group;
    const auto limit = number_in(folder + "/memory.max");
    const auto used = number_in(folder + "/memory.current");
    if (limit && used && *limit > 0) {
      const double kept = *used - member_of(folder + "/memory.stat", "inactive_file").value_or(0);
      const double percent = std::max(*limit - kept, 0.0) * 100 / *limit;
      least = std::min(least.value_or(percent), percent);
    }
    group.resize(group == "/" ? 0 : std::max<std::size_t>(group.rfind('/'), 1));
  }
  return least;
}

// The mean of the last minute, as everybody knows it.
std::optional<double> ScaleGuard::load_per_processor() const {
  const auto load = number_in(root_ + "/proc/loadavg");
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  return load && processors > 0 ? std::optional(*load / static_cast<double>(processors)) : std::nullopt;
}

}  // namespace cppfcgi
