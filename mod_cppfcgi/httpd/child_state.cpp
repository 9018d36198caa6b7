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
namespace {

// At least 1: prefork has no threads.
std::uint32_t ask_mpm(int what) {
  int number = 0;
  ap_mpm_query(what, &number);
  return static_cast<std::uint32_t>(std::max(number, 1));
}

}  // namespace

ChildState::ChildState(const WorkerAccess& workers, std::uint32_t own_threads, std::uint32_t threads_in_server,
                       const std::string& temporary, std::uint64_t nonce)
    : access(workers),
      claims(*workers.directory, *workers.load, wake_one),
      connections(own_threads),
      drainer({.folder = temporary}),
      poisons(*workers.load),
      ids(nonce),
      threads(own_threads, threads_in_server),
      temp_folder(temporary) {}

ChildState* child_state() { return global_config().child; }

void handler_child_init(apr_pool_t* pchild, server_rec*) {
  const WorkerAccess* access = worker_access();
  if (access == nullptr) return;
  const std::uint32_t threads = ask_mpm(AP_MPMQ_MAX_THREADS);
  std::uint64_t nonce = 0;
  apr_generate_random_bytes(reinterpret_cast<unsigned char*>(&nonce), sizeof nonce);
  auto state =
      std::make_unique<ChildState>(*access, threads, threads * ask_mpm(AP_MPMQ_MAX_DAEMONS), find_temp_folder(), nonce);
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
