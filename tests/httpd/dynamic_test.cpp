// Dynamic applications: programs that httpd maps to fastcgi-script and no directive names. Started by their first
// request, ended when unused, and never at a request's expense.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <sstream>
#include <thread>

#include "tests/support/curl_client.h"
#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

using Pids = std::vector<pid_t>;

constexpr const char* mapped = R"(
TypesConfig /dev/null
AddHandler fastcgi-script .fcgi
Alias /bin @ROOT@/bin
<Directory @ROOT@/bin>
  Options +ExecCGI
</Directory>
)";

class Dynamic : public testing::Test {
 protected:
  HttpdServer& serve(const std::string& config = "", const std::vector<std::string>& programs = {"app.fcgi"},
                     const std::string& mpm = "event") {
    httpd_ = std::make_unique<HttpdServer>(HttpdOptions{.mpm = mpm, .modules = {"mime"}, .config = mapped + config});
    for (const std::string& program : programs) httpd_->install("tests/httpd/programs/params", program);
    httpd_->start();
    return *httpd_;
  }

  HttpResponse ask_for(const std::string& target, const std::string& host = "localhost") {
    return ask(httpd_->port(), "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n");
  }
  int status(const std::string& target, const std::string& host = "localhost") { return ask_for(target, host).status; }

  Pids workers(const std::string& program = "app.fcgi") const { return httpd_->processes_of(program); }
  bool has_ended(const std::string& program = "app.fcgi") const {
    return wait_until([&] { return workers(program).empty(); });
  }

  std::unique_ptr<HttpdServer> httpd_;
};

class DynamicUnder : public Dynamic, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Mpm, DynamicUnder, testing::Values("event", "worker", "prefork"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(DynamicUnder, TheFirstRequestStartsIt) {
  serve("", {"app.fcgi"}, GetParam());
  EXPECT_TRUE(workers().empty());
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
  const Pids first = workers();
  EXPECT_EQ(first.size(), 1u);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(status("/bin/app.fcgi"), 200);
  EXPECT_EQ(workers(), first);
}

TEST_F(Dynamic, WhatStandsBehindItIsPathInfo) {
  serve();
  const HttpResponse response = ask_for("/bin/app.fcgi/more?x=1");
  EXPECT_NE(response.body.find("\nSCRIPT_NAME=/bin/app.fcgi\n"), std::string::npos) << response.body;
  EXPECT_NE(response.body.find("\nPATH_INFO=/more\n"), std::string::npos) << response.body;
  EXPECT_NE(response.body.find("\nQUERY_STRING=x=1\n"), std::string::npos) << response.body;
}

TEST_F(Dynamic, DebiansExampleServes) {
  HttpdServer httpd({.modules = {"mime"}, .config = R"(
TypesConfig /dev/null
<IfModule mod_cppfcgi.c>
  AddHandler fastcgi-script .fcgi
  FastCgiIpcDir @ROOT@/run/fastcgi
</IfModule>
<Directory @ROOT@/htdocs>
  Options +ExecCGI
</Directory>)"});
  copy_program(product("samples/hello"), httpd.root() + "/htdocs/hello.fcgi");
  httpd.start();
  const HttpResponse response = get(httpd.port(), "/hello.fcgi");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "Hello 127.0.0.1\n");
}

TEST_F(Dynamic, WithoutExecCgiIsRefused) {
  serve("<Directory @ROOT@/bin>\nOptions -ExecCGI\n</Directory>\n");
  httpd_->expect_log("/bin/app.fcgi: no FastCgiServer declares it, and Options ExecCGI is off .*; the client gets 403");
  const HttpResponse response = ask_for("/bin/app.fcgi");
  EXPECT_EQ(response.status, 403);
  EXPECT_EQ(response.body.find("ELF"), std::string::npos);
  EXPECT_TRUE(workers().empty());
}

TEST_F(Dynamic, WhatIsNoProgramIsRefusedAsCgiDoes) {
  serve();
  httpd_->write("bin/plain.fcgi", "not a program");
  std::filesystem::create_directory(httpd_->root() + "/bin/folder.fcgi");
  httpd_->expect_log("/bin/missing.fcgi: .*there is no such file; the client gets 404");
  EXPECT_EQ(status("/bin/missing.fcgi"), 404);
  httpd_->expect_log("/bin/plain.fcgi, request .*it may not be executed: Permission denied; the client gets 403");
  EXPECT_EQ(status("/bin/plain.fcgi"), 403);
  httpd_->allow_log("/bin/folder.fcgi/?: .*it is a folder; the client gets 403");
  EXPECT_NE(status("/bin/folder.fcgi/"), 200);
}

TEST_F(Dynamic, AProgramThatDiesAtStartIsAnswered503Quickly) {
  serve();
  httpd_->write("bin/bad.fcgi", "#!/bin/sh\nexit 3\n");
  httpd_->allow_log("pool .*/bin/bad.fcgi");
  const auto began = Clock::now();
  EXPECT_EQ(status("/bin/bad.fcgi"), 503);
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(5));  // -appConnTimeout is 30 s
  EXPECT_EQ(status("/bin/bad.fcgi"), 503);
}

