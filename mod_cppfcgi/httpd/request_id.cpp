#include "mod_cppfcgi/httpd/request_id.h"

#include <apr_strings.h>

namespace cppfcgi {
namespace {

constexpr const char* variable = "UNIQUE_ID";

const char* given_id(const request_rec* request) {
  if (const char* id = apr_table_get(request->subprocess_env, variable)) return id;
  if (request->prev != nullptr) {
    if (const char* id = apr_table_get(request->prev->subprocess_env, variable)) return id;
  }
  return request->log_id;
}

}  // namespace

void give_id(request_rec* request, RequestIds& ids) {
  const char* id = given_id(request);
  if (id == nullptr) {
    const auto made = ids.next();
    id = apr_pstrmemdup(request->pool, made.data(), made.size());
  }
  apr_table_setn(request->subprocess_env, variable, id);
  if (request->log_id == nullptr) request->log_id = id;
}

}  // namespace cppfcgi
