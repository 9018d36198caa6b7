// The request as CGI variables (RFC 3875 section 4), encoded as BEGIN_REQUEST and PARAMS records. The variables are
// httpd's own (ap_add_common_vars, ap_add_cgi_vars), which withhold Authorization and Proxy, and leave out headers
// whose names could pretend to be others' (X_Y for X-Y). What is different here: a mounted application's place, a body
// whose length is known only now, repeated Cookie headers, and -pass-header.
#pragma once

#include <httpd.h>

#include <optional>
#include <string>

#include "mod_cppfcgi/httpd/pool_settings.h"

namespace cppfcgi {

inline constexpr std::size_t max_params_bytes = std::size_t{4} << 20;  // of all params together

// nullopt: they exceed max_params_bytes. body_bytes: nullopt where the request has no body.
std::optional<std::string> encode_opening(request_rec* request, const PoolSettings& settings,
                                          std::optional<std::uint64_t> body_bytes);

// Whether the worker is to keep the connection is decided once it is chosen.
void set_keep_connection(std::string& opening, bool is_kept);

}  // namespace cppfcgi
