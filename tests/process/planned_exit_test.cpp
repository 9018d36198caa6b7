// Planned exits: workers that have served enough, lived for long or grown large, and workers of earlier settings, get a
// successor before they go.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/process/manager_rig.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;
using Pids = std::vector<pid_t>;

// Looks at the pool until none of these pids serves and all wanted workers do: never fewer than wanted, never more than
// one beside them.
void expect_replaced(const ManagerRig& rig, const PoolConfig& pool, const Pids& old) {
  std::size_t fewest = pool.processes;
  std::size_t most = 0;
  EXPECT_TRUE(wait_until([&] {
    const Pids serving = rig.serving(pool);
    fewest = std::min(fewest, serving.size());
    most = std::max(most, rig.living(pool));
    const bool has_old = std::any_of(serving.begin(), serving.end(),
                                     [&](pid_t pid) { return std::find(old.begin(), old.end(), pid) != old.end(); });
    return !has_old && serving.size() == pool.processes && rig.living(pool) == pool.processes;
  })) << rig.log();
  EXPECT_EQ(fewest, pool.processes);
  EXPECT_LE(most, pool.processes + 1);
}

TEST(PlannedExit, RecyclesAWorkerThatHasServedEnough) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"}, 2);
  pool.max_requests = 100;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const Pids workers = rig.serving(pool);
  const std::uint64_t at = rig.slot(pool).recycle_at.load();
  EXPECT_GE(at, 90u);
  EXPECT_LE(at, 100u);
  const std::uint32_t first = rig.directory().pools[*rig.row(pool)].first_slot;
  rig.load().slots[first].requests.store(at - 1);
  rig.nudge();
  rig.configure({pool});  // answered after the nudge
  EXPECT_EQ(rig.serving(pool), workers);
  rig.load().slots[first].requests.store(at);
  rig.nudge();
  expect_replaced(rig, pool, {workers[0]});
}

TEST(PlannedExit, RecyclesAWorkerThatHasLivedLongEnough) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"}, 2);
  pool.max_lifetime = 300ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  expect_replaced(rig, pool, rig.serving(pool));
}

TEST(PlannedExit, RecyclesAWorkerThatHasGrownLarge) {
  ManagerRig rig;
  PoolConfig pool =
      rig.pool({"answer-times", "1", "1", "wait-for", rig.folder() / "feast", "grow", "60000000", "answer", "1"});
  pool.max_rss_bytes = 50 << 20;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const Pids workers = rig.serving(pool);
  write_file(rig.folder() / "feast", "");
  ASSERT_TRUE(wait_until([&] { return rig.living(pool) == 2; })) << rig.log();
  EXPECT_TRUE(wait_until([&] { return rig.serving(pool) != workers; })) << rig.log();
}

TEST(PlannedExit, WaitsForTheLastClaimOfTheOldWorker) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"});
  pool.max_lifetime = 100ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const std::uint32_t row = *rig.row(pool);
  const pid_t worker = rig.pid(pool);
  const auto claim = rig.claims().try_claim(row, getpid());
  ASSERT_TRUE(claim);
  ASSERT_TRUE(rig.becomes(pool, 0, Phase::draining));
  EXPECT_TRUE(is_alive(*process_id(worker)));
  const auto other = rig.claims().try_claim(row, getpid());
  ASSERT_TRUE(other) << "its successor serves";
  EXPECT_NE(other->slot, claim->slot);
  rig.claims().release(row, *claim, getpid());
  rig.claims().release(row, *other, getpid());
  EXPECT_TRUE(rig.becomes(pool, 0, Phase::empty));
}

TEST(PlannedExit, KeepsTheOldWorkerWhileItsSuccessorCannotBeStarted) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"exit-while", rig.folder() / "broken", "1", "answer", "1"});
  pool.max_lifetime = 200ms;
  pool.restart_delay = 200ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  write_file(rig.folder() / "broken", "");
  const Pids workers = rig.serving(pool);
  EXPECT_TRUE(rig.logs("died before it was ready: exit 1; next try in"));
  rig.allow("workers keep dying before they are ready");
  EXPECT_EQ(rig.serving(pool), workers);
  std::filesystem::remove(rig.folder() / "broken");
  expect_replaced(rig, pool, workers);
}

TEST(PlannedExit, RollsWorkersWhoseSettingsHaveChanged) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"report", rig.folder() / "report", "answer", "1"}, 3);
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const Pids workers = rig.serving(pool);
  pool.environment.emplace_back("COLOUR=blue");
  EXPECT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  expect_replaced(rig, pool, workers);
  EXPECT_NE(read_file(rig.folder() / "report").find("variable COLOUR=blue\n"), std::string::npos);
}

TEST(PlannedExit, KeepsWorkersWhereOnlyThePolicyHasChanged) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"}, 2);
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const Pids workers = rig.serving(pool);
  pool.restart_delay = 7s;
  pool.max_requests = 1'000'000;
  pool.listen_queue_depth = 7;
  pool.name = "renamed";
  EXPECT_EQ(rig.configure({pool}).kind, MessageKind::configured);
  EXPECT_EQ(rig.serving(pool), workers);
  EXPECT_EQ(rig.living(pool), 2u);
}

TEST(PlannedExit, RollsWhatAnEarlierManagerStartedWithOtherSettings) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"}, 2);
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const Pids workers = rig.serving(pool);
  rig.kill_manager();
  rig.start_manager();
  pool.environment.emplace_back("COLOUR=blue");
  rig.configure({pool});
  expect_replaced(rig, pool, workers);
}

TEST(PlannedExit, WritesAboutAPoolIntoItsOwnLog) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"complain", "hello there", "answer", "1"});
  pool.log = 1;
  const std::string file = rig.folder() / "own.log";
  rig.configure({pool}, {file});
  ASSERT_TRUE(rig.is_ready(pool));
  EXPECT_TRUE(wait_until([&] { return read_file(file).find("of pool /actor: hello there") != std::string::npos; }));
  EXPECT_EQ(rig.count_in_log("hello there"), 0u);
}

}  // namespace
}  // namespace cppfcgi::test
