// What the manager does for external applications, whose workers somebody else starts: it publishes those endpoints
// that can be reached, and probes those that cannot. And sockets that all workers of a pool share (-port, -socket).
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/process/manager_rig.h"
#include "tests/support/external.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/wait.h"

namespace cppfcgi::test {
namespace {

std::string on_loopback() { return "127.0.0.1:" + std::to_string(free_port()); }

PoolConfig external_pool(const std::vector<std::string>& endpoints, std::uint32_t connections = 100) {
  PoolConfig pool;
  pool.program = pool.name = "/external";
  pool.endpoints = endpoints;
  pool.max_connections = connections;
  return pool;
}

// A child of httpd that cannot connect says so.
void complain(ManagerRig& rig, const PoolConfig& pool, std::uint32_t index) {
  const std::uint32_t first = rig.directory().pools[rig.row(pool).value()].first_slot;
  rig.claims().mark_late({.slot = first + index, .cell = 0, .worker = rig.state(pool, index)});
  rig.nudge();
}

TEST(ExternalPool, PublishesWhoCanBeReachedWithItsShareOfConnections) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({on_loopback(), on_loopback()}, 100);
  const Fd first = listen_at(pool.endpoints[0]);
  const Fd second = listen_at(pool.endpoints[1]);
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  for (std::uint32_t index = 0; index < 4; ++index) {
    EXPECT_TRUE(rig.becomes(pool, index, Phase::ready)) << index;
    EXPECT_EQ(rig.state(pool, index).capacity, 50) << index;
    EXPECT_FALSE(rig.state(pool, index).is_kept()) << index;
    EXPECT_EQ(rig.pid(pool, index), 0);
  }
}

TEST(ExternalPool, KeepsConnectionsToWhoTakesMoreOfThemThanRequests) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({on_loopback()}, 10);
  const External application(pool.endpoints[0], {product("samples/hello")});
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  EXPECT_TRUE(wait_until([&] { return rig.state(pool).is_kept(); }));
  EXPECT_EQ(rig.state(pool).capacity, 10);
}

TEST(ExternalPool, SetsAsideWhoCannotBeReachedAndTakesItBack) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({on_loopback(), on_loopback()}, 64);
  const Fd good = listen_at(pool.endpoints[0]);
  Fd bad = listen_at(pool.endpoints[1]);
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  ASSERT_TRUE(rig.becomes(pool, 0, Phase::ready));
  ASSERT_TRUE(rig.becomes(pool, 1, Phase::ready));
  bad.reset();
  complain(rig, pool, 1);
  EXPECT_TRUE(rig.logs("endpoint " + pool.endpoints[1] + " of pool /external is set aside: connect " +
                       pool.endpoints[1] + ": Connection refused"));
  EXPECT_EQ(rig.state(pool, 1).phase, Phase::empty);
  EXPECT_EQ(rig.state(pool, 0).phase, Phase::ready);
  EXPECT_EQ(rig.claims().refuses_for(rig.row(pool).value()), 0U);
  const std::uint32_t generation = rig.state(pool, 1).generation;
  bad = listen_at(pool.endpoints[1]);
  EXPECT_TRUE(rig.logs("endpoint " + pool.endpoints[1] + " of pool /external can be reached again"));
  EXPECT_TRUE(rig.becomes(pool, 1, Phase::ready));
  EXPECT_EQ(rig.state(pool, 1).generation, generation + 1) << "complaints of its last time count no more";
  EXPECT_EQ(rig.count_in_log("is set aside"), 1U);
}

TEST(ExternalPool, BelievesAProbeMoreThanAComplaint) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({on_loopback()}, 64);
  const Fd listener = listen_at(pool.endpoints[0]);
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  ASSERT_TRUE(rig.becomes(pool, 0, Phase::ready));
  const std::uint32_t generation = rig.state(pool).generation;
  complain(rig, pool, 0);
  EXPECT_TRUE(wait_until(
      [&] { return rig.state(pool).generation == generation + 1 && rig.state(pool).phase == Phase::ready; }));
}

