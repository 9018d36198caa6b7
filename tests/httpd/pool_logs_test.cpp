// Which error log the manager is given for each pool: that of the virtual host which declares it.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

std::string host(const std::string& name, const std::string& more) {
  return "<VirtualHost *>\n  ServerName " + name + "\n  FastCgiServer @ROOT@/bin/hello\n  " + more +
         "\n</VirtualHost>\n";
}

struct PoolLogs : testing::Test {
  HttpdServer httpd{{.config = "FastCgiManager @ROOT@/bin/told_manager\nFastCgiServer @ROOT@/bin/hello\n" +
                               host("own.example", "ErrorLog @ROOT@/logs/own") +
                               host("second.example", "ErrorLog @ROOT@/logs/own") + host("none.example", "") +
                               host("piped.example", "ErrorLog \"|$cat >> @ROOT@/logs/piped\"")}};

  void SetUp() override {
    httpd.install("samples/hello");
    httpd.install("tests/httpd/programs/told_manager");
    httpd.allow_log("^pool ");
    httpd.start();
  }
  std::string log(const std::string& name) const { return read_file(httpd.root() + "/logs/" + name); }
  std::string line(const std::string& of = "") const { return "pool " + httpd.root() + "/bin/hello" + of + "\n"; }
  // Each host's line once; httpd keeps its hosts in an order of its own.
  void expect_both(const std::string& text) const {
    const std::string first = line(" of own.example"), second = line(" of second.example");
    EXPECT_TRUE(text == first + second || text == second + first) << text;
  }
};

TEST_F(PoolLogs, AreThoseOfTheHosts) {
  expect_both(log("own"));
  EXPECT_TRUE(wait_until([&] { return log("piped") == line(" of piped.example"); })) << log("piped");
  const std::string main_log = log("error_log");
  EXPECT_NE(main_log.find(line()), std::string::npos);
  EXPECT_NE(main_log.find(line(" of none.example")), std::string::npos);
}

TEST_F(PoolLogs, AreOpenedAnewByAGracefulRestart) {
  std::filesystem::rename(httpd.root() + "/logs/own", httpd.root() + "/logs/own.1");
  httpd.graceful();
  expect_both(log("own"));
  expect_both(log("own.1"));
}

}  // namespace
}  // namespace cppfcgi::test
