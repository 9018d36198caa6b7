// The handler: one request from httpd to a worker and back.
#pragma once

#include <httpd.h>

namespace cppfcgi {

int handle_request(request_rec* request);
void handler_child_init(apr_pool_t* pchild, server_rec* main_server);

}  // namespace cppfcgi
