// Starts the manager's process from httpd's parent: a new session, httpd's User, no descriptor but those it is given.
#pragma once

#include <string>

#include "mod_cppfcgi/httpd/identity.h"
#include "shared/result.h"

namespace cppfcgi {

struct ManagerStart {
  std::string program;
  int control = -1;  // the manager's end
  int directory = -1;
  int load = -1;
  int nudge = -1;
  int orders = -1;  // the manager's end
  Identity identity;
};

// Its pid once the program runs; the caller reaps it.
Result<pid_t> start_manager(const ManagerStart& start);

}  // namespace cppfcgi
