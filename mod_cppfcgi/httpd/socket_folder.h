// The folder for the slots' sockets: "<FastCgiIpcDir>/<pid of httpd's parent>". The manager removes it when it ends.
#pragma once

#include <string>

#include "mod_cppfcgi/httpd/identity.h"

namespace cppfcgi {

// Creates both folders where they are missing (0711, the identity's), and clears what servers that are dead have left.
// The path of the inner one. Nothing is believed of what lies there: the identity may write to it, and this process may
// be root.
Result<std::string> make_socket_folder(const std::string& ipc_folder, pid_t parent, const Identity& identity);

}  // namespace cppfcgi