// ---- ends ----

TEST_F(Dynamic, EndsWhenUnusedAndComesBack) {
  serve("FastCgiConfig -killInterval 300ms -minProcesses 0\n");
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(status("/bin/app.fcgi"), 200);
    EXPECT_TRUE(has_ended());
    EXPECT_TRUE(httpd_->wait_for_log("pool .*/bin/app.fcgi has ended"));
  }
}

TEST_F(Dynamic, AsManyAsMinProcessesLiveOn) {
  serve("FastCgiConfig -killInterval 200ms -minProcesses 2\n", {"a.fcgi", "b.fcgi", "c.fcgi"});
  for (const char* name : {"/bin/a.fcgi", "/bin/b.fcgi", "/bin/c.fcgi"}) EXPECT_EQ(status(name), 200);
  EXPECT_TRUE(httpd_->wait_for_log("has ended"));
  EXPECT_TRUE(
      wait_until([&] { return workers("a.fcgi").size() + workers("b.fcgi").size() + workers("c.fcgi").size() == 2; }));
  // No other ends, however long: the manager itself says so.
  EXPECT_EQ(httpd_->count_log("has ended"), 1u);
}

TEST_F(Dynamic, MaxProcessesIsABoundAndTheUnusedMakeRoom) {
  const std::vector<std::string> programs = {"a.fcgi", "b.fcgi", "c.fcgi", "d.fcgi"};
  serve("FastCgiConfig -maxProcesses 2\n", programs);
  for (const auto& program : programs) EXPECT_EQ(status("/bin/" + program), 200) << program;
  // A pool has its place until its last worker is gone.
  std::istringstream log(httpd_->error_log());
  int pools = 0, most = 0;
  for (std::string line; std::getline(log, line);) {
    pools += matches(line, "pool .*: opened, since");
    pools -= matches(line, "pool .* has ended");
    most = std::max(most, pools);
  }
  EXPECT_EQ(most, 2);
  EXPECT_TRUE(httpd_->wait_for_log("unused, and another application needs its place"));
}

TEST_F(Dynamic, GrowsByDemandUpToMaxProcesses) {
  serve("FastCgiConfig -maxProcesses 3 -maxClassProcesses 10\n", {});
  httpd_->install("samples/echo", "app.fcgi");
  httpd_->allow_log("requests wait, and 3 workers are not enough, but as many workers of dynamic applications live");
  std::atomic<int> served = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 12; ++i)
    clients.emplace_back([&] { served += ask_for("/bin/app.fcgi/sleep?ms=250").status == 200; });
  EXPECT_TRUE(wait_until([&] { return workers().size() == 3; }));
  std::size_t most = 0;
  while (served < 8 && most <= 3) most = std::max(most, workers().size());
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(most, 3u);
  EXPECT_EQ(served, 12);
}

// ---- who shares what ----

TEST_F(Dynamic, AHostWithItsOwnConfigHasItsOwnWorkers) {
  serve(R"(
<VirtualHost *:@PORT@>
  ServerName main.example
</VirtualHost>
<VirtualHost *:@PORT@>
  ServerName other.example
</VirtualHost>
<VirtualHost *:@PORT@>
  ServerName own.example
  FastCgiConfig -killInterval 200ms -minProcesses 0
</VirtualHost>
)");
  EXPECT_EQ(status("/bin/app.fcgi", "main.example"), 200);
  EXPECT_EQ(status("/bin/app.fcgi", "other.example"), 200);
  const Pids shared = workers();
  EXPECT_EQ(shared.size(), 1u);
  EXPECT_EQ(status("/bin/app.fcgi", "own.example"), 200);
  EXPECT_TRUE(httpd_->wait_for_log("pool .*/bin/app.fcgi of own.example: opened"));
  EXPECT_TRUE(httpd_->wait_for_log("pool .*/bin/app.fcgi of own.example has ended"));
  EXPECT_EQ(workers(), shared);
}

TEST_F(Dynamic, ADeclaredProgramIsNotDynamic) {
  serve("FastCgiServer @ROOT@/bin/app.fcgi -processes 2\n");
  EXPECT_TRUE(wait_until([&] { return workers().size() == 2; }));
  const Pids declared = workers();
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
  EXPECT_EQ(workers(), declared);
  EXPECT_EQ(httpd_->count_log("opened, since"), 0u);
}

