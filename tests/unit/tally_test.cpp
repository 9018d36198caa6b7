// The rules of mod_cppfcgi/core/tally.h.
#include "mod_cppfcgi/core/tally.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;

constexpr Tally::Clock::time_point start{1h};

TEST(Tally, TellsTheFirstAtOnceAndTheNextTogether) {
  Tally tally;
  EXPECT_EQ(tally.add(start), 1U);
  EXPECT_EQ(tally.add(start), 0U);
  EXPECT_EQ(tally.add(start + 999ms), 0U);
  EXPECT_EQ(tally.add(start + 1s), 3U);
  EXPECT_EQ(tally.add(start + 1h), 1U);
}

TEST(Tally, ForgetsNoneUnderManyThreads) {
  Tally tally;
  std::atomic<std::uint32_t> told{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 10'000; ++k) told += tally.add(start + k * 1ms);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(told + tally.add(start + 1h), 40'001U);
}

}  // namespace
}  // namespace cppfcgi
