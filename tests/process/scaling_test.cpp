// A pool that is scaled by demand, with real workers. The test plays httpd's children: it queues up, nudges, and gives
// back what it is granted.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "tests/process/manager_rig.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

class ScaledPool : public testing::Test {
 protected:
  void start(std::uint32_t least, std::uint32_t most, Milliseconds idle_timeout = 300ms) {
    pool_ = rig_.pool({"answer", "1"}, least);
    pool_.max_processes = most;
    pool_.idle_process_timeout = idle_timeout;
    rig_.configure({pool_});
    ASSERT_TRUE(rig_.is_ready(pool_));
  }
  ~ScaledPool() override { answer_all(); }

  void ask(int requests) {
    for (int i = 0; i < requests; ++i) {
      const auto queued = rig_.claims().enqueue(*rig_.row(pool_), getpid(), max_waiting);
      ASSERT_TRUE(queued);
      tickets_.push_back(queued->ticket);
    }
    rig_.nudge();
  }
  void answer_all() {
    for (const Ticket& ticket : tickets_) {
      auto claim = rig_.claims().granted(ticket, getpid());
      if (!claim) claim = rig_.claims().leave(ticket, getpid());
      if (claim) rig_.claims().release(ticket.pool, *claim, getpid());
    }
    tickets_.clear();
  }
  // True once so many serve, and no others live.
  bool becomes(std::size_t workers) {
    return wait_until([&] { return rig_.serving(pool_).size() == workers && rig_.living(pool_) == workers; });
  }
  std::uint32_t starts() const {
    std::uint32_t all = 0;
    for (std::uint32_t slot = 0; slot <= pool_.max_processes; ++slot) all += rig_.slot(pool_, slot).starts.load();
    return all;
  }
  // How often the manager has slept, and so how often it has woken.
  long sleeps() const {
    std::ifstream status("/proc/" + std::to_string(rig_.manager()) + "/status");
    long count = -1;
    for (std::string word; status >> word;)
      if (word == "voluntary_ctxt_switches:") status >> count;
    return count;
  }

  ManagerRig rig_;
  PoolConfig pool_;
  std::vector<Ticket> tickets_;
  std::optional<Claim> held_;
};

TEST_F(ScaledPool, GrowsWithItsQueueAndFallsBackToItsLeast) {
  start(1, 6);
  EXPECT_EQ(rig_.living(pool_), 1u);
  ask(20);
  EXPECT_TRUE(becomes(6)) << rig_.log();
  answer_all();
  EXPECT_TRUE(becomes(1)) << rig_.log();
  EXPECT_EQ(rig_.state(pool_, 0).phase, Phase::ready) << "the lowest stays";
  EXPECT_EQ(starts(), 6u);
  EXPECT_TRUE(rig_.logs("requests wait: 2 workers instead of 1 (-max-processes 6)"));
  EXPECT_TRUE(rig_.logs("was not needed for 300 ms (-idle-process-timeout): it ends, and 1 stay"));
}

TEST_F(ScaledPool, GrowsFromNothingAndFallsBackToNothing) {
  start(0, 2);
  EXPECT_EQ(rig_.living(pool_), 0u);
  ask(1);
  EXPECT_TRUE(becomes(1));
  answer_all();
  EXPECT_TRUE(becomes(0));
  ask(1);
  EXPECT_TRUE(becomes(1));
}

TEST_F(ScaledPool, KeepsWhoIsAtWork) {
  start(1, 3, 200ms);
  ask(3);
  ASSERT_TRUE(becomes(3));
  // The first two are through; the third worker works on.
  for (const Ticket& ticket : tickets_) {
    const auto claim = rig_.claims().granted(ticket, getpid());
    ASSERT_TRUE(claim);
    if (rig_.directory().pools[*rig_.row(pool_)].first_slot + 2 == claim->slot) {
      held_ = claim;
    } else {
      rig_.claims().release(ticket.pool, *claim, getpid());
    }
  }
  tickets_.clear();
  ASSERT_TRUE(held_);
  EXPECT_TRUE(becomes(2));
  EXPECT_EQ(rig_.state(pool_, 2).phase, Phase::ready);
  rig_.claims().release(*rig_.row(pool_), *held_, getpid());
  EXPECT_TRUE(becomes(1));
}

