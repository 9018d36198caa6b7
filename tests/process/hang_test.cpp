// Workers that hang: with a request that is over its time, or while idle. They are ended, and replaced meanwhile.
#include <gtest/gtest.h>

#include <csignal>

#include "tests/process/manager_rig.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

// As httpd's child says that a request in this worker is over its time.
void mark_late(ManagerRig& rig, const PoolConfig& pool, std::uint32_t index, std::uint32_t requests) {
  const std::uint32_t row = rig.directory().pools[*rig.row(pool)].first_slot + index;
  rig.load().slots[row].late.store(std::uint64_t{rig.state(pool, index).generation} << 32 | requests);
  rig.nudge();
}

bool has_ended(pid_t pid) {
  return wait_until([pid] {
    const auto id = process_id(pid);
    return !id || !is_alive(*id);
  });
}

class Hang : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(AWorkerThat, Hang, testing::Values("obeys", "ignores", "is stopped"), [](const auto& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

TEST_P(Hang, IsEndedAndReplacedWhereItStaysLate) {
  const std::string kind = GetParam();
  ManagerRig rig;
  const PoolConfig pool = rig.pool(kind == "ignores" ? Script{"ignore-term", "answer", "1"} : Script{"answer", "1"}, 2);
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const pid_t worker = rig.pid(pool);
  if (kind == "is stopped") kill(worker, SIGSTOP);
  mark_late(rig, pool, 0, 1);
  EXPECT_TRUE(rig.logs("hangs: requests in it are over their time"));
  rig.allow("has not ended within");
  rig.allow("of pool /actor: thread ");
  rig.allow("of pool /actor: #");
  EXPECT_TRUE(rig.logs("answer_once"));  // in its stacks
  EXPECT_TRUE(wait_until([&] { return rig.serving(pool).size() == 2; })) << "its successor serves";
  EXPECT_TRUE(has_ended(worker));
  EXPECT_EQ(rig.serving(pool).size(), 2u);
}

TEST(HungWorker, IsKeptWhereItsRequestEndsAfterAll) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"answer", "1"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const pid_t worker = rig.pid(pool);
  mark_late(rig, pool, 0, 1);
  rig.configure({pool});  // answered after the nudge
  mark_late(rig, pool, 0, 0);
  EXPECT_FALSE(wait_until([&] { return rig.living(pool) > 1; }, Milliseconds(800))) << rig.log();
  EXPECT_EQ(rig.pid(pool), worker);
}

TEST(HungWorker, IsFoundWhileIdle) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer-times", "1", "2", "stay"});
  pool.probe_interval = 100ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const pid_t worker = rig.pid(pool);
  EXPECT_TRUE(rig.logs("hangs: it was asked while idle and did not answer"));
  rig.allow("of pool /actor: thread ");
  rig.allow("of pool /actor: #");
  EXPECT_TRUE(has_ended(worker));
}

TEST(HungWorker, IsNoWorkerThatIsBusyWhenItIsAsked) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer-times", "1", "1", "stay"});
  pool.probe_interval = 100ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const pid_t worker = rig.pid(pool);
  const auto claim = rig.claims().try_claim(*rig.row(pool), getpid());
  ASSERT_TRUE(claim);
  EXPECT_FALSE(wait_until([&] { return rig.living(pool) > 1; }, Milliseconds(1'500))) << rig.log();
  EXPECT_EQ(rig.pid(pool), worker);
  rig.claims().release(*rig.row(pool), *claim, getpid());
  EXPECT_TRUE(rig.logs("hangs: it was asked while idle and did not answer"));
  rig.allow("of pool /actor: thread ");
  rig.allow("of pool /actor: #");
}

TEST(HungWorker, IsNoneThatNeverAnswers) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"refuse"});
  pool.probe_interval = 100ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  EXPECT_FALSE(wait_until([&] { return rig.living(pool) > 1; }, Milliseconds(1'500))) << rig.log();
}

}  // namespace
}  // namespace cppfcgi::test
