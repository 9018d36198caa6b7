// Other web servers in front of our worker library: whatever speaks FastCGI can use a worker, started in each server's
// own way.
#include "tests/interop/front.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "tests/support/curl_client.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/http_client.h"

namespace cppfcgi::test {
namespace {

std::string front_worker() { return product("tests/interop/programs/front_worker"); }

std::string text_of(std::size_t bytes) {
  std::string text(bytes, ' ');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('!' + (i * 7 + i / 251) % 90);
  return text;
}

struct FrontCase {
  const char* name;
  std::unique_ptr<Front> (*start)(const std::string& worker);
};
void PrintTo(const FrontCase& front, std::ostream* out) { *out << front.name; }

class InFrontOfOurWorker : public testing::TestWithParam<FrontCase> {
 protected:
  std::unique_ptr<Front> front_ = GetParam().start(front_worker());
};

TEST_P(InFrontOfOurWorker, EveryRequestGetsItsOwnAnswer) {
  std::size_t wrong = 0;
  run_load({.count = 400,
            .parallel = 8,
            .make =
                [&](std::size_t i) {
                  return Fetch{.url = front_->url("/path/" + std::to_string(i) + "?q=" + std::to_string(i)),
                               .header_lines = {"X-Nonce: n" + std::to_string(i)}};
                },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  const auto n = std::to_string(i);
                  const auto wanted = "GET /path/" + n + "?q=" + n + " q=" + n + " n" + n;
                  if (fetched.body != wanted || fetched.header("X-Nonce") != "n" + n) {
                    if (wrong++ == 0)
                      ADD_FAILURE() << "wanted " << wanted << "\ncame " << testing::PrintToString(fetched);
                  }
                }});
  EXPECT_EQ(wrong, 0u);
}

TEST_P(InFrontOfOurWorker, BodiesComeBackAsTheyWent) {
  CurlSession session;
  for (const std::size_t bytes : {1u, 65'535u, 65'536u, 99'000u, 3'000'000u}) {
    const std::string body = text_of(bytes);
    const auto fetched = session.fetch({.url = front_->url("/echo"), .method = "POST", .body = body});
    EXPECT_EQ(fetched.status, 200) << bytes;
    EXPECT_TRUE(fetched.body == body) << bytes << " went, " << fetched.body.size() << " came";
  }
}

TEST_P(InFrontOfOurWorker, LargeAnswersComeWhole) {
  const auto fetched = fetch({.url = front_->url("/large?size=20000000")});
  EXPECT_TRUE(fetched.is_whole()) << fetched.error;
  EXPECT_EQ(fetched.body.size(), 20'000'000u);
}

INSTANTIATE_TEST_SUITE_P(Interop, InFrontOfOurWorker,
                         testing::Values(FrontCase{"nginx", nginx}, FrontCase{"lighttpd", lighttpd},
                                         FrontCase{"haproxy", haproxy}, FrontCase{"proxy_fcgi", proxy_fcgi},
                                         FrontCase{"fcgid", fcgid}, FrontCase{"supervised", supervised}),
                         [](const auto& test) { return std::string(test.param.name); });

std::size_t sockets_of(pid_t pid) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone).string().starts_with("socket:")) ++count;
  }
  return count;
}

TEST(Interop, HaproxyMultiplexesRequestsOnOneConnection) {
  const auto front = haproxy(front_worker());
  const pid_t worker = std::stoi(get(front->port(), "/?pid").body);
  ASSERT_EQ(sockets_of(worker), 2u);  // where it listens, and HAProxy's connection
  HttpConnection waiting(front->port());
  ASSERT_TRUE(waiting.send(request_text("GET", "/?wait")));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get(front->port(), "/?pid").body, std::to_string(worker));
  EXPECT_EQ(sockets_of(worker), 2u);
  EXPECT_EQ(get(front->port(), "/?release").body, "passed");
  EXPECT_EQ(waiting.receive().body, "passed");
}

TEST(Interop, CgiFcgiReachesOurWorker) {
  const WorkerProcess worker({.command = {front_worker()}});
  const auto result = run({"cgi-fcgi", "-bind", "-connect", worker.socket_path()}, Milliseconds(10'000),
                          {"REQUEST_METHOD=GET", "REQUEST_URI=/x?y=1", "QUERY_STRING=y=1", "HTTP_X_NONCE=n"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.output.find("\r\n\r\nGET /x?y=1 y=1 n"), std::string::npos) << result.output;
}

std::set<pid_t> workers_running() {
  std::set<pid_t> workers;
  for (const pid_t pid : descendants_of(::getpid())) {
    if (executable_of(pid) == front_worker()) workers.insert(pid);
  }
  return workers;
}

// Two workers on supervisord's one socket. (With a single one supervisord closes the socket while none runs.)
TEST(Interop, SupervisordRestartsOurWorkerBehindNginx) {
  const auto front = supervised(front_worker());
  ASSERT_TRUE(wait_until([] { return workers_running().size() == 2; }));
  auto known = workers_running();
  for (int crash = 0; crash < 3; ++crash) {
    EXPECT_EQ(get(front->port(), "/?crash").status, 502);
    EXPECT_EQ(get(front->port(), "/?pid").status, 200);  // the other worker answers meanwhile
    ASSERT_TRUE(wait_until([&] {
      const auto now = workers_running();
      return now.size() == 2 && !std::includes(known.begin(), known.end(), now.begin(), now.end());
    }));
    known.merge(workers_running());
  }
  EXPECT_EQ(known.size(), 5u);
}

TEST(Interop, SupervisordStopsOurWorkerInOrder) {
  auto front = supervised(front_worker());
  const pid_t worker = std::stoi(get(front->port(), "/?pid").body);
  const auto id = process_id(worker);
  ASSERT_TRUE(id);
  front.reset();
  EXPECT_FALSE(is_alive(*id));
}

}  // namespace
}  // namespace cppfcgi::test
