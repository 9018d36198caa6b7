// PinnedProgram: a program's file as it was when it was put in force, held by a descriptor: it can still be started
// when another one lies in its place. A script that is changed in place cannot be held so. A shell; owned by the pool's
// keeper.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class PinnedProgram {
 public:
  static Result<PinnedProgram> pin(const std::string& path);
  // The one that a worker runs, wherever its file is now. Of a script it is the interpreter.
  static Result<PinnedProgram> pin_running(pid_t pid);

  int fd() const { return fd_.get(); }
  bool is_script() const { return is_script_; }
  Fd open_to_read() const;  // empty where we may run it and not read it

  bool is_in_place(const std::string& path) const;  // the path names this very file, unchanged
  std::uint64_t id() const;  // tells its content from others', as far as size and time tell; never 0
  // The same file in the same state: content as far as its size and time tell, and who may run it.
  bool is_same_state(const PinnedProgram& other) const;

 private:
  static Result<PinnedProgram> open(const std::string& path, const std::string& name);

  Fd fd_;
  struct stat state_ {};
  bool is_script_ = false;
};

}  // namespace cppfcgi
