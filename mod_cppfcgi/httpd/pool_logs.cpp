#include "mod_cppfcgi/httpd/pool_logs.h"

#include <apr_portable.h>
#include <fcntl.h>

#include <algorithm>

#include "shared/control.h"

namespace cppfcgi {

std::uint32_t PoolLogs::number_of(const server_rec* server) {
  apr_file_t* log = server->error_log;
  if (log == nullptr || log == main_) return 0;
  // httpd opens a file that several hosts name once.
  const auto known = std::ranges::find(logs_, log);
  if (known != logs_.end()) return static_cast<std::uint32_t>(known - logs_.begin()) + 1;
  apr_os_file_t fd = -1;
  if (logs_.size() == max_pool_logs || apr_os_file_get(&fd, log) != APR_SUCCESS) return 0;
  Fd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return 0;
  logs_.push_back(log);
  copies_.push_back(std::move(copy));
  return static_cast<std::uint32_t>(logs_.size());
}

}  // namespace cppfcgi
