// The names in -host as addresses, once, while httpd reads its configuration: requests never wait for a name server.
// Knows nothing of httpd; asks the system's resolver, and takes as long as that does.
#pragma once

#include <string>

#include "shared/result.h"

namespace cppfcgi {

// "localhost:9000" → "127.0.0.1:9000", "[::1]:9000" → itself. A name with addresses of both kinds stands for the first
// of IPv4, as for mod_fastcgi. Error: what is wrong with it.
Result<std::string> resolve(const std::string& host_and_port);

}  // namespace cppfcgi
