// The rules of mod_cppfcgi/manager/backoff.h; what a pool makes of them: pool_test.cpp.
#include "mod_cppfcgi/manager/backoff.h"

#include <gtest/gtest.h>

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;

struct Dying {
  Backoff backoff;
  Random random{1};
  Time now{1h};

  void die_early() { backoff.died_early(now, 60s, now, random); }
  void die_young() { backoff.died_young(now, 60s, now, random); }
  // Waits for the next start, and a moment more.
  void wait() { now += backoff.pause(now) + 1ms; }
};

TEST(Backoff, DoublesFromTheFirstPauseToTheLongestAQuarterLessAtMost) {
  Dying pool;
  EXPECT_EQ(pool.backoff.pause(pool.now), 0ms);
  for (Duration full = 100ms; full < 60s; full *= 2, pool.wait()) {
    pool.die_early();
    EXPECT_LE(pool.backoff.pause(pool.now), full);
    EXPECT_GE(pool.backoff.pause(pool.now), full * 3 / 4);
  }
  pool.die_early();
  EXPECT_LE(pool.backoff.pause(pool.now), 60s);
  EXPECT_GE(pool.backoff.pause(pool.now), 45s);
}

TEST(Backoff, OpensFromTheThirdEarlyDeathUntilOneIsReady) {
  Dying pool;
  for (int deaths = 1; deaths <= 4; ++deaths, pool.wait()) {
    pool.die_early();
    EXPECT_EQ(pool.backoff.is_open(), deaths >= 3) << deaths;
    EXPECT_EQ(pool.backoff.has_just_opened(), deaths == 3) << deaths;
    EXPECT_FALSE(pool.backoff.has_just_closed());
  }
  pool.die_early();
  pool.backoff.became_ready(pool.now);
  EXPECT_FALSE(pool.backoff.is_at_work());
  EXPECT_TRUE(pool.backoff.has_just_closed());
  EXPECT_FALSE(pool.backoff.has_just_closed()) << "told once";
  EXPECT_EQ(pool.backoff.pause(pool.now), 0ms);
}

TEST(Backoff, CountsTheDeathsOfOneStartAsThreeAtMost) {
  Dying pool;
  const Time started = pool.now;
  for (int i = 0; i < 50; ++i) pool.backoff.died_early(started, 60s, pool.now, pool.random);
  EXPECT_LE(pool.backoff.pause(pool.now), 400ms);
}

TEST(Backoff, CountsShortLivesFromTheThirdInARow) {
  Dying pool;
  pool.die_young();
  pool.die_young();
  EXPECT_FALSE(pool.backoff.is_at_work());
  EXPECT_TRUE(pool.backoff.counts_lives());
  pool.die_young();
  EXPECT_TRUE(pool.backoff.is_at_work());
  pool.backoff.became_ready(pool.now);
  EXPECT_TRUE(pool.backoff.is_at_work()) << "it may die like the others";
  pool.backoff.lived(pool.now);
  EXPECT_FALSE(pool.backoff.is_at_work());
  EXPECT_FALSE(pool.backoff.counts_lives());
}

TEST(Backoff, IsNotHeldUpByTheProgramFromBeforeAChange) {
  Dying pool;
  for (int i = 0; i < 8; ++i, pool.wait()) pool.die_early();
  pool.die_early();
  const Time old_one_started = pool.now;
  pool.now += 5ms;
  pool.backoff.program_changed(pool.now);
  EXPECT_LE(pool.backoff.pause(pool.now), 100ms);
  pool.now += 1ms;
  pool.backoff.died_early(old_one_started, 60s, pool.now, pool.random);
  EXPECT_LE(pool.backoff.pause(pool.now), 100ms);
}

}  // namespace
}  // namespace cppfcgi
