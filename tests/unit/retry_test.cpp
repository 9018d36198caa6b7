// The rules of mod_cppfcgi/core/retry.h.
#include "mod_cppfcgi/core/retry.h"

#include <gtest/gtest.h>

namespace cppfcgi {
namespace {

TEST(Retry, RepeatsWhatCannotHaveBegun) {
  EXPECT_EQ(judge({.loss = Loss::refused}), Verdict::another_worker);
  EXPECT_EQ(judge({.loss = Loss::turned_down}), Verdict::another_worker);
  EXPECT_EQ(judge({.loss = Loss::unsent}), Verdict::second_try);
  EXPECT_EQ(judge({.loss = Loss::reset, .was_unread = true}), Verdict::second_try);
}

TEST(Retry, OpensAnotherConnectionWhereAKeptOneWasStale) {
  EXPECT_EQ(judge({.loss = Loss::unsent, .was_kept = true}), Verdict::fresh_connection);
  EXPECT_EQ(judge({.loss = Loss::reset, .was_kept = true, .was_unread = true}), Verdict::fresh_connection);
}

TEST(Retry, GivesIdempotentRequestsASecondTry) {
  EXPECT_EQ(judge({.loss = Loss::closed, .is_idempotent = true}), Verdict::second_try);
  EXPECT_EQ(judge({.loss = Loss::reset, .is_idempotent = true}), Verdict::second_try);
  EXPECT_EQ(judge({.loss = Loss::closed, .was_kept = true, .is_idempotent = true}), Verdict::second_try);
}

TEST(Retry, NeverRepeatsWhatMayHaveBegun) {
  EXPECT_EQ(judge({.loss = Loss::closed}), Verdict::give_up);
  EXPECT_EQ(judge({.loss = Loss::reset}), Verdict::give_up);
  EXPECT_EQ(judge({.loss = Loss::closed, .was_kept = true}), Verdict::give_up);
}

TEST(Retry, NeverRepeatsWhatTheClientHasSeen) {
  EXPECT_EQ(judge({.loss = Loss::closed, .is_idempotent = true, .has_delivered = true}), Verdict::give_up);
}

TEST(Retry, BlamesTheApplicationForABrokenAnswer) {
  EXPECT_EQ(judge({.loss = Loss::broken, .is_idempotent = true}), Verdict::give_up);
}

}  // namespace
}  // namespace cppfcgi
