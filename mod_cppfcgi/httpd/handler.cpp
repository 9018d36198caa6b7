// handle_request: the steps of a request in order. Reads the body, writes the params, and hands over to Gateway.
#include "mod_cppfcgi/httpd/handler.h"

#include <http_protocol.h>

#include "mod_cppfcgi/httpd/child_state.h"
#include "mod_cppfcgi/httpd/gateway.h"
#include "mod_cppfcgi/httpd/log.h"
#include "mod_cppfcgi/httpd/mount.h"
#include "mod_cppfcgi/httpd/request_body.h"
#include "mod_cppfcgi/httpd/request_id.h"
#include "mod_cppfcgi/httpd/request_params.h"

namespace cppfcgi {
namespace {

int without_pool(request_rec* request) {
  if (request->finfo.filetype == APR_NOFILE) return HTTP_NOT_FOUND;
  ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, request, "no FastCgiServer declares %s; the client gets 500",
                request->filename);
  return HTTP_INTERNAL_SERVER_ERROR;
}

// AcceptPathInfo Off; programs accept it unless that says otherwise.
bool is_path_info_refused(const request_rec* request) {
  return request->used_path_info == AP_REQ_REJECT_PATH_INFO && request->path_info && *request->path_info != '\0' &&
         !is_mounted(request);
}

}  // namespace

int take_declared_program(request_rec* request) {
  if (is_mounted(request) || pool_of(request) == nullptr) return DECLINED;
  request->handler = handler_name.data();
  return OK;
}

int handle_request(request_rec* request) {
  const PoolSettings* settings = pool_of(request);
  if (settings == nullptr) return without_pool(request);
  if (is_path_info_refused(request)) return HTTP_NOT_FOUND;
  ChildState* child = child_state();
  if (child == nullptr) {
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, request, "this process has no way to the workers; the client gets 503");
    return HTTP_SERVICE_UNAVAILABLE;
  }
  give_id(request, child->ids);
  RequestBody body(child->temp_folder);
  if (const int status = body.read(request); status != OK) return status;
  auto opening = encode_opening(request, *settings, body.bytes());
  if (!opening) {
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, request,
                  "request %s: the params exceed %" APR_SIZE_T_FMT " bytes; the client gets 431", request->log_id,
                  max_params_bytes);
    return HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
  }
  return Gateway(request, *settings, *child, *opening, body.source()).run();
}

}  // namespace cppfcgi
