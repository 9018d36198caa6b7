// The rules of mod_cppfcgi/core/waiting_time.h.
#include "mod_cppfcgi/core/waiting_time.h"

#include <gtest/gtest.h>

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;

TEST(WaitingTime, IsASecondWhereNothingIsKnown) {
  WaitingTime time;
  EXPECT_EQ(time.seconds(1000, 4), 1U);
  time.add(10s, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(1000, 0), 1U) << "no worker is ready";
}

TEST(WaitingTime, IsWhatTheQueueTakesWithTheWorkersThereAre) {
  WaitingTime time;
  time.add(2s, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(0, 4), 1U);
  EXPECT_EQ(time.seconds(39, 4), 20U);
  EXPECT_EQ(time.seconds(40, 4), 21U) << "in whole seconds, none too few";
}

TEST(WaitingTime, FollowsTheLastRequests) {
  WaitingTime time;
  for (int i = 0; i < 100; ++i) time.add(100ms, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(39, 4), 1U);
  for (int i = 0; i < 100; ++i) time.add(2s, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(39, 4), 20U);
}

TEST(WaitingTime, SendsNobodyAwayForLong) {
  WaitingTime time;
  time.add(1h, WaitingTime::Clock::now());
  EXPECT_EQ(time.seconds(1024, 1), 60U);
}

}  // namespace
}  // namespace cppfcgi
