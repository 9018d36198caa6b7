#include "mod_cppfcgi/httpd/child_state.h"

#include <ap_mpm.h>

#include <algorithm>
#include <memory>

#include "mod_cppfcgi/httpd/config.h"
#include "mod_cppfcgi/httpd/handler.h"
#include "shared/futex.h"

namespace cppfcgi {

ChildState::ChildState(const WorkerAccess& workers, std::uint32_t threads)
    : access(workers), claims(*workers.directory, *workers.load, wake_one), connections(threads) {}

ChildState* child_state() { return global_config().child.get(); }

void handler_child_init(apr_pool_t*, server_rec*) {
  const WorkerAccess* access = worker_access();
  if (access == nullptr) return;
  int threads = 0;
  ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
  global_config().child = std::make_shared<ChildState>(*access, static_cast<std::uint32_t>(std::max(threads, 1)));
}

}  // namespace cppfcgi