TEST(ExternalPool, RefusesWhileNoneCanBeReached) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({on_loopback(), "/nowhere/socket"});
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  EXPECT_TRUE(wait_until([&] { return rig.claims().refuses_for(rig.row(pool).value()) > 0; }));
  EXPECT_TRUE(rig.logs("/nowhere/socket: No such file or directory"));
  EXPECT_TRUE(rig.logs("Connection refused"));
  const Fd listener = listen_at(pool.endpoints[0]);
  EXPECT_TRUE(rig.becomes(pool, 0, Phase::ready));
  EXPECT_TRUE(wait_until([&] { return rig.claims().refuses_for(rig.row(pool).value()) == 0; }));
}

TEST(ExternalPool, NamesAnEndpointWhoseNameWasNotResolved) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({"no.such.host.example:9000"});
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  EXPECT_TRUE(rig.logs("endpoint no.such.host.example:9000 of pool /external is set aside"));
}

TEST(ExternalPool, ServesOnWhereTheManagerIsReplaced) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({on_loopback(), on_loopback()}, 64);
  const Fd first = listen_at(pool.endpoints[0]);
  Fd second = listen_at(pool.endpoints[1]);
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  ASSERT_TRUE(rig.becomes(pool, 0, Phase::ready));
  ASSERT_TRUE(rig.becomes(pool, 1, Phase::ready));
  const std::uint32_t generation = rig.state(pool).generation;
  rig.kill_manager();
  second.reset();
  rig.start_manager();
  EXPECT_EQ(rig.state(pool).phase, Phase::ready);
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  EXPECT_TRUE(rig.logs(pool.endpoints[1] + " of pool /external is set aside"));
  EXPECT_EQ(rig.state(pool).phase, Phase::ready);
  EXPECT_EQ(rig.state(pool).generation, generation);
}

TEST(ExternalPool, HearsWhatWasSaidWhileThereWasNoManager) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({on_loopback()}, 64);
  const Fd listener = listen_at(pool.endpoints[0]);
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  ASSERT_TRUE(rig.becomes(pool, 0, Phase::ready));
  const std::uint32_t generation = rig.state(pool).generation;
  rig.kill_manager();
  const std::uint32_t first = rig.directory().pools[rig.row(pool).value()].first_slot;
  rig.claims().mark_late({.slot = first, .cell = 0, .worker = rig.state(pool)});
  rig.start_manager();
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  EXPECT_TRUE(wait_until([&] {
    return rig.state(pool).generation == generation + 1 && rig.state(pool).phase == Phase::ready;
  })) << "its mark would keep everybody away";
}

TEST(ExternalPool, GivesItsRowBackWhenNoConfigurationKnowsIt) {
  ManagerRig rig;
  const PoolConfig pool = external_pool({on_loopback()});
  const Fd listener = listen_at(pool.endpoints[0]);
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  ASSERT_TRUE(rig.becomes(pool, 0, Phase::ready));
  ASSERT_EQ(rig.configure({}).kind, MessageKind::configured);
  EXPECT_TRUE(rig.row(pool)) << "children of httpd may use it still";
  rig.end_generation();
  EXPECT_TRUE(wait_until([&] { return !rig.row(pool); }));
}

// ---- -port, -socket ----

class SharedSocketTest : public testing::TestWithParam<bool> {
 protected:
  PoolConfig pool(std::uint32_t processes) {
    PoolConfig config = rig_.pool({"library"}, processes);
    config.program = product("samples/hello");
    config.arguments.clear();
    config.listen = GetParam() ? address_ : path_;
    return config;
  }
  FastcgiClient connect() const {
    return GetParam() ? FastcgiClient::to_port(std::stoi(address_.substr(address_.rfind(':') + 1)))
                      : FastcgiClient::to_unix(path_);
  }
  bool is_answered() const {
    FastcgiClient client = connect();
    client.request(1, get_params(), {}, false);
    return client.answer(1).has_ended;
  }

  ManagerRig rig_;
  TempFolder folder_{"cppfcgi-shared", true};
  std::string address_ = on_loopback();
  std::string path_ = folder_ / "app.sock";
};
INSTANTIATE_TEST_SUITE_P(Kind, SharedSocketTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "port" : "file"; });

