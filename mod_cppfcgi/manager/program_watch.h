// ProgramWatch: notices that another program lies at a path, or that something beside it has changed: the file was
// written, replaced, or a link on the way to it was turned to another place. A shell around inotify.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "mod_cppfcgi/manager/loop.h"
#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class ProgramWatch {
 public:
  enum class Change { program, neighbour };  // neighbour: another file in the program's folder
  using Callback = std::function<void(Change change)>;

  // `changed` is called until the watch is destroyed, which it may do itself. After Change::program make a new one:
  // the way to the program may be another.
  static Result<ProgramWatch> make(Loop& loop, const std::string& program, const Callback& changed);

 private:
  using Names = std::map<int, std::set<std::string>>;  // what matters in each watched folder, by inotify's number

  Result<void> add(const std::string& folder, const std::string& name);
  Result<void> follow(const std::string& program);

  Fd inotify_;
  Names names_;
  int own_folder_ = -1;
  Loop::Watch watch_;
};

}  // namespace cppfcgi
