#include "mod_cppfcgi/core/temp_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>

namespace cppfcgi {

std::string find_temp_folder() {
  const char* const folders[] = {::getenv("TMP"), ::getenv("TEMP"), ::getenv("TMPDIR"), "/tmp", "/usr/tmp", "/var/tmp"};
  for (const char* folder : folders) {
    if (folder != nullptr && folder[0] == '/' && ::access(folder, W_OK | X_OK) == 0) return folder;
  }
  return "/tmp";  // which will be found wanting when it is used
}

Result<Fd> make_temp_file(const std::string& folder) {
  Fd unnamed(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (unnamed) return unnamed;
  // Not every file system has O_TMPFILE.
  std::string path = folder + "/cppfcgi.XXXXXX";
  Fd named(::mkostemp(path.data(), O_CLOEXEC));
  if (!named) return posix_error("make a temporary file in " + folder, errno);
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
