// PoolSettings: one FastCgiServer line as a value: the pool that the manager keeps, and how httpd uses it. Knows
// nothing of httpd. Filled by options.cpp while the configuration is read, completed by configuration_check.cpp,
// read-only afterwards. DynamicSettings: likewise, FastCgiConfig's lines.
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

  std::uint64_t template_key = 0;  // of a dynamic application: by which its pool is ordered; 0: it is declared

  std::string file;  // where it is declared, for messages
  std::uint32_t line = 0;
  std::string declared_at() const { return file + ':' + std::to_string(line); }
};

// How many workers the pool ever has at the same time, successors not counted.
inline std::uint32_t most_workers(const PoolConfig& pool) { return std::max(pool.processes, pool.max_processes); }

// Ten times what the pool can take at once; but while nobody waits long, as many as a few quick workers are asked by
// connections that are kept busy. `capacity_of_one`: of a worker.
inline std::uint32_t default_queue_limit(const PoolConfig& pool, std::uint32_t capacity_of_one, bool waits_long) {
  const std::uint32_t at_once = pool.is_external()
                                    ? static_cast<std::uint32_t>(pool.endpoints.size()) * pool.max_connections
                                    : most_workers(pool) * capacity_of_one;
  return waits_long ? 10 * at_once : std::max(10 * at_once, std::uint32_t{64});
}

// FastCgiConfig: what holds for each program that no FastCgiServer names.
struct DynamicSettings {
  PoolSettings common;             // without a program
  std::uint32_t max_workers = 50;  // -maxProcesses
  std::uint32_t min_workers = 5;   // -minProcesses
  std::string mapped;              // what stands for options that have nothing of their own to do here

  std::string file;  // "": nobody wrote it
  std::uint32_t line = 0;

  DynamicSettings();  // mod_fastcgi's defaults
  // Once all is read. `scope`, `host`: of the virtual host that it belongs to; "": of the whole server.
  void complete(const std::string& scope, const std::string& host);
  PoolTemplate to_template() const {
    return {.pool = common.pool, .max_workers = max_workers, .min_workers = min_workers};
  }
  PoolSettings for_program(const std::string& program) const;
};

}  // namespace cppfcgi
