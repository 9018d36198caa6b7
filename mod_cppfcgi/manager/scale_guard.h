// ScaleGuard: whether the machine has room for one worker more than a pool has at least: memory that is available (of
// the machine, and of the control groups that this process is in), and load. A shell that reads /proc and
// /sys/fs/cgroup; what cannot be read holds nobody back.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace cppfcgi {

class ScaleGuard {
 public:
  struct Limits {
    std::uint32_t memory_percent = 5;  // that must be available; 0: any
    std::uint32_t load = 20;           // for each processor, at most; 0: any
  };
  // `root`: before /proc and /sys, for tests.
  explicit ScaleGuard(const Limits& limits, std::string root = "") : limits_(limits), root_(std::move(root)) {}
  void set_limits(const Limits& limits) { *this = ScaleGuard(limits, root_); }

  using Time = std::chrono::steady_clock::time_point;
  // What is short, for the log: "3 % of the memory are available"; "": there is room. Looks anew every 100 ms.
  const std::string& shortage(Time now);

 private:
  std::string look() const;
  std::optional<double> available_percent() const;
  std::optional<double> group_percent() const;
  std::optional<double> load_per_processor() const;

  Limits limits_;
  std::string root_;
  std::optional<Time> looked_;
  std::string shortage_;
};

}  // namespace cppfcgi
