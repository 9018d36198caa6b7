// The words of shared/scoreboard.h that hold several things.
#include "shared/scoreboard.h"

#include <gtest/gtest.h>

namespace cppfcgi {
namespace {

TEST(SlotState, KeepsEachOfItsPartsInItsWord) {
  const SlotState none;
  const SlotState all{.generation = 0xffffffff,
                      .phase = Phase::stopping,
                      .capacity = 255,
                      .is_multiplexed = true,
                      .begins_whole = true,
                      .connections = 255};
  for (const SlotState& state :
       {none, all, SlotState{.generation = 7}, SlotState{.phase = Phase::ready}, SlotState{.capacity = 64},
        SlotState{.is_multiplexed = true}, SlotState{.begins_whole = true}, SlotState{.connections = 200}}) {
    EXPECT_EQ(SlotState::unpack(state.pack()), state) << std::hex << state.pack();
  }
}

}  // namespace
}  // namespace cppfcgi
