#include "mod_cppfcgi/httpd/request_params.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <util_script.h>

#include <string_view>
#include <utility>

#include "mod_cppfcgi/core/exchange.h"
#include "mod_cppfcgi/httpd/mount.h"
#include "shared/params.h"

namespace cppfcgi {
namespace {

constexpr std::size_t usual_opening_bytes = 4'096;

// The application stands at its mount, and has no file that PATH_INFO could be behind.
void add_mounted_cgi_vars(request_rec* request, const PoolSettings& settings) {
  char* path_info = std::exchange(request->path_info, const_cast<char*>(""));
  ap_add_cgi_vars(request);
  request->path_info = path_info;
  apr_table_t* variables = request->subprocess_env;
  apr_table_setn(variables, "SCRIPT_NAME", settings.mount == "/" ? "" : settings.mount.c_str());
  if (path_info == nullptr || *path_info == '\0') return;
  apr_table_setn(variables, "PATH_INFO", path_info);
  apr_table_setn(variables, "PATH_TRANSLATED",
                 apr_pstrcat(request->pool, ap_document_root(request), path_info, nullptr));
}

// "X-Forwarded-For" → "HTTP_X_FORWARDED_FOR"
const char* variable_name(apr_pool_t* pool, const std::string& header) {
  char* name = apr_pstrcat(pool, "HTTP_", header.c_str(), nullptr);
  for (char* c = name; *c != '\0'; ++c) *c = *c == '-' ? '_' : static_cast<char>(apr_toupper(*c));
  return name;
}

// As CGI knows it, and under its own name, which is what mod_fastcgi passes.
void add_passed_headers(request_rec* request, const PoolSettings& settings) {
  for (const std::string& header : settings.pass_headers) {
    const char* value = apr_table_get(request->headers_in, header.c_str());
    if (value == nullptr || equal_in_any_case(header, "Proxy")) continue;
    apr_table_setn(request->subprocess_env, variable_name(request->pool, header), value);
    apr_table_setn(request->subprocess_env, header.c_str(), value);
  }
}

// The worker gets the body as it is, not as it was transferred.
void describe_body(request_rec* request, std::optional<std::uint64_t> body_bytes) {
  if (!body_bytes) return;
  apr_table_t* variables = request->subprocess_env;
  apr_table_setn(variables, "CONTENT_LENGTH", apr_psprintf(request->pool, "%" APR_UINT64_T_FMT, *body_bytes));
  apr_table_unset(variables, "HTTP_TRANSFER_ENCODING");
}

// httpd has joined repeated headers with ", ", which is not what joins cookies (RFC 6265 section 4.2, RFC 9113 8.2.3).
// A comma and a blank before a name and "=" is such a joint; within a cookie's value it would be followed by something
// else.
std::string rejoin_cookies(std::string_view joined) {
  std::string cookies;
  cookies.reserve(joined.size());
  for (std::size_t comma = joined.find(", "); comma != std::string_view::npos; comma = joined.find(", ")) {
    const std::string_view behind = joined.substr(comma + 2);
    const std::size_t end = behind.find_first_of("=;, \t\"");
    const bool is_joint = end != std::string_view::npos && end > 0 && behind[end] == '=';
    cookies.append(joined.substr(0, comma)).append(is_joint ? "; " : ", ");
    joined = behind;
  }
  return cookies.append(joined);
}

}  // namespace

std::optional<std::string> encode_opening(request_rec* request, const PoolSettings& settings,
                                          std::optional<std::uint64_t> body_bytes) {
  ap_add_common_vars(request);
  if (is_mounted(request)) {
    add_mounted_cgi_vars(request, settings);
  } else {
    ap_add_cgi_vars(request);
  }
  add_passed_headers(request, settings);
  describe_body(request, body_bytes);

  std::string opening;
  opening.reserve(usual_opening_bytes);
  append_begin_request(opening, Exchange::request_id, Role::responder, 0);
  ParamsWriter params(opening, Exchange::request_id);
  const apr_array_header_t* variables = apr_table_elts(request->subprocess_env);
  const auto* entries = reinterpret_cast<const apr_table_entry_t*>(variables->elts);
  for (int i = 0; i < variables->nelts; ++i) {
    if (entries[i].key == nullptr) continue;
    const std::string_view name = entries[i].key;
    const std::string_view value = entries[i].val;
    if (name == "HTTP_COOKIE" && value.find(", ") != std::string_view::npos) {
      params.add(name, rejoin_cookies(value));
    } else {
      params.add(name, value);
    }
    if (opening.size() > max_params_bytes) return std::nullopt;
  }
  params.finish();
  return opening;
}

void set_keep_connection(std::string& opening, bool is_kept) {
  constexpr std::size_t flags_at = header_bytes + 2;  // behind BEGIN_REQUEST's role
  opening[flags_at] = static_cast<char>(is_kept ? keep_conn_flag : 0);
}

}  // namespace cppfcgi
