// What the scaling policy promises, for standard loads under a virtual clock (tests/support/policy_model.h).
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/policy_model.h"

namespace cppfcgi::test {
namespace {

Figures figures_of(const std::string& name, std::uint64_t seed = 1) {
  const auto all = standard_workloads();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Workload& load) { return load.name == name; });
  return simulate(*found, standard_policy(), standard_start, seed);
}

TEST(ScalingPolicy, AnswersAStepWithAsManyWorkersAsItHasClients) {
  const Figures step = figures_of("step");
  EXPECT_EQ(step.peak, 40u);
  EXPECT_EQ(step.starts, 40u);
  EXPECT_EQ(step.last, 1u);
  EXPECT_LE(step.wait_most_ms, 200);
  const auto full = std::find_if(step.course.begin(), step.course.end(), [](const auto& m) { return m.busy == 40; });
  ASSERT_NE(full, step.course.end());
  EXPECT_LE(full->second, 5.3);
}

TEST(ScalingPolicy, FollowsARampUpAndDown) {
  const Figures ramp = figures_of("ramp");
  EXPECT_LE(ramp.wait_p99_ms, 50);
  EXPECT_LE(ramp.starts, 45u);
  EXPECT_LE(ramp.last, 6u);
}

TEST(ScalingPolicy, RidesOutASquareWaveThatIsQuickerThanTheIdleTime) {
  const Figures wave = figures_of("square wave of 10 s");
  EXPECT_EQ(wave.starts, 30u);
  EXPECT_EQ(wave.flaps, 0u);
}

TEST(ScalingPolicy, StartsEachWorkerAtMostOnceInAPeriodOfASlowSquareWave) {
  const Figures wave = figures_of("square wave of 60 s");  // four periods
  EXPECT_LE(wave.most_starts_of_a_slot, 4u);
  EXPECT_EQ(wave.flaps, 0u);
}

TEST(ScalingPolicy, MeetsAFlashCrowdAndLetsItsWorkersGo) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Figures crowd = figures_of("flash crowd", seed);
    EXPECT_LE(crowd.wait_p99_ms, 100) << seed;
    EXPECT_LE(crowd.starts, 50u) << seed;
    EXPECT_LE(crowd.last, 5u) << seed;
  }
}

TEST(ScalingPolicy, KeepsNobodyWaitingBehindLongRequests) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) EXPECT_LE(figures_of("heavy tail", seed).wait_p99_ms, 50) << seed;
}

TEST(ScalingPolicy, BoundsItsStartsWhileWorkersCrash) {
  const Figures storm = figures_of("crash storm");
  EXPECT_LE(storm.starts, storm.lost + 60) << "one for each that crashed, and the pool's own";
  EXPECT_GE(storm.answered, 2'000u);
}

}  // namespace
}  // namespace cppfcgi::test
