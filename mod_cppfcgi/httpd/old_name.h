// Old configurations ask for us by another name: <IfModule mod_fastcgi.c>. A module record without directives or hooks
// makes such sections ours, unless the real mod_fastcgi is there. (<IfModule fastcgi_module> asks what LoadModule lines
// there are, and cannot be answered.)
#pragma once

#include <apr_pools.h>

namespace cppfcgi {

// While the module is being loaded; until the pool, which httpd clears before it unloads the module, is gone.
void answer_to_old_name(apr_pool_t* pool);

}  // namespace cppfcgi
