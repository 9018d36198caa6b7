#include "mod_cppfcgi/manager/load_gauge.h"

#include <gtest/gtest.h>

#include <memory>

#include "shared/futex.h"

namespace cppfcgi {
namespace {

class Gauge : public testing::Test {
 protected:
  Gauge() { directory_->pools[2].slot_count = 3, directory_->pools[2].first_slot = 10, directory_->pools[2].key = 7; }
  Demand read(std::uint8_t capacity = 1) {
    std::vector<SlotState> slots(3, SlotState{.generation = 4, .phase = Phase::ready, .capacity = capacity});
    slots[2].phase = last_;
    return gauge_.read(slots);
  }
  void claim(std::uint32_t slot, std::uint32_t count, std::uint32_t generation = 4) {
    for (std::uint32_t i = 0; i < count; ++i)
      load_->slots[10 + slot].cells[i].holder = std::uint64_t{1234} << 32 | generation;
  }

  std::unique_ptr<Directory> directory_ = std::make_unique<Directory>();
  std::unique_ptr<Load> load_ = std::make_unique<Load>();
  Claims claims_{*directory_, *load_, wake_one};
  LoadGauge gauge_{*load_, claims_, 2, 10, 3};
  Phase last_ = Phase::ready;
};

TEST_F(Gauge, SeesNobodyAtWork) { EXPECT_EQ(read(), (Demand{.idle = 2})); }

TEST_F(Gauge, CountsWhoWaits) {
  for (int i = 0; i < 5; ++i) claims_.enqueue(2, 1, max_waiting);
  EXPECT_EQ(read().waiting, 5u);
}

TEST_F(Gauge, CountsWorkersThatHaveARequestOrHadOneSinceTheLastLook) {
  claim(0, 1);
  load_->slots[11].requests = 3;
  EXPECT_EQ(read(), (Demand{.needed = 2, .idle = 2}));
  EXPECT_EQ(read(), (Demand{.needed = 1, .idle = 2}));
}

TEST_F(Gauge, SparesNobodyButTheLastOfTheReadyAndIdle) {
  last_ = Phase::starting;
  EXPECT_EQ(read().idle, 1u);
  claim(1, 1);
  EXPECT_EQ(read().idle, 0u);
  claim(0, 1);
  EXPECT_EQ(read().idle, std::nullopt);
}

TEST_F(Gauge, IgnoresClaimsOnEarlierGenerations) {
  claim(2, 1, 3);
  EXPECT_EQ(read(), (Demand{.idle = 2}));
}

// Each has one request, where one worker could have all three.
TEST_F(Gauge, CountsAsManyAsWouldDoWhereWorkersTakeSeveral) {
  for (const std::uint32_t slot : {0u, 1u, 2u}) claim(slot, 1);
  EXPECT_EQ(read(10), (Demand{.needed = 1, .idle = 2}));
  claim(0, 7);
  EXPECT_EQ(read(10), (Demand{.needed = 2, .idle = 2})) << "nine would keep one busy to more than four fifths";
}

TEST_F(Gauge, TellsNoMoreThanThePoolHasWhateverStandsThere) {
  for (auto& slot : load_->slots) {
    for (auto& cell : slot.cells) cell.holder = ~std::uint64_t{0};
    slot.requests = ~std::uint64_t{0};
  }
  load_->pools[2].tail = 0x7fffffff;
  const Demand demand = read(64);
  EXPECT_LE(demand.needed, 3u);
  EXPECT_LE(demand.waiting, max_waiting);
}

}  // namespace
}  // namespace cppfcgi
