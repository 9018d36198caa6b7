// The rules of mod_cppfcgi/core/waiting_time.h.
#include "mod_cppfcgi/core/waiting_time.h"

#include <gtest/gtest.h>

#include <limits>

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;

TEST(WaitingTime, IsASecondWhereNothingIsKnown) {
  PoolLoad load;
  WaitingTime time(load);
  EXPECT_EQ(time.seconds(1000, 4), 1U);
  time.add(10s, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(1000, 0), 1U) << "no worker is ready";
}

TEST(WaitingTime, IsWhatTheQueueTakesWithTheWorkersThereAre) {
  PoolLoad load;
  WaitingTime time(load);
  time.add(2s, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(0, 4), 1U);
  EXPECT_EQ(time.seconds(39, 4), 20U);
  EXPECT_EQ(time.seconds(40, 4), 21U) << "in whole seconds, none too few";
}

TEST(WaitingTime, FollowsTheLastRequests) {
  PoolLoad load;
  WaitingTime time(load);
  for (int i = 0; i < 100; ++i) time.add(100ms, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(39, 4), 1U);
  for (int i = 0; i < 100; ++i) time.add(2s, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(39, 4), 20U);
}

TEST(WaitingTime, SendsNobodyAwayForLong) {
  PoolLoad load;
  WaitingTime time(load);
  time.add(1h, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(1024, 1), 60U);
}

TEST(WaitingTime, IsKnownOnceOneHasEnded) {
  PoolLoad load;
  WaitingTime time(load);
  EXPECT_TRUE(time.knows_nothing());
  time.began(WaitingTime::Clock::now());
  EXPECT_TRUE(time.knows_nothing());
  time.add(0s, WaitingTime::Clock::now());
  EXPECT_FALSE(time.knows_nothing());
}

TEST(WaitingTime, SeesThatNoWorkerIsFreeForLong) {
  PoolLoad load;
  WaitingTime time(load);
  const auto now = WaitingTime::Clock::now();
  EXPECT_TRUE(time.is_stuck(now, 500ms));
  time.add(1ms, now);
  EXPECT_FALSE(time.is_stuck(now, 500ms));
  EXPECT_FALSE(time.is_stuck(now - 1s, 500ms)) << "by a clock that was read earlier";
  EXPECT_FALSE(time.is_stuck(now + 499ms, 500ms));
  EXPECT_TRUE(time.is_stuck(now + 500ms, 500ms)) << "all workers may hang";
  time.began(now + 10s);
  EXPECT_FALSE(time.is_stuck(now + 10s, 500ms)) << "it was idle, and a worker has taken the first of a burst";
}

TEST(WaitingTime, IsTheSameForAllChildrenAndMakesNothingOfWhatCannotBe) {
  PoolLoad load;
  WaitingTime one(load), other(load);
  one.add(2s, WaitingTime::Clock::now());
  EXPECT_EQ(other.seconds(39, 4), 20U);
  for (const std::int64_t word :
       {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
    load.service_us = load.moved = word;
    EXPECT_GE(one.seconds(1024, 1), 1U);
    EXPECT_LE(one.seconds(1024, 1), 60U);
    one.is_stuck(WaitingTime::Clock::now(), 500ms);
    one.add(1h, WaitingTime::Clock::now());
  }
}

}  // namespace
}  // namespace cppfcgi
