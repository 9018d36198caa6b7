// PoolSettings: one FastCgiServer line as a value: the pool that the manager keeps, and how httpd uses it. Knows
// nothing of httpd. Filled by options.cpp while the configuration is read, completed by configuration_check.cpp,
// read-only afterwards.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shared/pool_config.h"

namespace cppfcgi {

struct PoolSettings {
  PoolConfig pool;
  std::uint64_t key = 0;                           // pool.key(), computed once the configuration is complete
  std::string mount;                               // "" or "/prefix" (no slash at its end; "/" for the root)
  std::chrono::milliseconds idle_timeout{30'000};  // without a byte from the worker: 504
  std::chrono::milliseconds claim_timeout{5'000};  // wait for a free worker: 503 (-queue-timeout, -appConnTimeout)
  std::optional<std::uint32_t> queue_limit;        // requests that may wait; nullopt: see default_queue_limit
  std::optional<std::uint32_t> max_threads;        // that they may hold in the whole server; nullopt: half of them
  std::chrono::milliseconds request_timeout{0};    // from the claim to the end of the answer: 504; 0: any time
  std::uint32_t retries = 1;                       // a request that a worker was lost over goes to another so often
  bool flush = false;
  bool nph = false;
  std::vector<std::string> pass_headers;  // request headers that CGI otherwise withholds: "Authorization"

  std::string file;  // where it is declared, for messages
  std::uint32_t line = 0;
  std::string declared_at() const { return file + ':' + std::to_string(line); }
};

// How many workers the pool ever has at the same time, successors not counted.
inline std::uint32_t most_workers(const PoolConfig& pool) { return std::max(pool.processes, pool.max_processes); }

// Ten times what the pool can take at once.
inline std::uint32_t default_queue_limit(const PoolConfig& pool, std::uint32_t capacity_of_one) {
  return 10 * most_workers(pool) * capacity_of_one;
}

}  // namespace cppfcgi
