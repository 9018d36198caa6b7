#include "mod_cppfcgi/manager/program_path.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace cppfcgi {
namespace {

// One way to write it, so that one program is one pool.
bool is_canonical(const std::string& path) {
  if (!path.starts_with('/') || path.ends_with('/') || path.find('\0') != path.npos) return false;
  const std::string segments = path + '/';
  return segments.find("//") == segments.npos && segments.find("/./") == segments.npos &&
         segments.find("/../") == segments.npos;
}

}  // namespace

Result<void> check_program(const std::string& program) {
  if (!is_canonical(program)) return Error{EINVAL, "the program's path is not absolute and without detours"};
  struct stat status {};
  if (stat(program.c_str(), &status) < 0) {
    const int code = errno;
    return Error{code == ENOTDIR ? ENOENT : code, posix_error("no such program", code).what};
  }
  if (!S_ISREG(status.st_mode)) return Error{EACCES, "it is not a regular file"};
  // The manager is who its workers are.
  if (access(program.c_str(), X_OK) < 0) return posix_error("it may not be executed", errno);
  return {};
}

}  // namespace cppfcgi
