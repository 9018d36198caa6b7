// A temporary file that has no name, so that nothing is left behind whatever happens. A shell.
#pragma once

#include <string>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

// The first folder of those that TMP, TEMP and TMPDIR name, /tmp, /usr/tmp and /var/tmp that this process may write to.
// In the order of APR, whose own search makes a named file in each to see: a process that is killed meanwhile leaves
// it.
std::string find_temp_folder();

Result<Fd> make_temp_file(const std::string& folder);

// Appends all of it. ENOSPC and EDQUOT: the disk is full.
Result<void> write_all(int fd, const char* data, std::size_t bytes);

}  // namespace cppfcgi
