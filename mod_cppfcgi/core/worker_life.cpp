#include "mod_cppfcgi/core/worker_life.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "shared/fd.h"

namespace cppfcgi {

bool is_living(std::int32_t pid) {
  if (pid <= 0) return false;
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/statm", pid);
  const Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  char first = '0';
  // Its first number is the size of its memory; "0" once that is gone.
  return file && ::read(file.get(), &first, 1) == 1 && first != '0';
}

}  // namespace cppfcgi
