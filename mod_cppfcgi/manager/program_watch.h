// ProgramWatch: notices that a program's file has been written or replaced, so that one that could not be started is
// tried again at once. A shell around inotify.
#pragma once

#include <functional>
#include <string>

#include "mod_cppfcgi/manager/loop.h"
#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class ProgramWatch {
 public:
  // `changed` is called until the watch is destroyed, which it may do itself.
  static Result<ProgramWatch> make(Loop& loop, const std::string& program, const std::function<void()>& changed);

 private:
  Fd inotify_;
  Loop::Watch watch_;
};

}  // namespace cppfcgi
