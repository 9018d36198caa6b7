// By which id a request is known to its worker and in both logs.
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

const std::string head = "Content-Type: text/plain\n\n";
const Script tell_id = Script().read().out(head).param("UNIQUE_ID").end_of_out().end();
const std::string log_formats =
    "LogFormat \"%{UNIQUE_ID}e %L\" ids\nCustomLog @ROOT@/logs/access ids\nErrorLogFormat \"[%t] [%-m:%l] id=%L %M\"\n";

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }
bool has_access_log(const HttpdServer& server) {
  return wait_until([&] { return !read_file(server.root() + "/logs/access").empty(); });
}

class RequestId : public testing::TestWithParam<const char*> {
 protected:
  static HttpdOptions options() {
    HttpdOptions options{.config = log_formats};
    if (GetParam()[0] != '\0') options.modules.emplace_back(GetParam());
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(From, RequestId, testing::Values("", "unique_id"),
                         [](const auto& test) { return *test.param == '\0' ? "ourselves" : "mod_unique_id"; });

TEST_P(RequestId, IsTheSameForTheWorkerAndInBothLogs) {
  ScriptedServer server("-processes 1", options());
  const Script script = Script().read().err("oops\n").out(head).param("UNIQUE_ID").end_of_out().end();
  const std::string id = server.ask_for(script).body;
  EXPECT_GE(id.size(), 19U);
  server.expect_log("id=" + id + " .*request " + id + ", stderr: oops");
  ASSERT_TRUE(has_access_log(server));
  EXPECT_EQ(first_line(read_file(server.root() + "/logs/access")), id + " " + id);
}

TEST_P(RequestId, IsNamedWhereAWorkerFails) {
  ScriptedServer server("-processes 1", options());
  server.ask_for(Script().read().close());
  ASSERT_TRUE(has_access_log(server));
  const std::string ids = first_line(read_file(server.root() + "/logs/access"));
  const std::string id = ids.substr(0, ids.find(' '));
  server.expect_log("worker 0 .pid [0-9]+. of pool .*, request " + id + ": .*the client gets 502");
}

TEST_P(RequestId, StaysOverARedirectWithinTheServer) {
  ScriptedServer server("-processes 1", options());
  const Script there = Script().read().out("Location: " + tell_id.at("/s") + "\n\n").end_of_out().end();
  const std::string id = server.ask_for(there).body;
  ASSERT_TRUE(has_access_log(server));
  EXPECT_EQ(first_line(read_file(server.root() + "/logs/access")), id + " " + id);
}

TEST_P(RequestId, IsNotTheClientsToChoose) {
  ScriptedServer server("-processes 1", options());
  EXPECT_EQ(server.ask_for(tell_id, {"Unique-Id: mine", "UNIQUE_ID: mine"}).body.find("mine"), std::string::npos);
}

TEST_P(RequestId, NeverRepeatsOverChildrenAndRestarts) {
  ScriptedServer server("-processes 2", options());
  std::set<std::string> seen;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 200; ++i) EXPECT_TRUE(seen.insert(server.ask_for(tell_id).body).second);
    server.graceful();
  }
  EXPECT_FALSE(seen.contains(""));
}

}  // namespace
}  // namespace cppfcgi::test