TEST_P(SharedSocketTest, ServesWhoeverConnects) {
  const PoolConfig config = pool(3);
  ASSERT_EQ(rig_.configure({config}).kind, MessageKind::configured);
  ASSERT_TRUE(rig_.is_ready(config));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(is_answered());
}

TEST_P(SharedSocketTest, GoesOnWhileWorkersDie) {
  const PoolConfig config = pool(2);
  ASSERT_EQ(rig_.configure({config}).kind, MessageKind::configured);
  ASSERT_TRUE(rig_.is_ready(config));
  rig_.allow("pool ");
  ::kill(rig_.pid(config, 0), SIGKILL);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(is_answered());
  EXPECT_TRUE(rig_.is_ready(config));
}

TEST_P(SharedSocketTest, PassesFromOnePoolToTheNext) {
  const PoolConfig before = pool(2);
  ASSERT_EQ(rig_.configure({before}).kind, MessageKind::configured);
  ASSERT_TRUE(rig_.is_ready(before));
  const PoolConfig after = pool(3);
  ASSERT_EQ(rig_.configure({after}).kind, MessageKind::configured) << "though the old pool has the socket still";
  ASSERT_TRUE(rig_.is_ready(after));
  rig_.end_generation();
  EXPECT_TRUE(wait_until([&] { return !rig_.row(before); }));
  EXPECT_TRUE(is_answered());
}

TEST_P(SharedSocketTest, IsTakenOverByTheNextManager) {
  const PoolConfig config = pool(2);
  ASSERT_EQ(rig_.configure({config}).kind, MessageKind::configured);
  ASSERT_TRUE(rig_.is_ready(config));
  const auto pids = rig_.pids(config);
  rig_.kill_manager();
  EXPECT_TRUE(is_answered());
  rig_.start_manager();
  ASSERT_EQ(rig_.configure({config}).kind, MessageKind::configured);
  // It takes the socket from them, and need not replace them to have it.
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(is_answered());
  EXPECT_EQ(rig_.pids(config), pids);
  rig_.allow("pool ");
  const auto is_old = [&](pid_t pid) { return std::find(pids.begin(), pids.end(), pid) != pids.end(); };
  for (const pid_t pid : pids) ::kill(pid, SIGKILL);
  EXPECT_TRUE(wait_until([&] {
    const auto now = rig_.serving(config);
    return now.size() >= 2 && std::none_of(now.begin(), now.end(), is_old);
  }));
  EXPECT_TRUE(is_answered());
}

TEST_P(SharedSocketTest, EndsWithThePool) {
  const PoolConfig config = pool(1);
  ASSERT_EQ(rig_.configure({config}).kind, MessageKind::configured);
  ASSERT_TRUE(rig_.is_ready(config));
  ASSERT_EQ(rig_.configure({}).kind, MessageKind::configured);
  rig_.end_generation();
  EXPECT_TRUE(wait_until([&] { return !rig_.row(config); }));
  EXPECT_ANY_THROW(connect());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_P(SharedSocketTest, RefusesAPlaceThatSomebodyElseHas) {
  const PoolConfig config = pool(1);
  const Fd other = listen_at(config.listen);
  const Message answer = rig_.configure({config});
  EXPECT_EQ(answer.kind, MessageKind::refused);
  EXPECT_EQ(answer.text, "bind " + config.listen + ": Address already in use");
  EXPECT_TRUE(rig_.logs("is refused"));
}

TEST(SharedSocket, ReplacesADeadSocketsFileAndNothingElse) {
  ManagerRig rig;
  const TempFolder folder("cppfcgi-shared", true);
  PoolConfig pool = rig.pool({"library"}, 1);
  pool.program = product("samples/hello");
  pool.arguments.clear();
  pool.listen = folder / "app";
  listen_at(pool.listen).reset();
  ASSERT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  ASSERT_TRUE(rig.is_ready(pool));
  pool.listen = folder / "data";
  write_file(pool.listen, "precious");
  const Message answer = rig.configure({pool});
  EXPECT_EQ(answer.kind, MessageKind::refused);
  EXPECT_TRUE(rig.logs("not a socket lies there"));
  EXPECT_EQ(read_file(folder / "data"), "precious");
}

}  // namespace
}  // namespace cppfcgi::test
