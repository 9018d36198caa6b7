// make install, below a folder of the test's own: what lies there is enough to build a worker and to serve it.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;

// What a user writes first (README.md).
constexpr const char* first_worker = R"(#include <cppfcgi/worker.h>
int main(int argc, char** argv) {
  return cppfcgi::serve(argc, argv, [](const cppfcgi::Request& request, cppfcgi::Response& response) {
    response.header("Content-Type", "text/plain");
    response << "Hello " << request.param("REMOTE_ADDR") << '\n';
  });
}
)";

class Install : public testing::Test {
 protected:
  void SetUp() override {
    make("install-files");
    module_folder_ = folder_.path() + run_for_text({"apxs", "-q", "LIBEXECDIR"});
  }

  void make(const std::string& target) {
    const RunResult result =
        run({"make", "-s", target, "BUILD=" + fs::path(product("mod_cppfcgi.so")).parent_path().string(),
             "DESTDIR=" + folder_.path(), "PREFIX=/usr/local"});
    ASSERT_EQ(result.status, 0) << result.output;
  }

  static std::string run_for_text(const std::vector<std::string>& command,
                                  const std::vector<std::string>& environment = {}) {
    const RunResult result = run(command, Milliseconds(60'000), environment);
    EXPECT_EQ(result.status, 0) << result.output;
    return result.output.substr(0, result.output.find_last_not_of(" \n") + 1);
  }

  std::string prefix() const { return folder_ / "usr/local"; }

  TempFolder folder_;
  std::string module_folder_;
};

TEST_F(Install, PutsEverythingInItsPlace) {
  for (const char* name : {"/lib/cppfcgi/cppfcgi-manager", "/lib/libcppfcgi.a", "/lib/libcppfcgi.so",
                           "/lib/libcppfcgi.so.0", "/lib/pkgconfig/cppfcgi.pc", "/include/cppfcgi/worker.h"})
    EXPECT_TRUE(fs::exists(prefix() + name)) << name;
  EXPECT_TRUE(fs::exists(module_folder_ + "/mod_cppfcgi.so"));
  const std::string mods_available = folder_.path() + run_for_text({"apxs", "-q", "SYSCONFDIR"}) + "/mods-available";
  if (!fs::exists(mods_available)) GTEST_SKIP() << "not a Debian kind of httpd";
  EXPECT_EQ(read_file(mods_available + "/cppfcgi.load"),
            "LoadModule cppfcgi_module " + module_folder_.substr(folder_.path().size()) + "/mod_cppfcgi.so\n");
  EXPECT_TRUE(fs::exists(mods_available + "/cppfcgi.conf"));
}

TEST_F(Install, IsEnoughToBuildAWorkerAndToServeIt) {
  const std::vector<std::string> pkg_config = {"PKG_CONFIG_PATH=" + prefix() + "/lib/pkgconfig",
                                               "PKG_CONFIG_SYSROOT_DIR=" + folder_.path()};
  const std::string flags = run_for_text({"pkg-config", "--cflags", "--libs", "cppfcgi"}, pkg_config);
  write_file(folder_ / "app.cpp", first_worker);
  run_for_text(
      {"/bin/sh", "-c", "g++ -std=c++20 " + (folder_ / "app.cpp") + " " + flags + " -o " + (folder_ / "app.fcgi")});

  HttpdServer httpd({.has_cppfcgi = false,
                     .config = "LoadModule cppfcgi_module " + module_folder_ + "/mod_cppfcgi.so\nFastCgiManager " +
                               prefix() + "/lib/cppfcgi/cppfcgi-manager\nFastCgiServer " + (folder_ / "app.fcgi") +
                               " -mount / -initial-env LD_LIBRARY_PATH=" + prefix() + "/lib"});
  httpd.start();
  EXPECT_EQ(get(httpd.port(), "/").body, "Hello 127.0.0.1\n");
}

TEST_F(Install, UninstallTakesItAllAway) {
  make("uninstall");
  std::set<std::string> left;
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path()))
    if (!entry.is_directory()) left.insert(entry.path());
  EXPECT_EQ(left, std::set<std::string>());
}

}  // namespace
}  // namespace cppfcgi::test
