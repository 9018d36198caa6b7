#include "mod_cppfcgi/httpd/child_state.h"

#include <ap_mpm.h>
#include <apr_general.h>

#include <algorithm>
#include <memory>

#include "mod_cppfcgi/core/temp_file.h"
#include "mod_cppfcgi/httpd/config.h"
#include "mod_cppfcgi/httpd/handler.h"
#include "shared/futex.h"

namespace cppfcgi {

ChildState::ChildState(const WorkerAccess& workers, std::uint32_t threads, const std::string& temporary,
                       std::uint64_t nonce)
    : access(workers),
      claims(*workers.directory, *workers.load, wake_one),
      connections(threads),
      drainer({.folder = temporary}),
      poisons(*workers.load),
      ids(nonce),
      temp_folder(temporary) {}

ChildState* child_state() { return global_config().child; }

void handler_child_init(apr_pool_t* pchild, server_rec*) {
  const WorkerAccess* access = worker_access();
  if (access == nullptr) return;
  int threads = 0;
  ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
  std::uint64_t nonce = 0;
  apr_generate_random_bytes(reinterpret_cast<unsigned char*>(&nonce), sizeof nonce);
  auto state = std::make_unique<ChildState>(*access, static_cast<std::uint32_t>(std::max(threads, 1)),
                                            find_temp_folder(), nonce);
  global_config().child = state.release();
  // Its thread must not use shared memory any more when that is unmapped, later in the same exit.
  apr_pool_cleanup_register(
      pchild, global_config().child,
      [](void* child) {
        static_cast<ChildState*>(child)->drainer.stop();
        return APR_SUCCESS;
      },
      apr_pool_cleanup_null);
}

}  // namespace cppfcgi
