// handle_request: the steps of a request in order. Reads the body, writes the params, and hands over to Gateway.
#include "mod_cppfcgi/httpd/handler.h"

#include <http_core.h>
#include <http_protocol.h>

#include <optional>
#include <string_view>

#include "mod_cppfcgi/httpd/child_state.h"
#include "mod_cppfcgi/httpd/config.h"
#include "mod_cppfcgi/httpd/gateway.h"
#include "mod_cppfcgi/httpd/log.h"
#include "mod_cppfcgi/httpd/mount.h"
#include "mod_cppfcgi/httpd/request_body.h"
#include "mod_cppfcgi/httpd/request_id.h"
#include "mod_cppfcgi/httpd/request_params.h"

namespace cppfcgi {
namespace {

bool may_execute(request_rec* request) {
  const char* forced = apr_table_get(request->notes, "alias-forced-type");
  const bool is_script_aliased = forced != nullptr && std::string_view(forced) == "cgi-script";
  return is_script_aliased || (ap_allow_options(request) & OPT_EXECCGI) != 0;
}

int refuse(request_rec* request, int status, const char* why) {
  ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, request, "%s: no FastCgiServer declares it, and %s; the client gets %d",
                request->filename, why, status);
  return status;
}

// What CGI asks of a program, too. OK, or the status.
int check_dynamic(request_rec* request) {
  if (!may_execute(request)) return refuse(request, HTTP_FORBIDDEN, "Options ExecCGI is off in this folder");
  switch (request->finfo.filetype) {
    case APR_NOFILE:
      return refuse(request, HTTP_NOT_FOUND, "there is no such file");
    case APR_DIR:
      return refuse(request, HTTP_FORBIDDEN, "it is a folder");
    case APR_REG:
      return OK;
    default:
      return refuse(request, HTTP_FORBIDDEN, "it is not a regular file");
  }
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
  std::optional<PoolSettings> dynamic;
  if (settings == nullptr) {
    if (const int status = check_dynamic(request); status != OK) return status;
    dynamic = dynamic_settings(request->server).for_program(request->filename);
    settings = &*dynamic;
  }
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
