// The link to the manager: httpd's parent starts it, keeps its control socket and both shared areas in retained data
// (descriptors and numbers only), sends it each new configuration, and lets httpd's children reach the areas. The only
// place that knows about the manager's process. Hooks are called by mod_cppfcgi.cpp.
#pragma once

#include <httpd.h>

#include <cstdint>
#include <string>

#include "shared/claims.h"
#include "shared/memory.h"
#include "shared/scoreboard.h"

namespace cppfcgi {

// What an httpd child needs to reach workers. One per process, made in child_init, never changed afterwards; any thread
// may use it.
struct WorkerAccess {
  const Directory* directory = nullptr;
  Load* load = nullptr;
  int nudge = -1;             // eventfd, non-blocking: write 1 when a pool's waiters go from none to some
  int orders = -1;            // where dynamic pools are ordered, see core/pool_order.h
  std::string socket_folder;  // Configuration::socket_folder
  std::int32_t pid = 0;       // this child's
};

// Views of the areas, which children inherit. Belongs to a configuration: unmapped with it, mapped anew by the next
// one.
struct LinkState {
  Mapping directory;
  Mapping load;
  WorkerAccess access;
};

// nullptr before child_init.
const WorkerAccess* worker_access();

// Whether this process already keeps a manager: httpd reads its configuration again.
bool link_is_running();

// Hooks. Failure is logged; post_config's stops httpd (OK or an HTTP status).
int link_post_config(apr_pool_t* pconf, server_rec* main_server);
void link_child_init(apr_pool_t* pchild, server_rec* main_server);
void link_monitor(server_rec* main_server);  // in the parent, about every ten seconds: tries again
void link_child_started(int generation);     // in the parent
void link_child_ended(server_rec* main_server, int pid, int generation);  // in the parent: sweeps what the child held

}  // namespace cppfcgi
