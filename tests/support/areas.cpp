#include "tests/support/areas.h"

#include <fcntl.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "shared/fd.h"

namespace cppfcgi::test {
namespace {

Mapping map(pid_t httpd, const std::string& name, std::size_t bytes) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(httpd) + "/fd")) {
    std::error_code gone;
    if (!std::filesystem::read_symlink(entry.path(), gone).string().starts_with("/memfd:" + name)) continue;
    const Fd fd(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
    if (auto mapped = Mapping::map(fd.get(), bytes, Access::read_write)) return *std::move(mapped);
  }
  throw std::runtime_error("httpd has no area " + name);
}

}  // namespace

Areas::Areas(pid_t httpd)
    : directory_(map(httpd, "cppfcgi-directory", sizeof(Directory))),
      load_(map(httpd, "cppfcgi-load", sizeof(cppfcgi::Load))) {}

}  // namespace cppfcgi::test
