#include "mod_cppfcgi/manager/board.h"

#include <gtest/gtest.h>

#include <memory>

namespace cppfcgi {
namespace {

class BoardTest : public testing::Test {
 protected:
  std::unique_ptr<Directory> directory_ = std::make_unique<Directory>();
  Board board_{*directory_};
};

TEST_F(BoardTest, GivesEachPoolSlotsOfItsOwn) {
  const auto first = board_.take(11, 3);
  const auto second = board_.take(22, 2);
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->pool, second->pool);
  EXPECT_EQ(second->first_slot, first->first_slot + 3);
}

TEST_F(BoardTest, UsesAgainWhatWasGivenBack) {
  const auto first = board_.take(11, 3);
  board_.take(22, 2);
  board_.give_back(*first);
  EXPECT_EQ(board_.take(33, 3)->first_slot, first->first_slot);
  EXPECT_EQ(board_.take(44, 1)->first_slot, 5u);
}

TEST_F(BoardTest, HasNoRoomWhereAllSlotsOrRowsAreTaken) {
  ASSERT_TRUE(board_.take(1, max_slots - 1));
  EXPECT_FALSE(board_.take(2, 2));
  EXPECT_TRUE(board_.take(3, 1));
}

TEST_F(BoardTest, CountsGenerationsOnWhenARowGoesToAnotherPool) {
  const auto rows = board_.take(11, 1);
  board_.publish(rows->first_slot, {.generation = 9, .phase = Phase::ready, .capacity = 1});
  board_.give_back(*rows);
  EXPECT_EQ(board_.entry(rows->first_slot).state, (SlotState{.generation = 9}));
}

TEST_F(BoardTest, FindsWhatAnEarlierManagerLeft) {
  const auto rows = board_.take(11, 2);
  board_.publish_worker(rows->first_slot + 1, {812, 4'711, 77, 0});
  const auto found = Board(*directory_).found();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].key, 11u);
  EXPECT_EQ(board_.entry(found[0].rows.first_slot + 1).worker.pid, 812);
  EXPECT_EQ(board_.entry(found[0].rows.first_slot + 1).worker.start_time, 4'711u);
}

}  // namespace
}  // namespace cppfcgi
