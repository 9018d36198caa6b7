#include "tests/support/temp_folder.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>

namespace cppfcgi::test {

namespace fs = std::filesystem;

TempFolder::TempFolder(const std::string& prefix, bool is_for_all) {
  const char* base = std::getenv("TMPDIR");
  path_ = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/" + prefix + "-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp " + path_ + ": " + std::strerror(errno));
  if (::chmod(path_.c_str(), is_for_all ? 0777 : 0755) != 0)
    throw std::runtime_error("chmod " + path_ + ": " + std::strerror(errno));
}

TempFolder::~TempFolder() {
  const char* keep = std::getenv("CPPFCGI_KEEP");
  if (keep != nullptr && *keep == '1') {
    std::cerr << "kept: " << path_ << '\n';
    return;
  }
  std::error_code ignored;  // what cannot be removed does not make a test wrong
  fs::remove_all(path_, ignored);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

void copy_program(const std::string& from, const std::string& to) {
  fs::copy_file(from, to, fs::copy_options::overwrite_existing);
  fs::permissions(to, fs::perms(0755));
}

std::string product(const std::string& name) {
  const char* build = std::getenv("CPPFCGI_BUILD");
  if (build == nullptr) throw std::runtime_error("CPPFCGI_BUILD is not set: run the tests by make");
  std::string path = std::string(build) + "/" + name;
  if (!fs::exists(path)) throw std::runtime_error(path + " is not built");
  return path;
}

}  // namespace cppfcgi::test
