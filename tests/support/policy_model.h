// PolicyModel: a pool, its workers and its clients under a virtual clock: the real Pool decides, everything around it
// is made up. Tells what a policy does with a workload: `make simulate` prints it, tests/unit/scaling_policy_test.cpp
// holds it to what is promised.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/pool.h"

namespace cppfcgi::test {

struct Workload {
  std::string name;
  double seconds = 60;
  std::function<double(double second)> rate;            // requests a second, as they come by chance; or
  std::function<std::uint32_t(double second)> clients;  // that ask, wait for the answer, and ask again
  std::function<double(std::mt19937_64& random)> work;  // seconds that a request takes
  std::function<double(double second)> deadly;          // the share of requests that end their worker
  std::function<bool(double second)> is_broken;         // workers that start then die before they are ready
};

struct Figures {
  std::size_t starts = 0;
  std::size_t most_starts_of_a_slot = 0;
  std::uint32_t peak = 0;  // workers, starting ones included
  std::uint32_t last = 0;  // workers at the end
  std::size_t answered = 0;
  std::size_t lost = 0;     // with their worker
  std::size_t refused = 0;  // while the breaker was open
  double wait_p50_ms = 0;
  double wait_p99_ms = 0;
  double wait_most_ms = 0;
  double idle_worker_seconds = 0;  // of ready workers without a request
  std::size_t flaps = 0;           // starts by demand within the idle time after a worker was ended as idle

  struct Moment {
    double second = 0;
    std::uint32_t workers = 0;
    std::uint32_t busy = 0;
    std::size_t waiting = 0;
  };
  std::vector<Moment> course;  // ten a second
};

Figures simulate(const Workload& workload, const PoolPolicy& policy, Duration start_takes, std::uint64_t seed = 1);

// Step, ramp, two square waves, flash crowd, heavy tail, crash storm: for the policy below.
std::vector<Workload> standard_workloads();
PoolPolicy standard_policy();  // 1 to 40 workers, 10 s of idleness
inline constexpr Duration standard_start{20};

}  // namespace cppfcgi::test
