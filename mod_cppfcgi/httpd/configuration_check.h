// What can only be checked when the whole configuration is known: totals, names, and what files allow to httpd's User.
// Completes PoolSettings (scope, name, key) and the defaults in GlobalConfig. Runs for configtest too; changes no file.
#pragma once

#include <httpd.h>

namespace cppfcgi {

// Logs each mistake with its file and line. Not OK: httpd does not start.
int check_configuration(apr_pool_t* pconf, server_rec* main_server);

}  // namespace cppfcgi
