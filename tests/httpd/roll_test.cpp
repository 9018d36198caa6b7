// Planned exits under load: workers that are used up, of other settings or of an earlier program are replaced, and no
// client notices. Kept connections on both sides, through a real httpd.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;

std::string pool(const std::string& options) {
  return "FastCgiServer @ROOT@/bin/echo -mount /e -processes 2 " + options + "\n";
}

// Clients that ask for the worker's pid, one request after the other on a connection that is kept, until it ends.
class Load {
 public:
  explicit Load(const HttpdServer& server) : server_(server) {
    for (int i = 0; i < 4; ++i) clients_.emplace_back([this] { ask(); });
    watcher_ = std::thread([this] { watch(); });
  }
  ~Load() { end(); }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  void end() {
    is_over_ = true;
    for (std::thread& client : clients_) {
      if (client.joinable()) client.join();
    }
    if (watcher_.joinable()) watcher_.join();
  }
  int answered() const { return answered_; }
  int failed() const { return failed_; }
  std::size_t most_workers() const { return most_; }
  std::size_t workers_seen() {
    const std::lock_guard lock(mutex_);
    return pids_.size();
  }

 private:
  void ask() {
    while (!is_over_) {
      HttpConnection connection(server_.port());
      // httpd closes a kept connection of its own accord when it reloads: between two requests, which is no failure.
      while (!is_over_ && connection.send(request_text("GET", "/e/pid"))) {
        const HttpResponse response = connection.receive();
        if (response.status == 0) break;
        count(response);
        if (connection.is_closed(Milliseconds(0))) break;
      }
    }
  }
  void count(const HttpResponse& response) {
    if (response.status != 200 || response.ending != Ending::whole) {
      ++failed_;
      return;
    }
    ++answered_;
    const std::lock_guard lock(mutex_);
    pids_.insert(response.body.substr(0, response.body.find(' ')));
  }
  void watch() {
    while (!is_over_) most_ = std::max(most_.load(), server_.processes_of("echo").size());
  }

  const HttpdServer& server_;
  std::atomic<bool> is_over_{false};
  std::atomic<int> answered_{0};
  std::atomic<int> failed_{0};
  std::atomic<std::size_t> most_{0};
  std::mutex mutex_;
  std::set<std::string> pids_;
  std::vector<std::thread> clients_;
  std::thread watcher_;
};

void expect_nobody_noticed(Load& load) {
  EXPECT_TRUE(wait_until([&] { return load.answered() > 100; })) << load.answered();
  load.end();
  EXPECT_EQ(load.failed(), 0);
  EXPECT_LE(load.most_workers(), 3u) << "more than one beside the two";
}

class Roll : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Mpm, Roll, testing::Values("event", "prefork"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(Roll, WorkersThatHaveServedEnoughGoUnnoticed) {
  HttpdServer server({.mpm = GetParam(), .config = pool("-max-requests 50")});
  server.install("samples/echo");
  server.start();
  Load load(server);
  EXPECT_TRUE(wait_until([&] { return load.workers_seen() >= 8; })) << load.workers_seen();
  expect_nobody_noticed(load);
}

TEST_P(Roll, WorkersThatHaveLivedLongEnoughGoUnnoticed) {
  HttpdServer server({.mpm = GetParam(), .config = pool("-max-lifetime 1")});
  server.install("samples/echo");
  server.start();
  Load load(server);
  EXPECT_TRUE(wait_until([&] { return load.workers_seen() >= 6; })) << load.workers_seen();
  expect_nobody_noticed(load);
}

TEST_P(Roll, WorkersOfOtherSettingsGoUnnoticed) {
  HttpdServer server({.mpm = GetParam(), .config = pool("-initial-env COLOUR=red")});
  server.install("samples/echo");
  server.start();
  Load load(server);
  ASSERT_TRUE(wait_until([&] { return load.workers_seen() == 2; }));
  server.set_config(pool("-initial-env COLOUR=blue"));
  server.graceful();
  EXPECT_TRUE(wait_until([&] { return load.workers_seen() == 4 && server.processes_of("echo").size() == 2; }));
  expect_nobody_noticed(load);
}

TEST_P(Roll, ANewProgramComesUnnoticed) {
  HttpdServer server({.mpm = GetParam(), .config = pool("-deploy roll -deploy-check /e/pid")});
  const std::string program = server.install("samples/echo");
  server.start();
  Load load(server);
  ASSERT_TRUE(wait_until([&] { return load.workers_seen() == 2; }));
  fs::copy_file(program, program + ".new");
  fs::rename(program + ".new", program);
  EXPECT_TRUE(wait_until([&] { return load.workers_seen() == 4; })) << load.workers_seen();
  expect_nobody_noticed(load);
  EXPECT_TRUE(server.wait_for_log("the new program is in force"));
}

}  // namespace
}  // namespace cppfcgi::test
