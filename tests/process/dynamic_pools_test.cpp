// Orders for pools that no configuration names: what a manager opens, what it refuses, whatever it is sent, and when it
// ends what it has opened.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <future>

#include "mod_cppfcgi/core/claim_wait.h"
#include "mod_cppfcgi/core/pool_order.h"
#include "tests/process/manager_rig.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

class DynamicPoolsTest : public testing::Test {
 protected:
  static PoolTemplate made_of(ManagerRig& rig, const Script& script) {
    PoolTemplate made;
    made.pool = rig.pool(script);
    made.pool.scope = "dynamic";
    made.pool.program = made.pool.name = "";
    made.min_workers = 0;
    return made;
  }

  // A copy of the actor under its own name, which is another program.
  std::string program(const std::string& name) {
    const std::string path = rig_.folder() / name;
    if (!std::filesystem::exists(path)) copy_program(product("tests/process/programs/actor"), path);
    return path;
  }
  void configure() { ASSERT_EQ(rig_.configure({}, {}, {template_}).kind, MessageKind::configured); }
  Result<void> order(const std::string& path, Milliseconds within = 20s) {
    return order_pool(rig_.orders(), {template_.key(), path}, Clock::now() + within);
  }
  int code_of(const std::string& path) {
    const auto ordered = order(path);
    return ordered ? 0 : ordered.error().code;
  }
  PoolConfig pool(const std::string& path) const { return template_.for_program(path); }

  std::variant<HeldClaim, ClaimFailure> claim(const PoolConfig& wanted, Milliseconds within = 10s) {
    const auto row = rig_.row(wanted);
    if (!row) return ClaimFailure::pool_gone;
    return acquire(
        rig_.claims(), rig_.load(),
        {.pool = *row, .key = wanted.key(), .pid = getpid(), .queue_limit = [] { return 100U; }, .timeout = within});
  }

  ManagerRig rig_;
  PoolTemplate template_ = made_of(rig_, {"answer", "1"});
};

TEST_F(DynamicPoolsTest, OpensWhatIsOrdered) {
  configure();
  const std::string app = program("app");
  ASSERT_TRUE(order(app));
  EXPECT_TRUE(rig_.is_ready(pool(app)));
  const pid_t worker = rig_.pid(pool(app));
  // Another order for the same is no other pool.
  ASSERT_TRUE(order(app));
  EXPECT_EQ(rig_.pid(pool(app)), worker);
  EXPECT_EQ(rig_.count_in_log("opened, since"), 1u);
}

