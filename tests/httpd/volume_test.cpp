// Much of everything: bodies of a gibibyte in constant memory, and ten thousand requests on many connections, each with
// an answer of its own.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

constexpr std::size_t gibibyte = std::size_t{1} << 30;

class Gibibyte : public testing::Test {
 protected:
  void SetUp() override {
    httpd_.install("samples/echo");
    httpd_.start();
    const Fetched small = fetch({.url = httpd_.url("/echo/bytes?n=100000")});
    ASSERT_EQ(small.body.size(), 100'000U) << small.error;
    most_ = 32U << 20;
  }

  // What each of our processes has in memory at the most, whenever the client has got on.
  void look() {
    for (const pid_t pid : httpd_.httpd_children()) EXPECT_LT(resident_bytes(pid), most_) << "httpd";
    for (const pid_t pid : httpd_.processes_of("echo")) EXPECT_LT(resident_bytes(pid), most_) << "worker";
  }

  HttpdServer httpd_{{.config = "FastCgiServer @ROOT@/bin/echo -processes 2 -mount /echo\n"}};
  std::size_t most_ = 0;
};

TEST_F(Gibibyte, OfAnswerLeavesMemoryFlat) {
  std::size_t count = 0;
  const Fetched fetched = fetch({.url = httpd_.url("/echo/bytes?n=" + std::to_string(gibibyte)),
                                 .consume =
                                     [&](std::string_view piece) {
                                       if ((count >> 26) != ((count + piece.size()) >> 26)) look();
                                       count += piece.size();
                                       return true;
                                     },
                                 .within = Milliseconds(120'000)});
  EXPECT_EQ(fetched.status, 200);
  EXPECT_TRUE(fetched.is_whole()) << fetched.error;
  EXPECT_EQ(count, gibibyte);
}

TEST_F(Gibibyte, OfBodyLeavesMemoryFlat) {
  const Fetched fetched = fetch({.url = httpd_.url("/echo/digest"),
                                 .method = "PUT",
                                 .produce =
                                     [&](std::size_t offset, std::size_t bytes) {
                                       if (offset % (gibibyte / 16) == 0) look();
                                       return std::string(std::min(bytes, gibibyte - offset), 'x');
                                     },
                                 .body_bytes = gibibyte,
                                 .within = Milliseconds(120'000)});
  look();
  EXPECT_EQ(fetched.status, 200);
  EXPECT_TRUE(fetched.body.starts_with(std::to_string(gibibyte) + " ")) << fetched.body << fetched.error;
}

TEST(Load, TenThousandRequestsOn64ConnectionsGetTheirOwnAnswers) {
  // Where all threads of a child are busy, httpd closes kept connections: there is a thread for each.
  ScriptedServer server(
      "-processes 4 -queue 64 -max-threads 128",
      {.mpm_tuning =
           "StartServers 2\nThreadsPerChild 64\nMaxRequestWorkers 128\nMinSpareThreads 1\nMaxSpareThreads 128"});
  const Script script = Script().read().out("Content-Type: text/plain\n\n").nonce().end_of_out().end();
  std::size_t opened = 0;
  run_load({.count = 10'000,
            .parallel = 64,
            .make =
                [&](std::size_t i) {
                  return Fetch{.url = server.url(script.at("/s")), .header_lines = {"X-Nonce: " + std::to_string(i)}};
                },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  EXPECT_EQ(fetched.body, std::to_string(i)) << fetched.error;
                  opened += static_cast<std::size_t>(fetched.new_connections);
                }});
  EXPECT_GE(opened, 64U);
}

}  // namespace
}  // namespace cppfcgi::test
