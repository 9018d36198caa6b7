// The rules of mod_cppfcgi/core/retry.h.
#include "mod_cppfcgi/core/retry.h"

#include <gtest/gtest.h>

namespace cppfcgi {
namespace {

TEST(Retry, RepeatsWhatCannotHaveBegun) {
  EXPECT_EQ(judge({.loss = Loss::refused}), Verdict::another_worker);
  EXPECT_EQ(judge({.loss = Loss::turned_down}), Verdict::another_worker);
  EXPECT_EQ(judge({.loss = Loss::unsent}), Verdict::another_worker);
  EXPECT_EQ(judge({.loss = Loss::reset, .was_unread = true}), Verdict::another_worker);
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

TEST(Retry, KnowsWhatMayHaveBegun) {
  struct Case {
    Loss loss;
    bool was_unread, may_have_begun;
  };
  for (const Case& c :
       {Case{Loss::refused, false, false}, Case{Loss::turned_down, false, false}, Case{Loss::unsent, false, false},
        Case{Loss::reset, true, false}, Case{Loss::reset, false, true}, Case{Loss::closed, false, true},
        Case{Loss::closed, true, false}, Case{Loss::broken, false, true}}) {
    EXPECT_EQ(may_have_begun({.loss = c.loss, .was_unread = c.was_unread}), c.may_have_begun)
        << static_cast<int>(c.loss) << c.was_unread;
  }
}

TEST(Retry, CountsOnlyWhatMayHaveBegun) {
  for (const std::uint32_t retries : {0U, 1U, 3U}) {
    Tries tries(retries);
    EXPECT_TRUE(tries.take(Verdict::another_worker));
    for (std::uint32_t i = 0; i < retries; ++i) EXPECT_TRUE(tries.take(Verdict::second_try));
    EXPECT_FALSE(tries.take(Verdict::second_try));
    EXPECT_TRUE(tries.take(Verdict::fresh_connection));
    EXPECT_FALSE(tries.take(Verdict::give_up));
  }
}

TEST(Retry, EndsSomeTimeWhateverIsSafe) {
  Tries tries(0);
  int safe = 0;
  while (tries.take(safe % 2 == 0 ? Verdict::fresh_connection : Verdict::another_worker)) ++safe;
  EXPECT_EQ(safe, 10);
}

TEST(Retry, BlamesTheApplicationForABrokenAnswer) {
  EXPECT_EQ(judge({.loss = Loss::broken, .is_idempotent = true}), Verdict::give_up);
}

}  // namespace
}  // namespace cppfcgi
