#include "mod_cppfcgi/httpd/answer.h"

#include <apr_date.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <http_request.h>

#include <string_view>

namespace cppfcgi {
namespace {

const char* copy(request_rec* request, std::string_view text) {
  return apr_pstrmemdup(request->pool, text.data(), text.size());
}

bool is(std::string_view name, std::string_view known) { return equal_in_any_case(name, known); }

// Most headers go where they outlive an error page and an internal redirect; those that describe this very body do not.
void set_header(request_rec* request, const AnswerHead::Field& field) {
  const std::string_view name = field.name;
  const char* value = copy(request, field.value);
  switch (name.size()) {
    case 4:
      if (is(name, "ETag")) return apr_table_setn(request->headers_out, "ETag", value);
      break;
    case 8:
      if (is(name, "Location")) return apr_table_setn(request->headers_out, "Location", value);
      break;
    case 12:
      if (is(name, "Content-Type")) return ap_set_content_type(request, value);
      break;
    case 13:
      if (is(name, "Last-Modified")) {
        const apr_time_t time = apr_date_parse_http(value);
        if (time == APR_DATE_BAD) return;  // it would say 1970
        ap_update_mtime(request, time);
        return ap_set_last_modified(request);
      }
      if (is(name, "Content-Range")) return apr_table_setn(request->headers_out, "Content-Range", value);
      break;
    case 14:
      if (is(name, "Content-Length")) return apr_table_setn(request->headers_out, "Content-Length", value);
      break;
    case 16:
      if (is(name, "Content-Encoding")) {
        request->content_encoding = value;
        return apr_table_setn(request->headers_out, "Content-Encoding", value);
      }
      break;
    case 17:
      if (is(name, "X-Accel-Buffering")) return;
      break;
    default:
      break;
  }
  apr_table_addn(request->err_headers_out, copy(request, name), value);
}

}  // namespace

bool is_stream(const AnswerHead& head) {
  constexpr std::string_view events = "text/event-stream";
  return is(head.find("Content-Type").substr(0, events.size()), events) || is(head.find("X-Accel-Buffering"), "no");
}

Answer apply_head(request_rec* request, const AnswerHead& head, bool is_nph) {
  Answer answer;
  if (head.has_status()) {
    request->status = head.status();
    // Without a line httpd answers 500 for a status that it does not know.
    request->status_line = head.reason().empty()
                               ? ap_get_status_line_ex(request->pool, head.status())
                               : apr_psprintf(request->pool, "%d %.*s", head.status(),
                                              static_cast<int>(head.reason().size()), head.reason().data());
  }
  for (std::size_t i = 0; i < head.field_count(); ++i) set_header(request, head.field(i));

  const char* location = apr_table_get(request->headers_out, "Location");
  if (location != nullptr && request->status == HTTP_OK && !is_nph) {
    if (location[0] == '/') return {.plan = AnswerPlan::local_redirect, .location = location};
    return {.plan = AnswerPlan::refuse, .status = HTTP_MOVED_TEMPORARILY};
  }
  if (request->status == HTTP_OK && request->method_number == M_GET && !is_nph) {
    const int met = ap_meets_conditions(request);
    if (met == HTTP_NOT_MODIFIED) {
      request->status = met;
      request->status_line = nullptr;
    } else if (met != OK) {
      return {.plan = AnswerPlan::refuse, .status = met};
    }
  }
  if (request->status == HTTP_NO_CONTENT || request->status == HTTP_NOT_MODIFIED) answer.plan = AnswerPlan::send_empty;
  return answer;
}

void redirect_locally(request_rec* request, const char* location) {
  // The body has been read, and the application's status was but "look there": the new request has neither.
  request->method = "GET";
  request->method_number = M_GET;
  request->status = HTTP_OK;
  apr_table_unset(request->headers_in, "Content-Length");
  apr_table_unset(request->headers_in, "Transfer-Encoding");
  ap_internal_redirect_handler(location, request);
}

}  // namespace cppfcgi
