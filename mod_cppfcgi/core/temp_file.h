// A temporary file that has no name, so that nothing is left behind whatever happens. A shell.
#pragma once

#include <string>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

Result<Fd> make_temp_file(const std::string& folder);

// Appends all of it. ENOSPC and EDQUOT: the disk is full.
Result<void> write_all(int fd, const char* data, std::size_t bytes);

}  // namespace cppfcgi
