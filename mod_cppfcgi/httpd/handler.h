// The handler: one request from httpd to a worker and back.
#pragma once

#include <httpd.h>

namespace cppfcgi {

// As in mod_fastcgi: a file that a directive declares needs no SetHandler, and ScriptAlias does not make it plain CGI.
int take_declared_program(request_rec* request);

int handle_request(request_rec* request);
void handler_child_init(apr_pool_t* pchild, server_rec* main_server);

}  // namespace cppfcgi
