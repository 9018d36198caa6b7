// The C++ applications that Debian ships and people run behind httpd, IIPImage and MapServer: something for each to
// answer about, and how each must be started. Used by the interop tests and by the bench.
#pragma once

#include <string>
#include <vector>

#include "tests/support/temp_folder.h"

namespace cppfcgi::test {

class Applications {
 public:
  // Makes a pyramid TIFF (with vips), a map file with inline features and MapServer's configuration in the folder.
  explicit Applications(const TempFolder& folder);

  static constexpr char iipimage[] = "/usr/lib/iipimage-server/iipsrv.fcgi";
  static constexpr char mapserver[] = "/usr/bin/mapserv";

  // "NAME=value": the environment that each program needs.
  std::vector<std::string> iipimage_environment() const;
  std::vector<std::string> mapserver_environment() const;

  // Questions, as query strings.
  std::string tile(int level, int number) const;
  std::string image_info() const;
  std::string iiif(const std::string& rest) const;  // "info.json" or "0,0,512,512/256,/0/default.jpg"
  std::string map(int width) const;

 private:
  std::string image_;
  std::string map_file_;
  std::string mapserver_configuration_;
};

}  // namespace cppfcgi::test
