// httpd's log for this module: include it where ap_log_error and its relatives are called.
#pragma once

#include "mod_cppfcgi/httpd/config.h"
// after config.h, so that the module keeps its C linkage
#include <http_log.h>

APLOG_USE_MODULE(cppfcgi);
