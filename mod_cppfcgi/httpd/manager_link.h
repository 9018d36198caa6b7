// The link to the manager: httpd's parent starts it, keeps its control socket and both shared areas in retained data
// (descriptors and numbers only), sends it each new configuration, and lets httpd's children reach the areas. The only
// place that knows about the manager's process. Hooks are called by mod_cppfcgi.cpp.
#pragma once

#include <httpd.h>

#include <string>

#include "shared/claims.h"
#include "shared/scoreboard.h"

namespace cppfcgi {

// What an httpd child needs to reach workers. One per process, made in child_init, never changed afterwards; any thread
// may use it.
struct WorkerAccess {
  const Directory* directory = nullptr;
  Load* load = nullptr;
  int nudge = -1;             // eventfd, non-blocking: write 1 when a pool's waiters go from none to some
  std::string socket_folder;  // Configuration::socket_folder
  std::int32_t pid = 0;       // this child's
};

// nullptr before child_init, and where no pool is configured.
const WorkerAccess* worker_access();

// Hooks. Failure is logged; post_config's stops httpd.
int link_post_config(apr_pool_t* pconf, server_rec* main_server);
void link_child_init(apr_pool_t* pchild, server_rec* main_server);
void link_child_ended(int pid);          // in the parent: sweeps what the child held
void link_generation_ended(int number);  // in the parent: removed pools may end

}  // namespace cppfcgi
