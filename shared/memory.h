// SharedMemory: a memfd (anonymous memory that is passed by descriptor), and Mapping: a view of one. The descriptor may
// be closed once it is mapped. A shell: makes system calls. Errors name the size and the reason.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

// New zero-filled memory of this size, sealed against resizing (a shrunk file would kill its readers by SIGBUS), for
// the owner alone.
Result<Fd> make_shared_memory(const char* name, std::size_t bytes);

// A second descriptor of the same memory that can never be made writable again, not even by mprotect.
Result<Fd> reopen_read_only(const Fd& memory);

enum class Access { read_only, read_write };

class Mapping {
 public:
  Mapping() = default;
  static Result<Mapping> map(int fd, std::size_t bytes, Access access);  // refuses memory that is shorter

  void* address() const { return region_.get_address(); }
  explicit operator bool() const { return region_.get_address() != nullptr; }

 private:
  boost::interprocess::mapped_region region_;
};

}  // namespace cppfcgi
