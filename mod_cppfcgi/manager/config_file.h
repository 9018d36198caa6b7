// ConfigFile: takes configurations from a file, for a manager that stands alone. A shell.
#pragma once

#include <memory>
#include <string>

#include "mod_cppfcgi/manager/log.h"
#include "mod_cppfcgi/manager/manager.h"

namespace cppfcgi {

// Errors name the file.
Result<Configuration> read_config_file(const std::string& path);

class ConfigFile {
 public:
  // Reads it and puts it in force; tells a service manager, if there is one (NOTIFY_SOCKET).
  static Result<std::unique_ptr<ConfigFile>> open(Manager& manager, const Log& log, const std::string& path);

  // What changed is rolled; a file with mistakes changes nothing.
  void read_again();

 private:
  ConfigFile(Manager& manager, const Log& log, std::string path)
      : manager_(manager), log_(log), path_(std::move(path)) {}
  Result<void> apply();

  Manager& manager_;
  const Log& log_;
  std::string path_;
  std::uint64_t number_ = 0;
};

}  // namespace cppfcgi
