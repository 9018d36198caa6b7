// check_program: whether a path that a stranger names may become a pool's program: absolute, without detours, and an
// executable file. A shell: asks the file system.
#pragma once

#include <string>

#include "shared/result.h"

namespace cppfcgi {

// The error's code says of what kind it is, as CGI knows them: ENOENT, EACCES, or EINVAL for what is no path.
Result<void> check_program(const std::string& program);

}  // namespace cppfcgi
