// A file in httpd's folder for temporary files that has no name, so that nothing is left behind whatever happens.
#pragma once

#include <httpd.h>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

Result<Fd> make_temp_file(apr_pool_t* pool);

// Writes all of it. ENOSPC and EDQUOT: the disk is full.
Result<void> write_all(int fd, const char* data, std::size_t bytes);

}  // namespace cppfcgi