// ---- restarts, deaths ----

TEST_F(Dynamic, GracefulKeepsItsWorkers) {
  serve();
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
  const Pids before = workers();
  httpd_->graceful();
  httpd_->restart();
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
  EXPECT_EQ(workers(), before);
}

TEST_F(Dynamic, OtherSettingsReplaceItsWorkers) {
  serve();
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
  const Pids before = workers();
  httpd_->set_config(std::string(mapped) + "FastCgiConfig -initial-env A=1\n");
  httpd_->graceful();
  EXPECT_TRUE(wait_until([&] { return workers().size() == 1 && workers() != before; }));
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
}

TEST_F(Dynamic, TheNextManagerKnowsIt) {
  serve();
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
  const Pids before = workers();
  for (const pid_t manager : httpd_->managers()) kill(manager, SIGKILL);
  httpd_->expect_log("the manager \\(pid [0-9]+\\) died: signal 9");
  EXPECT_TRUE(httpd_->wait_for_log("started another manager"));
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
  EXPECT_EQ(workers(), before);
  // It is not only left there: its worker is replaced when it dies.
  for (const pid_t worker : before) kill(worker, SIGKILL);
  httpd_->expect_log("worker 0 .*/bin/app.fcgi lived for less than 30 s");
  EXPECT_TRUE(wait_until([&] { return workers().size() == 1 && workers() != before; }));
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
}

TEST_F(Dynamic, AFirstRequestOutlivesTheManager) {
  serve();
  const Pids managers = httpd_->managers();
  ASSERT_EQ(managers.size(), 1u);
  kill(managers.front(), SIGKILL);
  httpd_->expect_log("the manager \\(pid [0-9]+\\) died: signal 9");
  EXPECT_EQ(status("/bin/app.fcgi"), 200);
}

// ---- many ----

TEST_F(Dynamic, TenProgramsAtOnceForFiftyClients) {
  std::vector<std::string> programs;
  for (int i = 0; i < 10; ++i) programs.push_back("p" + std::to_string(i) + ".fcgi");
  serve("", programs);
  httpd_->allow_log("requests wait, and .* as many workers of dynamic applications live as may");
  std::size_t good = 0;
  run_load({.count = 500,
            .parallel = 50,
            .make = [&](std::size_t i) { return Fetch{.url = httpd_->url("/bin/" + programs[i % 10])}; },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  const bool is_good = fetched.status == 200 && fetched.body.starts_with("PROGRAM=" + programs[i % 10]);
                  good += is_good;
                  EXPECT_TRUE(is_good) << fetched.status << ' ' << fetched.body.substr(0, 50);
                }});
  EXPECT_EQ(good, 500u);
  std::size_t all = 0;
  for (const auto& program : programs) {
    EXPECT_GE(workers(program).size(), 1u) << program;
    all += workers(program).size();
  }
  EXPECT_LE(all, 50u);
}

// Pools end all the time, and no request notices.
TEST_F(Dynamic, NoRequestIsLostWhilePoolsComeAndGo) {
  std::vector<std::string> programs;
  for (int i = 0; i < 6; ++i) programs.push_back("p" + std::to_string(i) + ".fcgi");
  serve("FastCgiConfig -killInterval 100ms -minProcesses 0\n", programs);
  std::atomic<int> bad = 0;
  std::vector<std::thread> clients;
  for (unsigned client = 0; client < 8; ++client) {
    clients.emplace_back([&, client] {
      unsigned random = client + 1;
      for (int i = 0; i < 60; ++i) {
        random = random * 1'103'515'245 + 12'345;
        const std::string& program = programs[(random >> 16) % programs.size()];
        const HttpResponse response = get(httpd_->port(), "/bin/" + program);
        if (response.status != 200 || !response.body.starts_with("PROGRAM=" + program)) {
          ++bad;
          ADD_FAILURE() << program << ": " << response.status << ' ' << response.body.substr(0, 60);
        }
        // About as long as a pool lasts, so that many come to one at its end.
        ::poll(nullptr, 0, static_cast<int>((random >> 8) % 160));
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(bad, 0);
  EXPECT_GT(httpd_->count_log("has ended"), 10u);
}

TEST_F(Dynamic, WhatIsMappedIsTold) {
  serve("FastCgiConfig -gainValue 0.5 -singleThreshhold 10 -processSlack 3\n");
  EXPECT_TRUE(httpd_->wait_for_log(
      "FastCgiConfig, at .*httpd.conf:[0-9]+: -gainValue: .*; -singleThreshold: .*; -processSlack: "));
}

}  // namespace
}  // namespace cppfcgi::test
