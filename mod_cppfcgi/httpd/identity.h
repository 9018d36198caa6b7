// Identity: as whom workers and the manager run, and what that user may do with files. Asks the kernel in a child
// process that has become that user, so that access lists and mount options count too.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "shared/result.h"

namespace cppfcgi {

struct Identity {
  std::string user;  // for messages
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  bool is_other = false;  // than this process; else nothing need be changed
};

// httpd's User and Group with the supplementary groups, if httpd is started by root; else who runs it.
Result<Identity> worker_identity();

// Becomes it. Between fork and exec: async-signal-safe. 0, or errno.
int become(const Identity& identity);

enum class Need { execute_file, write_folder, enter_folder };

// What stands in the way of each: "" or "folder /srv/a: Permission denied".
struct AccessQuestion {
  std::string path;  // absolute
  Need need = Need::execute_file;
};
Result<std::vector<std::string>> check_access(const Identity& identity, const std::vector<AccessQuestion>& questions);

}  // namespace cppfcgi
