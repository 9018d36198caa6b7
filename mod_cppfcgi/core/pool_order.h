// order_pool: asks the manager to open a dynamic application's pool, and waits for the answer. A message on the socket
// that all children of httpd share, and with it the end of a socket pair on which the answer comes: nothing has a name,
// and nothing is lost where the manager dies; what it had not read its successor reads, and what it had read is asked
// again. A shell.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "shared/result.h"

namespace cppfcgi {

struct PoolOrder {
  std::uint64_t template_key = 0;
  std::string program;
};

// Success: the pool has its row, and a worker is about to start. Error's code: ENOENT, EACCES: the program is no such
// file, or may not be executed; ETIMEDOUT: no answer came; else the manager will not, for a reason that may pass.
Result<void> order_pool(int orders, const PoolOrder& order, std::chrono::steady_clock::time_point deadline);

}  // namespace cppfcgi
