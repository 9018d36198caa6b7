#include "shared/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

namespace cppfcgi {
namespace {

// What Boost.Interprocess asks of a thing that can be mapped.
class MemoryHandle {
 public:
  MemoryHandle(int fd, Access access) : fd_(fd), access_(access) {}
  boost::interprocess::mapping_handle_t get_mapping_handle() const { return {.handle = fd_, .is_xsi = false}; }
  boost::interprocess::mode_t get_mode() const {
    return access_ == Access::read_only ? boost::interprocess::read_only : boost::interprocess::read_write;
  }

 private:
  int fd_;
  Access access_;
};

}  // namespace

Result<Fd> make_shared_memory(const char* name, std::size_t bytes) {
  const std::string context = "shared memory " + std::string(name) + " of " + std::to_string(bytes) + " bytes";
  Fd memory(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return posix_error(context, errno);
  if (ftruncate(memory.get(), static_cast<off_t>(bytes)) < 0) return posix_error(context, errno);
  if (fchmod(memory.get(), 0600) < 0) return posix_error(context, errno);
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
    return posix_error(context, errno);
  return memory;
}

Result<Fd> reopen_read_only(const Fd& memory) {
  const std::string path = "/proc/self/fd/" + std::to_string(memory.get());
  Fd reader(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader) return posix_error("reopen " + path + " read-only", errno);
  return reader;
}

Result<Mapping> Mapping::map(int fd, std::size_t bytes, Access access) {
  struct stat status {};
  if (fstat(fd, &status) < 0) return posix_error("shared memory, descriptor " + std::to_string(fd), errno);
  if (status.st_size < static_cast<off_t>(bytes)) {
    return Error{EINVAL, "shared memory, descriptor " + std::to_string(fd) + ": " + std::to_string(status.st_size) +
                             " bytes, and not the " + std::to_string(bytes) + " that are wanted"};
  }
  try {
    Mapping mapping;
    mapping.region_ = boost::interprocess::mapped_region(
        MemoryHandle(fd, access),
        access == Access::read_only ? boost::interprocess::read_only : boost::interprocess::read_write, 0, bytes);
    return mapping;
  } catch (const boost::interprocess::interprocess_exception& failure) {
    return Error{failure.get_native_error(), "map shared memory: " + std::string(failure.what())};
  }
}

}  // namespace cppfcgi
