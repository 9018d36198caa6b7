// The rig itself: a test that cannot fail proves nothing, so each thing that HttpdServer and the clients shall notice
// is shown to them once. Uses httpd's own gateways, so that it says nothing of our module.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>

#include "shared/params.h"
#include "tests/support/curl_client.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"
#include "tests/support/script.h"

namespace cppfcgi::test {
namespace {

struct ProxiedWorker {
  WorkerProcess worker{
      WorkerOptions{.command = {product("tests/httpd/programs/scripted")}, .environment = {"SCRIPTED_THREADS=8"}}};
  HttpdOptions options(const std::string& mpm = "event") const {
    return {.mpm = mpm,
            .modules = {"proxy", "proxy_fcgi"},
            .has_cppfcgi = false,
            .config = "ProxyPass /s unix:" + worker.socket_path() + "|fcgi://localhost/"};
  }
};

HttpdOptions plain() { return {.has_cppfcgi = false}; }

class EachMpm : public testing::TestWithParam<const char*> {};

TEST_P(EachMpm, AnswersComeThroughAndNothingIsLeftBehind) {
  const ProxiedWorker proxied;
  HttpdServer httpd(proxied.options(GetParam()));
  httpd.start();
  EXPECT_EQ(get(httpd.port(), answer("hello").at("/s")).body, "hello");
  httpd.graceful();
  EXPECT_EQ(get(httpd.port(), answer("again").at("/s")).body, "again");
  httpd.stop();
}

INSTANTIATE_TEST_SUITE_P(Rig, EachMpm, testing::Values("event", "worker", "prefork"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Rig, UnexpectedLinesInTheErrorLogFail) {
  HttpdServer httpd(plain());
  httpd.start();
  get(httpd.port(), "/missing/%2e%2e/x%00");
  write_file(httpd.root() + "/logs/error_log", httpd.error_log() + "[Tue] [core:warn] [pid 1] something is odd\n");
  EXPECT_NONFATAL_FAILURE(httpd.check_log(), "something is odd");
}

TEST(Rig, StrayLinesInTheErrorLogFail) {
  HttpdServer httpd(plain());
  httpd.start();
  write_file(httpd.root() + "/logs/error_log", httpd.error_log() + "terminate called\n");
  EXPECT_NONFATAL_FAILURE(httpd.check_log(), "terminate called");
}

TEST(Rig, ExpectedLinesMustCome) {
  HttpdServer httpd(plain());
  httpd.start();
  httpd.expect_log("never said");
  EXPECT_NONFATAL_FAILURE(httpd.check_log(), "never said");
}

TEST(Rig, ChildrenThatCrashFail) {
  HttpdServer httpd(plain());
  httpd.start();
  ::kill(httpd.httpd_children().at(0), SIGSEGV);
  ASSERT_TRUE(httpd.wait_for_log("exit signal"));
  EXPECT_NONFATAL_FAILURE(httpd.check_log(), "exit signal");
  for (const auto& core : std::filesystem::directory_iterator(httpd.root() + "/cores"))
    std::filesystem::remove(core.path());
}

TEST(Rig, SocketsLeftBehindFail) {
  HttpdServer httpd(plain());
  httpd.start();
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string path = httpd.root() + "/run/left";
  std::copy(path.begin(), path.end(), address.sun_path);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_NONFATAL_FAILURE(httpd.stop(), "left behind: \"run/left\"");
}

TEST(Rig, TemporaryFilesLeftBehindFail) {
  HttpdServer httpd(plain());
  httpd.start();
  httpd.write("tmp/spool", "x");
  EXPECT_NONFATAL_FAILURE(httpd.stop(), "left behind: \"tmp/spool\"");
}

TEST(Rig, ConfigurationMistakesAreTold) {
  HttpdServer httpd({.has_cppfcgi = false, .config = "NoSuchDirective on"});
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("NoSuchDirective"), std::string::npos) << result.output;
  EXPECT_THROW(httpd.start(), std::runtime_error);
  httpd.allow_log("NoSuchDirective|Syntax error");
}

TEST(Rig, RunsDetached) {
  HttpdServer httpd({.has_cppfcgi = false, .is_detached = true});
  httpd.write("htdocs/a.txt", "text");
  httpd.start();
  EXPECT_EQ(get(httpd.port(), "/a.txt").body, "text");
  httpd.graceful();
  EXPECT_EQ(get(httpd.port(), "/a.txt").body, "text");
}

TEST(Rig, KilledServersLeaveNothing) {
  HttpdServer httpd(plain());
  httpd.start();
  httpd.kill_9();
}

TEST(Rig, SpeaksHttp2AndTls) {
  for (const bool has_tls : {false, true}) {
    HttpdServer httpd({.has_cppfcgi = false, .has_tls = has_tls, .has_http2 = true});
    httpd.write("htdocs/a.txt", "text");
    httpd.start();
    const Fetched fetched = fetch({.url = httpd.url("/a.txt"), .version = HttpVersion::http2});
    EXPECT_TRUE(fetched.is_whole()) << fetched.error;
    EXPECT_EQ(fetched.http_major, 2);
    EXPECT_EQ(fetched.body, "text");
    EXPECT_EQ(fetch({.url = httpd.url("/a.txt")}).body, "text");
  }
}

// What the plain client says of answers, by a server that sends bytes as they stand here.
struct Verdict {
  const char* name;
  const char* bytes;
  Ending ending;
};
void PrintTo(const Verdict& verdict, std::ostream* out) { *out << verdict.name; }

class Verdicts : public testing::TestWithParam<Verdict> {};

TEST_P(Verdicts, OfAnAnswersEnd) {
  const WorkerProcess worker({.command = {product("tests/httpd/programs/scripted")}, .is_on_port = true});
  HttpConnection connection(worker.port());
  std::string request;
  append_begin_request(request, 1, Role::responder, 0);
  ParamsWriter writer(request, 1);
  writer.add("QUERY_STRING", Script().raw(GetParam().bytes).close().text());
  writer.finish();
  append_record(request, RecordType::stdin_stream, 1, "");
  ASSERT_TRUE(connection.send(request));
  EXPECT_EQ(connection.receive().ending, GetParam().ending);
}

INSTANTIATE_TEST_SUITE_P(
    Rig, Verdicts,
    testing::Values(
        Verdict{"length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", Ending::whole},
        Verdict{"lengthCut", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Ending::cut},
        Verdict{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", Ending::whole},
        Verdict{"chunkedCut", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", Ending::cut},
        Verdict{"chunkedCutInside", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Ending::cut},
        Verdict{"badChunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", Ending::malformed},
        Verdict{"close", "HTTP/1.1 200 OK\r\n\r\nab", Ending::whole},
        Verdict{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", Ending::whole},
        Verdict{"headCut", "HTTP/1.1 200 OK\r\nContent-", Ending::cut}, Verdict{"nothing", "", Ending::none},
        Verdict{"garbage", "garbage\r\n\r\n", Ending::malformed}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Rig, LoadsMakeEachRequestOnceOnSoManyConnections) {
  const ProxiedWorker proxied;
  HttpdServer httpd(proxied.options());
  httpd.start();
  std::vector<int> seen(200);
  long connections = 0;
  run_load({.count = seen.size(),
            .parallel = 8,
            .make =
                [&](std::size_t i) {
                  return Fetch{.url = httpd.url(Script().read().out("X: y\n\n").nonce().end_of_out().end().at("/s")),
                               .header_lines = {"X-Nonce: " + std::to_string(i)}};
                },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  EXPECT_EQ(fetched.body, std::to_string(i));
                  connections += fetched.new_connections;
                  ++seen[i];
                }});
  EXPECT_EQ(seen, std::vector<int>(200, 1));
  EXPECT_LE(connections, 8);
}

}  // namespace
}  // namespace cppfcgi::test
