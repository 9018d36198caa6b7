// The manager alone, with a configuration file.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <csignal>

#include "shared/pool_config.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

class Standalone : public testing::Test {
 protected:
  ~Standalone() override {
    if (!manager_) return;
    manager_.signal(SIGTERM);
    EXPECT_EQ(manager_.wait(), 0) << read_file(folder_ / "log");
    EXPECT_FALSE(std::filesystem::exists(folder_ / "sockets"));
    EXPECT_EQ(adopted_orphans(), std::vector<pid_t>{});
  }

  PoolConfig pool(std::vector<std::string> script) const {
    PoolConfig pool;
    pool.program = product("tests/process/programs/actor");
    pool.arguments = std::move(script);
    return pool;
  }
  void write(const std::vector<PoolConfig>& pools) {
    write_file(folder_ / "pools.json", to_json({.socket_folder = folder_ / "sockets", .pools = pools}));
  }
  void start(const std::vector<std::string>& environment = {}) {
    manager_ = Process({.command = {product("cppfcgi-manager"), "--config", "pools.json"},
                        .environment = environment,
                        .stderr_file = folder_ / "log",
                        .folder = folder_.path()});
  }
  bool answers(const PoolConfig& pool) const {
    const std::string path = socket_path(folder_ / "sockets", pool.key(), 0);
    return wait_until([&] {
      try {
        auto client = FastcgiClient::to_unix(path);
        std::string question;
        append_record(question, RecordType::get_values, 0, "");
        return client.send(question) && client.receive(1s).has_value();
      } catch (const std::runtime_error&) {
        return false;
      }
    });
  }
  bool logs(const std::string& text) const {
    return wait_until([&] { return read_file(folder_ / "log").find(text) != std::string::npos; });
  }

  TempFolder folder_{"cppfcgi-standalone"};
  Process manager_;
};

TEST_F(Standalone, KeepsThePoolsOfItsFile) {
  const PoolConfig first = pool({"answer", "1"});
  const PoolConfig second = pool({"answer", "2"});
  write({first, second});
  start();
  EXPECT_TRUE(answers(first));
  EXPECT_TRUE(answers(second));
}

TEST_F(Standalone, ReadsItsFileAgainOnHangup) {
  const PoolConfig kept = pool({"answer", "1"});
  const PoolConfig removed = pool({"answer", "2"});
  const PoolConfig added = pool({"answer", "3"});
  write({kept, removed});
  start();
  ASSERT_TRUE(answers(kept) && answers(removed));
  const auto workers = children_of(manager_.pid());
  write({kept, added});
  manager_.signal(SIGHUP);
  EXPECT_TRUE(answers(added));
  EXPECT_TRUE(wait_until([&] { return !std::filesystem::exists(socket_path(folder_ / "sockets", removed.key(), 0)); }));
  std::size_t living = 0;
  for (const pid_t worker : workers) living += process_id(worker).has_value();
  EXPECT_EQ(living, 1u);
}

TEST_F(Standalone, GoesOnAsBeforeWhenTheFileHasAMistake) {
  const PoolConfig kept = pool({"answer", "1"});
  write({kept});
  start();
  ASSERT_TRUE(answers(kept));
  write_file(folder_ / "pools.json", R"({"socket_folder": "/x", "pools": [{"program": "app"}]})");
  manager_.signal(SIGHUP);
  EXPECT_TRUE(logs("pools[0].program: \"app\" is not an absolute path; the configuration stays as it was"));
  EXPECT_TRUE(answers(kept));
}

TEST_F(Standalone, TellsTheServiceManagerThatItIsReady) {
  const std::string path = folder_ / "notify";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  write({pool({"answer", "1"})});
  start({"NOTIFY_SOCKET=" + path});
  pollfd item{.fd = socket.get(), .events = POLLIN};
  ASSERT_EQ(poll(&item, 1, 10'000), 1);
  char text[64] = {};
  recv(socket.get(), text, sizeof text - 1, 0);
  EXPECT_STREQ(text, "READY=1");
}

TEST_F(Standalone, LeavesNoWorkerBehindWhenItIsKilled) {
  const PoolConfig kept = pool({"answer", "1"});
  write({kept});
  start();
  ASSERT_TRUE(answers(kept));
  const auto workers = children_of(manager_.pid());
  manager_.kill();
  for (const pid_t worker : workers) {
    EXPECT_TRUE(wait_until([&] { return !process_id(worker) || !is_alive(*process_id(worker)); }));
  }
  start();  // and clears what was left
  EXPECT_TRUE(answers(kept));
}

TEST_F(Standalone, ChecksAFileWithoutStartingAnything) {
  write({pool({"answer", "1"})});
  const auto fine = run({product("cppfcgi-manager"), "--check", folder_ / "pools.json"});
  EXPECT_EQ(fine.status, 0) << fine.output;
  write_file(folder_ / "pools.json", R"({"socket_folder": "/x", "pools": [{"program": "/a", "processes": 1025}]})");
  const auto wrong = run({product("cppfcgi-manager"), "--check", folder_ / "pools.json"});
  EXPECT_EQ(wrong.status, 1);
  EXPECT_EQ(wrong.output, folder_ / "pools.json" + ": pools[0].processes: 1025 is not in 0 … 1024\n");
  EXPECT_EQ(run({product("cppfcgi-manager"), "--check", folder_ / "none"}).status, 1);
}

TEST_F(Standalone, SaysHowItIsCalled) {
  EXPECT_EQ(run({product("cppfcgi-manager"), "--version"}).status, 0);
  EXPECT_EQ(run({product("cppfcgi-manager"), "--help"}).status, 0);
  EXPECT_NE(run({product("cppfcgi-manager")}).status, 0);
  EXPECT_NE(run({product("cppfcgi-manager"), "--nonsense"}).status, 0);
}

}  // namespace
}  // namespace cppfcgi::test
