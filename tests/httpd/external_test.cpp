// FastCgiExternalServer: applications that somebody else starts, over TCP and Unix sockets; and FastCgiServer -port and
// -socket, where others connect beside httpd.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "tests/httpd/scripted_server.h"
#include "tests/support/external.h"
#include "tests/support/fastcgi_client.h"

namespace cppfcgi::test {
namespace {

std::string on_loopback(const std::string& host = "127.0.0.1") { return host + ":" + std::to_string(free_port()); }

const std::string scripted = "tests/httpd/programs/scripted";

External scripted_at(const std::string& address, std::vector<std::string> environment = {"SCRIPTED_THREADS=8"}) {
  return External(address, {product(scripted)}, std::move(environment));
}

HttpdOptions external_config(const std::string& options) {
  return {.config = "FastCgiExternalServer /external/app -mount /s " + options + "\n"};
}

class Started : public HttpdServer {
 public:
  explicit Started(const HttpdOptions& options) : HttpdServer(options) { start(); }
  HttpResponse ask_for(const Script& script, const std::vector<std::string>& header_lines = {}) const {
    return get(port(), script.at("/s"), header_lines);
  }
};

bool comes(const std::string& path) {
  return wait_until([&] { return ::access(path.c_str(), F_OK) == 0; });
}

// ---- ways to it ----

class WayToExternal : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kind, WayToExternal, testing::Values("IPv4", "IPv6", "name", "socket", "socketInIpcDir"),
                         [](const auto& test) { return test.param; });

TEST_P(WayToExternal, Serves) {
  const TempFolder folder("cppfcgi-external", true);
  std::string address = folder / "app.sock", option = "-socket " + address, more;
  if (GetParam() == "IPv4") option = "-host " + (address = on_loopback());
  if (GetParam() == "IPv6") option = "-host " + (address = on_loopback("[::1]"));
  if (GetParam() == "name") {
    address = on_loopback();
    option = "-host localhost" + address.substr(address.rfind(':'));
  }
  if (GetParam() == "socketInIpcDir") {
    option = "-socket app.sock";
    more = "FastCgiIpcDir " + folder.path() + "\n";
  }
  const External application = scripted_at(address);
  HttpdOptions options = external_config(option);
  options.config += more;
  const Started httpd(options);
  for (int i = 0; i < 20; ++i) {
    const HttpResponse response = httpd.ask_for(answer("hello"));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "hello");
    EXPECT_TRUE(response.is_whole());
  }
  const HttpResponse echoed =
      post(httpd.port(), Script().read().out("Content-Type: text/plain\n\n").body_bytes().end_of_out().end().at("/s"),
           std::string(300'000, 'x'));
  EXPECT_EQ(echoed.body, "300000");
}

TEST(External, IsReachedByHandlerUnderANameThatIsNoFile) {
  const External application = scripted_at(on_loopback());
  HttpdServer httpd({.modules = {"actions"},
                     .config = "FastCgiExternalServer /nowhere/php -host " + application.address() +
                               "\nAlias /virtual /nowhere/php\n"
                               "<Location /virtual>\n  SetHandler fastcgi-script\n  Require all granted\n</Location>\n"
                               "<FilesMatch \\.php$>\n  SetHandler php\n</FilesMatch>\nAction php /virtual virtual\n"});
  httpd.write("htdocs/page.php", "");
  httpd.start();
  const Script script = Script().read().out("Content-Type: text/plain\n\n").params().end_of_out().end();
  const std::string direct = get(httpd.port(), script.at("/virtual/x/y")).body;
  EXPECT_TRUE(matches(direct, "(^|\n)SCRIPT_NAME=/virtual\n")) << direct;
  EXPECT_TRUE(matches(direct, "(^|\n)PATH_INFO=/x/y\n")) << direct;
  EXPECT_TRUE(matches(direct, "(^|\n)SCRIPT_FILENAME=/nowhere/php\n")) << direct;
  const std::string by_action = get(httpd.port(), script.at("/page.php")).body;
  EXPECT_TRUE(matches(by_action, "(^|\n)PATH_INFO=/page.php\n")) << by_action;
  EXPECT_TRUE(matches(by_action, "(^|\n)PATH_TRANSLATED=" + httpd.root() + "/htdocs/page.php\n")) << by_action;
}

TEST(External, PassesHeadersFlushesAndLeavesTheAnswerToTheProgram) {
  const External application = scripted_at(on_loopback());
  const Signals folder;
  const Started httpd(external_config("-host " + application.address() + " -flush -pass-header Authorization"));
  HttpConnection client(httpd.port());
  const Script script = Script()
                            .read()
                            .out("Content-Type: text/plain\n\n")
                            .param("HTTP_AUTHORIZATION")
                            .flush()
                            .wait_for(folder / "go")
                            .end_of_out()
                            .end();
  ASSERT_TRUE(client.send(request_text("GET", script.at("/s"), {"Authorization: Basic eHl6"})));
  EXPECT_TRUE(client.receive_until("Basic eHl6").ends_with("Basic eHl6")) << "before the answer has ended";
  write_file(folder / "go", "");
}

TEST(External, MayWriteTheWholeAnswer) {
  const External application = scripted_at(on_loopback());
  const Started httpd(external_config("-host " + application.address() + " -nph"));
  const HttpResponse response =
      httpd.ask_for(Script().read().out("HTTP/1.1 234 Odd\r\nContent-Length: 2\r\n\r\nhi").end_of_out().end());
  EXPECT_EQ(response.status, 234);
  EXPECT_EQ(response.body, "hi");
}

// ---- several, and some of them gone ----

TEST(External, ADeadOneOfTwoCostsNoAnswerAndIsToldOnce) {
  const External good = scripted_at(on_loopback());
  const std::string dead = on_loopback();
  Started httpd(external_config("-host " + dead + " -host " + good.address()));
  httpd.expect_log("endpoint " + dead + " of pool /external/app is set aside: connect .*Connection refused");
  for (int i = 0; i < 50; ++i) EXPECT_EQ(httpd.ask_for(answer("x")).status, 200);
  EXPECT_TRUE(httpd.wait_for_log("is set aside"));
  EXPECT_EQ(httpd.count_log("is set aside"), 1U);
}

TEST(External, BothOfTwoServe) {
  const Script script = Script().read().out("Content-Type: text/plain\n\n").pid().end_of_out().end();
  External first = scripted_at(on_loopback()), second = scripted_at(on_loopback());
  const Started httpd(external_config("-host " + first.address() + " -host " + second.address()));
  // While the least busy one has a request, the other gets the next.
  const Signals folder;
  HttpConnection waiting(httpd.port());
  const Script wait = Script().touch(folder / "begun").wait_for(folder / "go").append(script);
  ASSERT_TRUE(waiting.send(request_text("GET", wait.at("/s"))));
  ASSERT_TRUE(comes(folder / "begun"));
  const std::string other = httpd.ask_for(script).body;
  write_file(folder / "go", "");
  const std::string one = waiting.receive().body;
  EXPECT_NE(one, other);
}

TEST(External, KillsUnderLoadCostNoGet) {
  External steady = scripted_at(on_loopback()), shaky = scripted_at(on_loopback());
  Started httpd(external_config("-host " + shaky.address() + " -host " + steady.address()));
  httpd.allow_log("endpoint .* of pool /external/app");
  std::atomic<bool> is_over{false};
  std::atomic<int> failures{0}, answers{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      while (!is_over) ++(httpd.ask_for(answer("x")).status == 200 ? answers : failures);
    });
  }
  const auto go_on = [&](int more) {
    const int enough = answers + more;
    EXPECT_TRUE(wait_until([&] { return answers >= enough; }, Milliseconds(30'000)));
  };
  for (int round = 1; round <= 5; ++round) {
    go_on(50);
    shaky.kill();
    go_on(50);
    shaky.start();
    EXPECT_TRUE(wait_until([&] { return httpd.count_log("can be reached again") >= httpd.count_log("is set aside"); }));
  }
  is_over = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(failures, 0) << "of " << answers;
}

TEST(External, APostThatMayHaveBegunIsNeverRepeated) {
  const External first = scripted_at(on_loopback()), second = scripted_at(on_loopback());
  const TempFolder folder("cppfcgi-external", true);
  Started httpd(external_config("-retries 10 -host " + first.address() + " -host " + second.address()));
  httpd.expect_log("endpoint .* of pool /external/app, request .*the client gets 502");
  // Whoever has it closes or resets before it has read all of it, or after.
  for (const Script& script : {Script().read().close(), Script().read().reset(), Script().reset(), Script().close()}) {
    std::filesystem::remove(folder / "begun");
    const Script counted = Script().touch(folder / "begun").append(script);
    const HttpResponse response = post(httpd.port(), counted.at("/s"), std::string(20'000, 'x'));
    EXPECT_EQ(response.status, 502) << script.text();
  }
  EXPECT_EQ(httpd.count_log("trying another worker"), 0U);
}

TEST(External, NobodyThereMeans503AtOnceAndIsOverWithinSeconds) {
  External application = scripted_at(on_loopback());
  Started httpd(external_config("-host " + application.address()));
  EXPECT_EQ(httpd.ask_for(answer("x")).status, 200);
  application.kill();
  httpd.expect_log("endpoint " + application.address() + " of pool /external/app is set aside: .*Connection refused");
  httpd.allow_log("pool /external/app, request .*(no endpoint can be reached|Connection refused).*503");
  EXPECT_TRUE(wait_until([&] { return httpd.ask_for(answer("x")).status == 503; }));
  EXPECT_TRUE(httpd.wait_for_log("is set aside"));
  for (int i = 0; i < 10; ++i) {
    const auto began = Clock::now();
    const HttpResponse response = httpd.ask_for(answer("x"));
    EXPECT_EQ(response.status, 503);
    EXPECT_GT(std::atoi(response.header("Retry-After").c_str()), 0);
    EXPECT_LT(Clock::now() - began, Milliseconds(1'500));
  }
  application.start();
  EXPECT_TRUE(wait_until([&] { return httpd.ask_for(answer("x")).status == 200; }, Milliseconds(8'000)));
  EXPECT_TRUE(httpd.wait_for_log("can be reached again"));
  EXPECT_EQ(httpd.count_log("is set aside"), 1U);
}

// ---- its own ways ----

TEST(External, ALateRequestCostsOthersNothing) {
  const External application = scripted_at(on_loopback());
  Started httpd(external_config("-request-timeout 300ms -host " + application.address()));
  httpd.expect_log("-request-timeout.*the client gets 504");
  EXPECT_EQ(httpd.ask_for(Script().read().hang()).status, 504);
  EXPECT_EQ(httpd.ask_for(answer("x")).status, 200);
  EXPECT_EQ(httpd.count_log("is set aside"), 0U);
}

TEST(External, TakesNoMoreThanItsConnections) {
  const External application = scripted_at(on_loopback());
  const Signals folder;
  Started httpd(external_config("-max-connections 1 -appConnTimeout 200ms -host " + application.address()));
  HttpConnection waiting(httpd.port());
  const Script wait = Script().touch(folder / "begun").wait_for(folder / "go").append(answer("x"));
  ASSERT_TRUE(waiting.send(request_text("GET", wait.at("/s"))));
  ASSERT_TRUE(comes(folder / "begun"));
  httpd.expect_log("no worker became free within 200 ms \\(-max-connections, -queue-timeout\\); the client gets 503");
  EXPECT_EQ(httpd.ask_for(answer("x")).status, 503);
  write_file(folder / "go", "");
  EXPECT_EQ(waiting.receive().status, 200);
}

// Our library keeps connections; what must not be repeated gets a fresh one all the same.
TEST(External, PostsOverKeptConnectionsAreNotLost) {
  const TempFolder folder("cppfcgi-external", true);
  External application(on_loopback(), {product("tests/httpd/programs/counter")},
                       {"COUNTER_FILE=" + (folder / "counted")});
  Started httpd(external_config("-host " + application.address()));
  httpd.allow_log("pool /external/app");
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 10; ++i) EXPECT_EQ(get(httpd.port(), "/s").status, 200);
    application.kill();
    application.start();
    EXPECT_TRUE(wait_until([&] { return get(httpd.port(), "/s").status == 200; }));
    EXPECT_EQ(post(httpd.port(), "/s", "1 x").status, 200);
  }
}

TEST(External, OldNamesOfTheDirectivesAreAccepted) {
  const External application = scripted_at(on_loopback());
  HttpdServer httpd({.config = "ExternalAppClass /external/app -mount /s -host " + application.address() +
                               "\nAppClass @ROOT@/bin/hello -mount /hello\n"});
  httpd.install("samples/hello");
  httpd.start();
  EXPECT_EQ(get(httpd.port(), answer("x").at("/s")).status, 200);
  EXPECT_EQ(get(httpd.port(), "/hello").status, 200);
}

TEST(External, GoesOnOverAGracefulRestart) {
  const External application = scripted_at(on_loopback());
  Started httpd(external_config("-host " + application.address()));
  EXPECT_EQ(httpd.ask_for(answer("x")).status, 200);
  httpd.graceful();
  EXPECT_EQ(httpd.ask_for(answer("x")).status, 200);
  httpd.set_config("FastCgiExternalServer /external/app -mount /s -max-connections 7 -host " + application.address());
  httpd.graceful();
  EXPECT_TRUE(wait_until([&] { return httpd.ask_for(answer("x")).status == 200; }));
}

// ---- -port, -socket ----

class SharedPlace : public testing::TestWithParam<std::string> {
 protected:
  std::string place() const { return GetParam() == "port" ? "-port " + std::to_string(port_) : "-socket app.sock"; }
  HttpdOptions options(int processes) const {
    return {.config = "FastCgiIpcDir @ROOT@/run/fcgi\nFastCgiServer @ROOT@/bin/scripted -mount /s -processes " +
                      std::to_string(processes) + " " + place() + "\n"};
  }
  FastcgiClient connect(const HttpdServer& httpd) const {
    return GetParam() == "port" ? FastcgiClient::to_port(port_)
                                : FastcgiClient::to_unix(httpd.root() + "/run/fcgi/app.sock");
  }
  std::string ask_beside(const HttpdServer& httpd) const {
    FastcgiClient client = connect(httpd);
    client.request(1, get_params("/", {{"QUERY_STRING", answer("beside").text()}}), {}, false);
    return client.answer(1).out;
  }

  const int port_ = free_port();
};
INSTANTIATE_TEST_SUITE_P(Kind, SharedPlace, testing::Values("port", "socket"),
                         [](const auto& test) { return test.param; });

TEST_P(SharedPlace, ServesHttpdAndOthers) {
  HttpdServer httpd(options(3));
  httpd.install(scripted);
  httpd.start();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(get(httpd.port(), answer("hello").at("/s")).body, "hello");
    EXPECT_NE(ask_beside(httpd).find("beside"), std::string::npos);
  }
}

TEST_P(SharedPlace, StaysTheSameOverAGracefulRestartWithMoreWorkers) {
  HttpdServer httpd(options(1));
  httpd.install(scripted);
  httpd.start();
  EXPECT_EQ(get(httpd.port(), answer("hello").at("/s")).status, 200);
  httpd.set_config(options(2).config);
  httpd.graceful();
  EXPECT_EQ(get(httpd.port(), answer("hello").at("/s")).status, 200);
  EXPECT_NE(ask_beside(httpd).find("beside"), std::string::npos);
}

TEST_P(SharedPlace, AKilledWorkerCostsNoGetAndNoSecondPost) {
  // A GET may meet each of the workers as it is killed.
  HttpdOptions wanted = options(2);
  wanted.config.insert(wanted.config.size() - 1, " -retries 5");
  HttpdServer httpd(wanted);
  httpd.install(scripted);
  httpd.start();
  const Signals folder;
  httpd.allow_log("worker [0-9]+ .*bin/scripted (crashed|died)");
  httpd.expect_log("a worker on .* of pool .*the client gets 502");
  EXPECT_EQ(post(httpd.port(), Script().read().signal(SIGKILL).at("/s"), "x").status, 502);
  HttpConnection client(httpd.port());
  // Whoever gets it next finds that the file is there.
  const Script once = Script().read().touch(folder / "begun").wait_for(folder / "go").append(answer("x"));
  ASSERT_TRUE(client.send(request_text("GET", once.at("/s"))));
  ASSERT_TRUE(comes(folder / "begun"));
  for (const pid_t worker : httpd.processes_of("scripted")) ::kill(worker, SIGKILL);
  write_file(folder / "go", "");
  EXPECT_EQ(client.receive().status, 200);
}

// (A port that is taken says so in the same way: SharedSocketTest. The rig would take it for its own.)
TEST(Socket, ThatCannotBeHadStopsHttpdAndSaysSo) {
  HttpdServer httpd({.config = "FastCgiIpcDir @ROOT@/tmp\nFastCgiServer @ROOT@/bin/hello -mount / -socket taken"});
  httpd.install("samples/hello");
  httpd.write("tmp/taken", "precious");
  try {
    httpd.start();
    ADD_FAILURE() << "it has started";
  } catch (const std::runtime_error& failure) {
    EXPECT_TRUE(matches(failure.what(), "the manager refuses the configuration: bind .*/tmp/taken: not a socket lies"))
        << failure.what();
  }
  httpd.allow_log("is refused|refuses the configuration|Configuration Failed");
}

TEST(Port, OfAnotherAddressIsReachedThere) {
  const std::string address = on_loopback("[::1]");
  HttpdServer httpd({.config = "FastCgiServer @ROOT@/bin/hello -mount / -port " + address});
  httpd.install("samples/hello");
  httpd.start();
  EXPECT_EQ(get(httpd.port(), "/").status, 200);
}

}  // namespace
}  // namespace cppfcgi::test
