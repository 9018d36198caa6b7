// A request's id: what the worker's variable UNIQUE_ID, the access log's %{UNIQUE_ID}e, both logs' %L and our own lines
// name it by.
#pragma once

#include <httpd.h>

#include "mod_cppfcgi/core/request_ids.h"

namespace cppfcgi {

// Gives it one: mod_unique_id's where that is loaded, or what httpd has used in its log already, else one of ours. An
// internal redirect keeps its. From here on request->log_id is set, too.
void give_id(request_rec* request, RequestIds& ids);

}  // namespace cppfcgi