TEST_F(DynamicPoolsTest, RefusesWhatIsNoProgram) {
  configure();
  const std::string app = program("app");
  std::filesystem::create_directory(rig_.folder() / "folder");
  write_file(rig_.folder() / "plain", "not a program");
  ASSERT_EQ(chmod((rig_.folder() / "plain").c_str(), 0644), 0);
  EXPECT_EQ(code_of(rig_.folder() / "missing"), ENOENT);
  EXPECT_EQ(code_of(app + "/below"), ENOENT);
  EXPECT_EQ(code_of(rig_.folder() / "folder"), EACCES);
  EXPECT_EQ(code_of(rig_.folder() / "plain"), EACCES);
  EXPECT_EQ(code_of("/dev/null"), EACCES);
  for (const std::string& path :
       {std::string(), std::string("app"), app + "/", rig_.folder() / "./app", rig_.folder() / "../app", "/" + app,
        app + std::string(1, '\0'), std::string(5'000, '/')}) {
    EXPECT_EQ(code_of(path), EINVAL) << path;
  }
  EXPECT_EQ(rig_.count_in_log("opened, since"), 0u);
}

TEST_F(DynamicPoolsTest, RefusesATemplateThatIsNotInForce) {
  configure();
  template_.max_workers = 7;
  EXPECT_EQ(code_of(program("app")), EAGAIN);
}

// Whatever a process of httpd sends, the manager goes on, and does not fill the log with it.
TEST_F(DynamicPoolsTest, GarbageAndFloodsHurtNobody) {
  configure();
  rig_.allow("sent what is no order for a pool");
  const auto send_bytes = [&](const std::string& bytes) {
    return wait_until([&] {
      return ::send(rig_.orders(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
    });
  };
  for (int i = 0; i < 300; ++i) {
    EXPECT_TRUE(send_bytes(std::string(static_cast<std::size_t>(i * 37 % 5'000), static_cast<char>(i))));
    Message odd{.kind = static_cast<MessageKind>(i % 9), .number = template_.key(), .text = "/x", .descriptors = {}};
    for (int k = 0; k < i % 5 * 40; ++k) odd.descriptors.emplace_back(dup(0));
    EXPECT_TRUE(wait_until([&] {
      const auto sent = send_message(rig_.orders(), odd);
      return sent || sent.error().code != EAGAIN;
    }));
  }
  EXPECT_TRUE(order(program("app")));
  EXPECT_TRUE(rig_.is_ready(pool(program("app"))));
  // Once in ten seconds.
  EXPECT_LE(rig_.count_in_log("sent what is no order"), 3u);
  EXPECT_LT(open_descriptors(rig_.manager()), 60u);
}

TEST_F(DynamicPoolsTest, AnOrderWaitsForTheNextManager) {
  configure();
  rig_.kill_manager();
  const std::string app = program("app");
  auto ordered = std::async(std::launch::async, [&] { return bool(order(app)); });
  rig_.start_manager();
  configure();
  EXPECT_TRUE(ordered.get());
  EXPECT_TRUE(rig_.is_ready(pool(app)));
}

TEST_F(DynamicPoolsTest, TheNextManagerTakesThemOver) {
  configure();
  const std::string app = program("app");
  ASSERT_TRUE(order(app));
  ASSERT_TRUE(rig_.is_ready(pool(app)));
  const pid_t worker = rig_.pid(pool(app));
  rig_.kill_manager();
  rig_.start_manager();
  configure();
  rig_.end_generation();  // as httpd's parent says at once
  EXPECT_TRUE(order(app));
  EXPECT_EQ(rig_.pid(pool(app)), worker);
  ASSERT_GT(worker, 1);
  kill(worker, SIGKILL);
  EXPECT_TRUE(wait_until([&] { return rig_.state(pool(app)).generation == 2 && rig_.is_ready(pool(app), 0ms); }));
  rig_.allow("pool " + app);
}

TEST_F(DynamicPoolsTest, EndWithTheirTemplateAndNotBefore) {
  configure();
  const std::string app = program("app");
  ASSERT_TRUE(order(app));
  ASSERT_TRUE(rig_.is_ready(pool(app)));
  ASSERT_EQ(rig_.configure({}).kind, MessageKind::configured);
  // Processes of httpd that knew the old configuration may still order and use it.
  EXPECT_TRUE(order(app));
  EXPECT_TRUE(std::holds_alternative<HeldClaim>(claim(pool(app))));
  rig_.end_generation();
  EXPECT_TRUE(wait_until([&] { return !rig_.row(pool(app)); }));
  EXPECT_EQ(code_of(app), EAGAIN);
}

TEST_F(DynamicPoolsTest, UnusedItEndsAndLeavesNothing) {
  template_.pool.idle_process_timeout = 100ms;
  configure();
  const std::string app = program("app");
  ASSERT_TRUE(order(app));
  EXPECT_TRUE(wait_until([&] { return !rig_.row(pool(app)); }));
  EXPECT_TRUE(std::filesystem::is_empty(rig_.socket_folder()));
}

TEST_F(DynamicPoolsTest, AClaimIsUse) {
  template_.pool.idle_process_timeout = 100ms;
  configure();
  const std::string app = program("app");
  const std::string other = program("other");
  ASSERT_TRUE(order(app));
  auto held = claim(pool(app));
  ASSERT_TRUE(std::holds_alternative<HeldClaim>(held));
  // Ordered later, and unused: it ends, and this one has not.
  ASSERT_TRUE(order(other));
  EXPECT_TRUE(wait_until([&] { return !rig_.row(pool(other)); }));
  EXPECT_TRUE(rig_.row(pool(app)));
  EXPECT_TRUE(rig_.is_ready(pool(app)));
  held = ClaimFailure::abandoned;
  EXPECT_TRUE(wait_until([&] { return !rig_.row(pool(app)); }));
}

// Its worker minds no SIGTERM, and so the pool takes its time to end.
TEST_F(DynamicPoolsTest, WhoComesWhileItEndsIsServed) {
  template_ = made_of(rig_, {"ignore-term", "answer", "1"});
  template_.pool.idle_process_timeout = 100ms;
  configure();
  const std::string app = program("app");
  ASSERT_TRUE(order(app));
  ASSERT_TRUE(rig_.logs("no request has come for"));
  rig_.allow("after SIGTERM: killed");
  const auto row = rig_.row(pool(app));
  ASSERT_TRUE(row);
  auto waiting = std::async(std::launch::async, [&] {
    const ClaimRequest wanted{
        .pool = *row, .key = pool(app).key(), .pid = getpid(), .queue_limit = [] { return 100U; }, .timeout = 10s};
    return std::holds_alternative<HeldClaim>(acquire(rig_.claims(), rig_.load(), wanted));
  });
  ASSERT_TRUE(
      wait_until([&] { return rig_.claims().waiting(*row) > 0 || waiting.wait_for(0s) == std::future_status::ready; }));
  rig_.nudge();
  EXPECT_TRUE(waiting.get());
  EXPECT_TRUE(rig_.logs("wanted again"));
}

TEST_F(DynamicPoolsTest, NoMoreThanItsTemplateSays) {
  template_.max_workers = 2;
  configure();
  std::vector<std::variant<HeldClaim, ClaimFailure>> held;
  for (const char* name : {"a", "b"}) {
    ASSERT_TRUE(order(program(name)));
    held.push_back(claim(pool(program(name))));
    ASSERT_TRUE(std::holds_alternative<HeldClaim>(held.back()));
  }
  // All are in use.
  const auto ordered = order(program("c"));
  ASSERT_FALSE(ordered);
  EXPECT_EQ(ordered.error().code, EAGAIN);
  EXPECT_NE(ordered.error().what.find("-maxProcesses"), std::string::npos) << ordered.error().what;
  // One is not any more: it makes room.
  held.pop_back();
  EXPECT_TRUE(order(program("c")));
  EXPECT_FALSE(rig_.row(pool(program("b"))));
  EXPECT_TRUE(rig_.row(pool(program("a"))));
}

TEST_F(DynamicPoolsTest, ManyOrdersForManyProgramsAreBounded) {
  template_.max_workers = 3;
  configure();
  std::vector<std::future<bool>> orders;
  for (int i = 0; i < 100; ++i)
    orders.push_back(std::async(std::launch::async, [&, i] { return bool(order("/bin/sh" + std::to_string(i))); }));
  std::size_t opened = 0;
  for (auto& ordered : orders) opened += ordered.get();
  EXPECT_EQ(opened, 0u);
  EXPECT_TRUE(order(program("app")));
}

}  // namespace
}  // namespace cppfcgi::test
