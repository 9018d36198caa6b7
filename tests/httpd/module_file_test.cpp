// What mod_cppfcgi.so shows of itself: httpd loads, unloads and reloads it beside other modules.
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::test {
namespace {

std::string output_of(const std::vector<std::string>& command) {
  const RunResult result = run(command);
  EXPECT_EQ(result.status, 0) << result.output;
  return result.output;
}

std::set<std::string> words_in(const std::string& text, const std::string& opening, const std::string& closing) {
  std::set<std::string> words;
  for (std::size_t at = text.find(opening); at != text.npos; at = text.find(opening, at)) {
    at += opening.size();
    words.insert(text.substr(at, text.find(closing, at) - at));
  }
  return words;
}

TEST(ModuleFile, ExportsTheModuleRecordAlone) {
  const std::string symbols =
      output_of({"nm", "-D", "--defined-only", "--format=just-symbols", product("mod_cppfcgi.so")});
  EXPECT_EQ(symbols, "cppfcgi_module\n");
}

// A symbol of this kind is kept by the dynamic linker for ever, and the module's state with it, when httpd reloads it.
TEST(ModuleFile, HasNoUniqueSymbols) {
  std::istringstream symbols(output_of({"nm", "-C", product("mod_cppfcgi.so")}));
  for (std::string line; std::getline(symbols, line);) EXPECT_EQ(line.find(" u "), std::string::npos) << line;
}

TEST(ModuleFile, NeedsNoLibraryBeyondTheRuntime) {
  const std::string dynamic = output_of({"readelf", "-d", product("mod_cppfcgi.so")});
  if (dynamic.find("libasan") != dynamic.npos || dynamic.find("libtsan") != dynamic.npos ||
      dynamic.find("libubsan") != dynamic.npos)
    GTEST_SKIP() << "a sanitizer's build";
  std::set<std::string> libraries = words_in(dynamic, "Shared library: [", "]");
  for (const char* known :
       {"libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"})
    libraries.erase(known);
  EXPECT_EQ(libraries, std::set<std::string>());
}

}  // namespace
}  // namespace cppfcgi::test
