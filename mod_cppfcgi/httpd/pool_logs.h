// PoolLogs: the error logs of the virtual hosts that declare pools, for the manager, which writes there what it has to
// say about them. Each once; the main server's is the manager's own anyway, and a host that logs to syslog has none to
// pass on.
#pragma once

#include <httpd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "shared/fd.h"

namespace cppfcgi {

class PoolLogs {
 public:
  explicit PoolLogs(const server_rec* main_server) : main_(main_server->error_log) {}

  // What PoolConfig::log says of a pool of this host: 0 is the main log, which also serves those beyond max_pool_logs.
  std::uint32_t number_of(const server_rec* server);

  // In the order of their numbers, from 1 on.
  std::vector<Fd> take() { return std::move(copies_); }

 private:
  const apr_file_t* main_;
  std::vector<const apr_file_t*> logs_;
  std::vector<Fd> copies_;
};

}  // namespace cppfcgi
