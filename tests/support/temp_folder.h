// TempFolder: a new folder below $TMPDIR (or /tmp) that everybody may enter (httpd's children run as another user),
// removed with all that is in it at the end. Set CPPFCGI_KEEP=1 in the environment to keep it and look at the logs.
#pragma once

#include <filesystem>
#include <string>

namespace cppfcgi::test {

class TempFolder {
 public:
  explicit TempFolder(const std::string& prefix = "cppfcgi-test", bool is_for_all = false);  // all may write in it, too
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Whole files. Both throw std::runtime_error that names the path. A missing file reads as "".
std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& text);

// Copies a file, for everybody to read and execute.
void copy_program(const std::string& from, const std::string& to);

// $CPPFCGI_BUILD/<name>: a product of the build. Throws where it does not exist.
std::string product(const std::string& name);

}  // namespace cppfcgi::test
