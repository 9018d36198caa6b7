// Areas: the scoreboard of a running httpd, writable: for tests of what one side makes of the other's words. Reached
// through the descriptors of httpd's parent.
#pragma once

#include <sys/types.h>

#include "shared/memory.h"
#include "shared/scoreboard.h"

namespace cppfcgi::test {

class Areas {
 public:
  explicit Areas(pid_t httpd);  // the parent; throws where they cannot be had

  Directory& directory() const { return *static_cast<Directory*>(directory_.address()); }
  cppfcgi::Load& load() const { return *static_cast<cppfcgi::Load*>(load_.address()); }

 private:
  Mapping directory_;
  Mapping load_;
};

}  // namespace cppfcgi::test
