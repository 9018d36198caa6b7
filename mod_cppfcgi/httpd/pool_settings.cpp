#include "mod_cppfcgi/httpd/pool_settings.h"

#include <algorithm>

namespace cppfcgi {

using namespace std::chrono_literals;

DynamicSettings::DynamicSettings() {
  common.pool.max_processes = 10;           // -maxClassProcesses
  common.pool.idle_process_timeout = 300s;  // -killInterval
  common.pool.restart_delay = 5s;
  common.pool.min_server_life = 30s;
}

// The scope keeps its pools apart from all that are declared.
void DynamicSettings::complete(const std::string& scope, const std::string& host) {
  common.pool.scope = scope.empty() ? "dynamic" : "dynamic of " + scope;
  common.pool.name = host.empty() ? "" : " of " + host;
  common.pool.max_processes = std::min(common.pool.max_processes, max_workers);
  min_workers = std::min(min_workers, max_workers);
  common.template_key = to_template().key();
}

PoolSettings DynamicSettings::for_program(const std::string& program) const {
  PoolSettings settings = common;
  settings.pool.program = program;
  settings.pool.name = program + common.pool.name;
  settings.key = settings.pool.key();
  return settings;
}

}  // namespace cppfcgi
