// What an httpd child keeps for its requests from child_init on. Any thread may use it; it ends with the process (and
// is never destroyed: a process may end in the middle of a request, in a signal handler of httpd's prefork).
#pragma once

#include <array>

#include "mod_cppfcgi/core/connections.h"
#include "mod_cppfcgi/core/drainer.h"
#include "mod_cppfcgi/core/poison.h"
#include "mod_cppfcgi/core/request_ids.h"
#include "mod_cppfcgi/core/tally.h"
#include "mod_cppfcgi/core/thread_share.h"
#include "mod_cppfcgi/httpd/manager_link.h"
#include "shared/claims.h"

namespace cppfcgi {

struct ChildState {
  // `threads`: of this child, and `threads_in_server` of all that there may be. `nonce`: random.
  ChildState(const WorkerAccess& workers, std::uint32_t threads, std::uint32_t threads_in_server,
             const std::string& temp_folder, std::uint64_t nonce);

  const WorkerAccess& access;
  Claims claims;
  Connections connections;
  Drainer drainer;
  Poisons poisons;
  RequestIds ids;
  std::array<Tally, max_pools> refusals;   // while a pool's breaker is open
  std::array<Tally, max_pools> overloads;  // where too many requests wait, or for too long
  ThreadShare threads;
  std::string temp_folder;
};

ChildState* child_state();  // nullptr before child_init

}  // namespace cppfcgi