TEST_F(ScaledPool, IsAdoptedAsItIsAndFallsBackLater) {
  start(1, 5, 1'000ms);
  ask(5);
  ASSERT_TRUE(becomes(5));
  const auto workers = rig_.serving(pool_);
  rig_.kill_manager();
  rig_.start_manager();
  ASSERT_EQ(rig_.configure({pool_}).kind, MessageKind::configured);
  EXPECT_EQ(rig_.serving(pool_), workers);
  answer_all();
  EXPECT_TRUE(becomes(1)) << rig_.log();
  EXPECT_EQ(starts(), 5u);
}

TEST_F(ScaledPool, IsAskedAgainByTheNextManagerWhatWaitedMeanwhile) {
  start(1, 5);
  rig_.kill_manager();
  ask(5);
  const auto first = rig_.claims().try_claim(*rig_.row(pool_), getpid());
  rig_.start_manager();
  ASSERT_EQ(rig_.configure({pool_}).kind, MessageKind::configured);
  EXPECT_TRUE(wait_until([&] { return rig_.serving(pool_).size() == 5; })) << rig_.log();
  if (first) rig_.claims().release(*rig_.row(pool_), *first, getpid());
}

TEST_F(ScaledPool, StaysTheSamePoolWhenItsLeastChanges) {
  start(1, 5);
  const auto row = rig_.row(pool_);
  const auto first = rig_.pid(pool_);
  pool_.processes = 3;
  rig_.configure({pool_});
  EXPECT_TRUE(becomes(3));
  EXPECT_EQ(rig_.row(pool_), row);
  pool_.processes = 1;
  rig_.configure({pool_});
  EXPECT_TRUE(becomes(1));
  EXPECT_EQ(rig_.pid(pool_), first);
}

TEST_F(ScaledPool, RollsAtTheSizeThatItHas) {
  start(1, 4, 60'000ms);
  ask(4);
  ASSERT_TRUE(becomes(4));
  const auto before = rig_.serving(pool_);
  answer_all();
  pool_.environment.emplace_back("ROUND=2");
  rig_.configure({pool_});
  EXPECT_TRUE(wait_until([&] {
    const auto now = rig_.serving(pool_);
    const bool has_old = std::any_of(now.begin(), now.end(), [&](pid_t pid) {
      return std::find(before.begin(), before.end(), pid) != before.end();
    });
    return now.size() == 4 && !has_old && rig_.living(pool_) == 4;
  })) << rig_.log();
}

TEST_F(ScaledPool, IsHeldBackByTheGuardAndSaysSoOnce) {
  start(1, 4);
  pool_.scale_guard_memory_percent = 100;  // never available
  rig_.configure({pool_});
  ask(9);
  EXPECT_TRUE(rig_.logs("no more are started (-scale-guard)"));
  answer_all();
  ask(9);
  const auto quick_looks = sleeps() + 20;
  EXPECT_TRUE(wait_until([&] { return sleeps() > quick_looks; }));
  EXPECT_EQ(rig_.living(pool_), 1u);
  EXPECT_EQ(rig_.count_in_log("(-scale-guard)"), 1u);
}

TEST_F(ScaledPool, CostsNothingWhileItIsIdleAtItsLeast) {
  start(1, 6, 100ms);
  ask(6);
  ASSERT_TRUE(becomes(6));
  answer_all();
  ASSERT_TRUE(becomes(1));
  ::poll(nullptr, 0, 500);  // what ended last may still be looked after
  const long before = sleeps();
  ASSERT_GE(before, 0);
  ::poll(nullptr, 0, 1'500);
  EXPECT_EQ(sleeps(), before);
}

}  // namespace
}  // namespace cppfcgi::test
