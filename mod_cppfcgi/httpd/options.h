// The options of FastCgiServer, FastCgiExternalServer and FastCgiConfig: names and what they set; their values
// are read by option_values.h, their words found by vocabulary.h. Pure; what an option means for a worker is
// pool_config.h's and pool_settings.h's.
#pragma once

#include <string>
#include <vector>

#include "mod_cppfcgi/httpd/pool_settings.h"
#include "mod_cppfcgi/httpd/vocabulary.h"
#include "shared/result.h"

namespace cppfcgi {

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

}  // namespace cppfcgi
