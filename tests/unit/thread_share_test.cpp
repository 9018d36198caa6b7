// The rules of mod_cppfcgi/core/thread_share.h.
#include "mod_cppfcgi/core/thread_share.h"

#include <gtest/gtest.h>

#include <vector>

namespace cppfcgi {
namespace {

constexpr std::uint32_t half = 64, server = 128;

// How many of this pool's requests may wait until one is refused.
std::size_t fill(ThreadShare& share, std::uint32_t pool, std::vector<ThreadShare::Waiting>& waiting,
                 std::uint32_t granted = half) {
  for (std::size_t count = 0;; ++count) {
    auto one = share.wait(pool, granted);
    if (!one) return count;
    waiting.push_back(std::move(one));
  }
}

TEST(ThreadShare, OnePoolsRequestsHoldThreeQuartersOfTheThreadsAtMost) {
  ThreadShare share(32, server);
  std::vector<ThreadShare::Waiting> waiting;
  EXPECT_EQ(fill(share, 0, waiting), 24U);
}

TEST(ThreadShare, WhatWorkersServeCountsToo) {
  ThreadShare share(32, server);
  std::vector<ThreadShare::Held> served;
  for (int i = 0; i < 8; ++i) served.push_back(share.hold());
  std::vector<ThreadShare::Waiting> waiting;
  EXPECT_EQ(fill(share, 0, waiting), 18U);
}

TEST(ThreadShare, ASecondSlowPoolHasPlacesToo) {
  ThreadShare share(32, server);
  std::vector<ThreadShare::Waiting> waiting;
  fill(share, 0, waiting);
  EXPECT_EQ(fill(share, 1, waiting), 6U);
}

TEST(ThreadShare, HoweverManyPoolsAreSlowAThreadIsLeft) {
  ThreadShare share(32, server);
  std::vector<ThreadShare::Waiting> waiting;
  for (std::uint32_t pool = 0; pool < 8; ++pool) fill(share, pool, waiting);
  EXPECT_EQ(waiting.size(), 31U);
}

TEST(ThreadShare, WhoeverIsDoneMakesRoom) {
  ThreadShare share(32, server);
  std::vector<ThreadShare::Waiting> waiting;
  fill(share, 0, waiting);
  waiting.pop_back();
  EXPECT_EQ(fill(share, 0, waiting), 1U);
}

TEST(ThreadShare, ALargerGrantCountsInProportion) {
  ThreadShare share(32, server);
  std::vector<ThreadShare::Waiting> waiting;
  EXPECT_EQ(fill(share, 0, waiting, server * 7 / 8), 28U);
}

TEST(ThreadShare, ASmallGrantIsTheQueuesMatter) {
  ThreadShare share(32, server);
  std::vector<ThreadShare::Waiting> waiting;
  EXPECT_EQ(fill(share, 0, waiting, 2), 24U);
}

TEST(ThreadShare, AGrantOfAllIsTakenAtItsWord) {
  ThreadShare share(2, 4);
  std::vector<ThreadShare::Waiting> waiting;
  for (int i = 0; i < 8; ++i) waiting.push_back(share.wait(0, 4));
  for (const auto& one : waiting) EXPECT_TRUE(one);
}

TEST(ThreadShare, AProcessOfOneThreadMayWaitWithIt) {
  ThreadShare share(1, 128);
  EXPECT_TRUE(share.wait(0, half));
}

}  // namespace
}  // namespace cppfcgi
