// tools/demo, which `make demo` runs: the addresses that it prints answer, and when it is interrupted nothing is left.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/http_client.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;

class Demo : public testing::Test {
 protected:
  void SetUp() override {
    demo_ = Process({.command = {"tools/demo", fs::path(product("mod_cppfcgi.so")).parent_path().string()},
                     .environment = {"PORT=" + std::to_string(port_), "TMPDIR=" + folder_.path()},
                     .stdout_file = said_ / "demo",
                     .stderr_file = said_ / "demo"});
    ASSERT_TRUE(wait_until([&] { return said().find("Ctrl-C ends it") != std::string::npos; })) << said();
  }

  std::string said() const { return read_file(said_ / "demo"); }

  // All that lies in the demo's folder and runs.
  std::vector<pid_t> processes() const {
    std::vector<pid_t> all = descendants_of(::getpid());
    std::erase_if(all, [&](pid_t pid) { return !executable_of(pid).starts_with(folder_.path()); });
    return all;
  }

  void expect_nothing_left() {
    EXPECT_TRUE(wait_until([&] { return processes().empty(); })) << command_line(processes().front());
    EXPECT_TRUE(fs::is_empty(folder_.path()));
    EXPECT_THROW(HttpConnection{port_}, std::exception);
  }

  TempFolder folder_{"cppfcgi-test", true};
  TempFolder said_;
  int port_ = free_port();
  Process demo_;
};

TEST_F(Demo, ServesItsAddressesAndLeavesNothing) {
  const std::string printed = said();
  for (const char* path : {"/ ", "/hello ", "/echo/params ", "/guestbook "}) {
    const std::string address = "http://127.0.0.1:" + std::to_string(port_) + path;
    EXPECT_NE(printed.find(address), std::string::npos) << printed;
    EXPECT_EQ(get(port_, std::string(path).substr(0, std::string(path).size() - 1)).status, 200) << path;
  }
  demo_.signal(SIGINT);
  EXPECT_EQ(demo_.wait(), 0);
  expect_nothing_left();
}

TEST_F(Demo, WaitsForNoWorkerThatDoesNotEnd) {
  const auto all = processes();
  const auto hello =
      std::find_if(all.begin(), all.end(), [](pid_t pid) { return executable_of(pid).ends_with("/bin/hello"); });
  ASSERT_NE(hello, all.end());
  ASSERT_EQ(::kill(*hello, SIGSTOP), 0);
  demo_.signal(SIGINT);
  EXPECT_EQ(demo_.wait(), 0);
  expect_nothing_left();
}

TEST_F(Demo, SaysThatThePortIsTaken) {
  const RunResult second = run({"tools/demo", fs::path(product("mod_cppfcgi.so")).parent_path().string()},
                               Milliseconds(10'000), {"PORT=" + std::to_string(port_), "TMPDIR=" + folder_.path()});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.output.find("port " + std::to_string(port_) + " is taken"), std::string::npos) << second.output;
  EXPECT_EQ(get(port_, "/hello").status, 200);
  demo_.signal(SIGTERM);
  EXPECT_EQ(demo_.wait(), 0);
  expect_nothing_left();
}

}  // namespace
}  // namespace cppfcgi::test
