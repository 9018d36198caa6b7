// Clients that take their answers slowly, more of them than httpd has threads: each gets all of its answer, and neither
// a worker nor a thread waits for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

constexpr std::size_t slow_clients = 12;  // of a child with four threads

struct Slow {
  const char* name;
  std::size_t bytes;
  bool is_stream = false;
};
void PrintTo(const Slow& given, std::ostream* out) { *out << given.name; }

std::string content(std::size_t bytes, char letter) { return std::string(bytes, letter); }

class SlowClients : public testing::TestWithParam<Slow> {
 protected:
  static HttpdOptions options() {
    return {.mpm_tuning =
                "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nMaxRequestWorkers 4\nMinSpareThreads 1\n"
                "MaxSpareThreads 4\nThreadLimit 4\nAsyncRequestWorkerFactor 20",
            // The kernel holds 4 MB for a client that does not read, else some 130 KB.
            .config = GetParam().bytes > 1'000'000 ? "" : "SendBufferSize 16384\n"};
  }
  static Script script(std::size_t bytes, char letter) {
    return Script().read().out("Content-Type: text/plain\n\n").out(letter, bytes).end_of_out().end();
  }
  std::size_t open_temporary_files() {
    std::size_t count = 0;
    for (const pid_t pid : server_.httpd_children()) {
      for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
        std::error_code gone;
        if (std::filesystem::read_symlink(entry, gone).string().ends_with("(deleted)")) ++count;
      }
    }
    return count;
  }
  // Each asks for something small, too, without waiting for the rest.
  void begin_slow_ones(std::size_t bytes) {
    for (std::size_t i = 0; i < slow_clients; ++i) {
      slow_.emplace_back(server_.port());
      ASSERT_TRUE(slow_.back().send(request_text("GET", script(bytes, letter_of(i)).at("/s")) +
                                    request_text("GET", script(100, 'z').at("/s"))));
      ASSERT_TRUE(slow_.back().has_input());
    }
  }
  static char letter_of(std::size_t i) { return static_cast<char>('a' + i); }
  // No child but the one that has the slow ones could give it. (A new connection: httpd closes kept ones when all its
  // threads are busy, be it for a millisecond.)
  void expect_a_quick_answer() {
    const auto began = Clock::now();
    server_.expect_well();
    EXPECT_LT(Clock::now() - began, std::chrono::seconds(1));
  }

  ScriptedServer server_{GetParam().is_stream ? "-processes 2 -flush" : "-processes 2", options()};
  std::size_t files_before_ = open_temporary_files();
  std::vector<HttpConnection> slow_;
};
INSTANTIATE_TEST_SUITE_P(Of, SlowClients,
                         testing::Values(Slow{"one_piece", 60'000}, Slow{"whole", 250'000}, Slow{"large", 8'000'000},
                                         Slow{"stream", 8'000'000, true}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(SlowClients, HoldNoThreadAndGetAll) {
  begin_slow_ones(GetParam().bytes);
  expect_a_quick_answer();
  for (std::size_t i = 0; i < slow_.size(); ++i) {
    const HttpResponse response = slow_[i].receive();
    EXPECT_EQ(response.ending, Ending::whole);
    EXPECT_TRUE(response.body == content(GetParam().bytes, letter_of(i))) << response.body.size();
    EXPECT_EQ(slow_[i].receive().body, content(100, 'z'));
  }
  EXPECT_TRUE(wait_until([&] { return open_temporary_files() <= files_before_; })) << open_temporary_files();
}

TEST_P(SlowClients, LeaveNothingWhenTheyDisappear) {
  begin_slow_ones(GetParam().bytes);
  for (std::size_t i = 0; i < slow_.size(); ++i) {
    if (i % 2 == 0) {
      slow_[i].reset();
    } else {
      slow_[i].close();
    }
  }
  expect_a_quick_answer();
  EXPECT_TRUE(wait_until([&] { return open_temporary_files() <= files_before_; })) << open_temporary_files();
}

// What there is comes while the worker is at work on the rest.
TEST(SlowClient, GetsWhatIsThereWhileTheWorkerThinks) {
  const Signals folder;
  ScriptedServer server("-processes 1");
  HttpConnection slow(server.port());
  const Script script = Script()
                            .read()
                            .out("Content-Type: text/plain\n\n")
                            .out('a', 8'000'000)
                            .flush()
                            .touch(folder / "thinks")
                            .wait_for(folder / "go")
                            .out('z', 1'000)
                            .end_of_out()
                            .end();
  ASSERT_TRUE(slow.send(request_text("GET", script.at("/s"))));
  ASSERT_TRUE(wait_until([&] { return std::filesystem::exists(folder / "thinks"); }));
  EXPECT_GE(slow.receive_bytes(7'900'000).size(), 7'900'000U);
  write_file(folder / "go", "");
  const std::string rest = slow.receive_until("\r\n0\r\n\r\n");
  EXPECT_EQ(std::count(rest.begin(), rest.end(), 'z'), 1'000);
}

TEST(SlowClient, GetsACutAnswerWhenTheWorkerDies) {
  ScriptedServer server("-processes 1");
  server.allow_log("of pool");
  HttpConnection slow(server.port());
  const Script script = Script().read().out("Content-Type: text/plain\n\n").out('a', 8'000'000).flush().exit(1);
  ASSERT_TRUE(slow.send(request_text("GET", script.at("/s"))));
  ASSERT_TRUE(slow.has_input());
  ASSERT_TRUE(server.wait_for_log("the client's answer is cut"));
  EXPECT_EQ(slow.receive().ending, Ending::cut);
}

}  // namespace
}  // namespace cppfcgi::test
