// The rules of mod_cppfcgi/core/poison.h, on an area in plain memory.
#include "mod_cppfcgi/core/poison.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace cppfcgi {
namespace {

constexpr std::uint64_t request = 0xabcdef;
constexpr Poisons::Seconds now = 100'000;

struct PoisonTest : testing::Test {
  std::unique_ptr<Load> load = std::make_unique<Load>();
  Poisons poisons{*load};
  std::uint64_t last_worker = 0;

  std::uint32_t die(std::uint64_t fingerprint, Poisons::Seconds at = now) {
    return poisons.add_death(fingerprint, ++last_worker, at);
  }
  std::uint32_t used() const {
    return static_cast<std::uint32_t>(
        std::ranges::count_if(load->poisons, [](const PoisonRow& row) { return row.fingerprint != 0; }));
  }
};

TEST_F(PoisonTest, RefusesWhatHasCostEnoughWorkersInARow) {
  EXPECT_FALSE(poisons.has_any());
  for (std::uint32_t death = 1; death < Poisons::enough_deaths; ++death) {
    EXPECT_EQ(die(request), death);
    EXPECT_EQ(poisons.refused_for(request, now), 0U);
  }
  EXPECT_EQ(die(request), Poisons::enough_deaths);
  EXPECT_EQ(poisons.refused_for(request, now), Poisons::refusal_seconds);
  EXPECT_EQ(poisons.refused_for(request + 1, now), 0U);
  EXPECT_TRUE(poisons.has_any());
}

TEST_F(PoisonTest, RefusesForAWhileAndThenOneMoreDeathWillDo) {
  for (int i = 0; i < 3; ++i) die(request);
  EXPECT_EQ(poisons.refused_for(request, now + Poisons::refusal_seconds - 1), 1U);
  const Poisons::Seconds later = now + Poisons::refusal_seconds;
  EXPECT_EQ(poisons.refused_for(request, later), 0U);
  EXPECT_EQ(die(request, later), 4U);
  EXPECT_EQ(poisons.refused_for(request, later), Poisons::refusal_seconds);
}

TEST_F(PoisonTest, AGoodAnswerClearsIt) {
  die(request);
  die(request);
  poisons.clear(request);
  EXPECT_FALSE(poisons.has_any());
  EXPECT_EQ(die(request), 1U);
}

TEST_F(PoisonTest, CountsAWorkerOnceHoweverManyOfItsRequestsAreTheSame) {
  EXPECT_EQ(poisons.add_death(request, 7, now), 1U);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(poisons.add_death(request, 7, now), 0U);
  EXPECT_EQ(poisons.add_death(request, 8, now), 2U);
}

TEST_F(PoisonTest, ForgetsWhatWasNotHeardOfForLong) {
  die(request);
  die(request);
  EXPECT_EQ(die(request, now + Poisons::memory_seconds), 1U);
}

TEST_F(PoisonTest, LooksForWhatIsOldWhileOthersAsk) {
  for (std::uint64_t i = 0; i < 100; ++i) die(request + 1'000 * i);
  const Poisons::Seconds later = now + Poisons::memory_seconds;
  for (std::uint32_t i = 0; i < max_poisons; ++i) poisons.refused_for(1, later);
  EXPECT_FALSE(poisons.has_any());
  EXPECT_EQ(used(), 0U);
}

TEST_F(PoisonTest, TheOldestOfItsPlacesGoes) {
  // All of the same eight places.
  for (std::uint64_t i = 1; i <= 8; ++i) die(i * max_poisons, now + static_cast<Poisons::Seconds>(i));
  for (int death = 1; death <= 3; ++death) die(9 * max_poisons, now + 10);
  EXPECT_GT(poisons.refused_for(9 * max_poisons, now + 10), 0U);
  EXPECT_EQ(die(2 * max_poisons, now + 10), 2U) << "younger than the first";
  EXPECT_EQ(used(), 8U);
  EXPECT_EQ(load->poison_count, 8U);
}

TEST_F(PoisonTest, BelievesNoWordThatCannotBe) {
  struct Case {
    const char* what;
    std::uint64_t deaths;
    Poisons::Seconds refused_for;
  };
  const auto word = [](std::uint64_t count, std::uint64_t seconds) { return count << 56 | seconds; };
  for (const Case& c :
       {Case{"of now", word(3, now), 60}, Case{"a moment ahead", word(3, now + 1), 60},
        Case{"of the future", word(255, now + 1'000), 0}, Case{"of the end of time", ~std::uint64_t{0}, 0},
        Case{"of long ago", word(255, 0), 0}, Case{"none", 0, 0}}) {
    load->poisons[request % max_poisons].fingerprint = request;
    load->poisons[request % max_poisons].deaths = c.deaths;
    load->poison_count = 1;
    EXPECT_EQ(poisons.refused_for(request, now), c.refused_for) << c.what;
  }
}

TEST_F(PoisonTest, ACountThatCannotBeIsMended) {
  load->poison_count = ~std::uint32_t{0};
  poisons.refused_for(request, now);
  EXPECT_FALSE(poisons.has_any());
}

TEST_F(PoisonTest, SurvivesRandomBytesAndRefusesNobodyForLonger) {
  std::mt19937_64 random(42);
  auto* words = reinterpret_cast<std::uint64_t*>(load->poisons);
  for (int round = 0; round < 1'000; ++round) {
    for (std::size_t i = 0; i < sizeof load->poisons / 8; ++i) words[i] = random() % 3 == 0 ? random() : random() % 600;
    load->poison_count = static_cast<std::uint32_t>(random());
    const std::uint64_t asked = random() % 600;
    EXPECT_LE(poisons.refused_for(asked, now), Poisons::refusal_seconds);
    poisons.add_death(asked, random(), now);
    poisons.clear(random() % 600);
  }
}

TEST_F(PoisonTest, CountsRightlyUnderManyThreads) {
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t k = 0; k < 5'000; ++k) {
        const std::uint64_t fingerprint = 1 + (k * 7 + i) % 2'000;
        poisons.add_death(fingerprint, k << 8 | i, now);
        poisons.refused_for(fingerprint, now);
        poisons.clear(fingerprint);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 100; ++i) poisons.refused_for(1, now);  // looks after the table
  EXPECT_EQ(load->poison_count, used());
  EXPECT_EQ(used(), 0U);
}

}  // namespace
}  // namespace cppfcgi
