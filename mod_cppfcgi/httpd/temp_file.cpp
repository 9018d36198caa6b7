#include "mod_cppfcgi/httpd/temp_file.h"

#include <apr_file_io.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace cppfcgi {

Result<Fd> make_temp_file(apr_pool_t* pool) {
  const char* folder = nullptr;
  if (apr_temp_dir_get(&folder, pool) != APR_SUCCESS) return Error{0, "there is no folder for temporary files"};
  Fd unnamed(::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (unnamed) return unnamed;
  // Not every file system has O_TMPFILE.
  std::string path = std::string(folder) + "/cppfcgi.XXXXXX";
  Fd named(::mkostemp(path.data(), O_CLOEXEC));
  if (!named) return posix_error("make a temporary file in " + std::string(folder), errno);
  ::unlink(path.c_str());
  return named;
}

Result<void> write_all(int fd, const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = ::write(fd, data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return posix_error("write to a temporary file", errno);
    data += written;
    bytes -= static_cast<std::size_t>(written);
  }
  return {};
}

}  // namespace cppfcgi
