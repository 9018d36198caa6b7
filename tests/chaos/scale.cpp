#include "tests/chaos/scale.h"

#include <cstdlib>
#include <random>
#include <thread>

namespace cppfcgi::test {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

bool is_full() { return !variable("CHAOS_FULL").empty(); }

Milliseconds row_length() { return is_full() ? Milliseconds(22'000) : Milliseconds(3'000); }

Milliseconds random_length() {
  const std::string seconds = variable("CHAOS_SECONDS");
  return seconds.empty() ? Milliseconds(6'000) : Milliseconds(1'000 * std::stol(seconds));
}

int repetitions() { return is_full() ? 10 : 3; }

std::uint64_t seed() {
  static const std::uint64_t chosen =
      variable("SEED").empty() ? std::random_device{}() : std::strtoull(variable("SEED").c_str(), nullptr, 10);
  return chosen;
}

void every(Milliseconds period, const std::function<void()>& strike) {
  const auto begin = Clock::now();
  for (auto next = begin + period; next <= begin + row_length(); next += period) {
    std::this_thread::sleep_until(next);  // the fault's rate
    strike();
  }
}

// httpd has no HTTP/2 under prefork.
std::vector<Setting> settings_of_random_faults() { return {{"event", false}, {"event", true}, {"prefork", false}}; }

std::vector<Setting> settings_of_rows() {
  return is_full() ? settings_of_random_faults() : std::vector<Setting>{{"event", false}};
}

}  // namespace cppfcgi::test
