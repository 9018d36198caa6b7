// The options of FastCgiServer, FastCgiExternalServer and FastCgiConfig: names, values, ranges and what is said about
// mistakes. Pure; what an option means for a worker is pool_config.h's and pool_settings.h's.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mod_cppfcgi/httpd/pool_settings.h"
#include "shared/result.h"

namespace cppfcgi {

// The value of a variable in httpd's own environment, for `-initial-env NAME`.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// Fills `settings` from the words after the program. Addresses stay as they are written, but for -port. Error:
// "-processes 0: out of range; accepted: 1 to 1024".
Result<void> parse_options(PoolSettings& settings, const std::vector<std::string>& words,
                           const Environment& environment);

// Likewise for FastCgiExternalServer.
Result<void> parse_external_options(PoolSettings& settings, const std::vector<std::string>& words,
                                    const Environment& environment);

// Likewise for FastCgiConfig; several lines add up.
Result<void> parse_dynamic_options(DynamicSettings& settings, const std::vector<std::string>& words,
                                   const Environment& environment);

// JSON and the log carry UTF-8 only; a directive's word that is not is refused.
bool is_utf8(std::string_view text);

}  // namespace cppfcgi
