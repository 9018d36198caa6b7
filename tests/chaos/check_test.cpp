// The checkers checked: an answer that is not as it must be is seen as what it is, and so is a POST's wrong fate.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "tests/chaos/pattern.h"
#include "tests/chaos/posts.h"
#include "tests/chaos/scale.h"
#include "tests/chaos/site.h"
#include "tests/chaos/traffic.h"

namespace cppfcgi::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Question question{.nonce = 0xabc, .bytes = 1'000};
const std::string right = pattern_of(0xabc, 1'000);

Answer answer(const std::string& body, Ending ending = Ending::whole, std::uint64_t nonce = 0xabc) {
  return {.ending = ending, .status = 200, .nonce = nonce_text(nonce), .body = body};
}

TEST(Judge, TakesTheWholePatternForRight) { EXPECT_EQ(judge(question, answer(right)), Verdict::right); }

TEST(Judge, SeesEachSingleWrongByte) {
  for (std::size_t at = 0; at < right.size(); ++at) {
    std::string wrong = right;
    wrong[at] = static_cast<char>(wrong[at] ^ 1);
    EXPECT_EQ(judge(question, answer(wrong)), Verdict::wrong) << at;
    EXPECT_EQ(judge(question, answer(wrong, Ending::cut)), Verdict::wrong) << at;
  }
}

TEST(Judge, SeesEachCut) {
  for (std::size_t bytes = 0; bytes < right.size(); ++bytes) {
    EXPECT_EQ(judge(question, answer(right.substr(0, bytes), Ending::cut)), Verdict::cut) << bytes;
    EXPECT_EQ(judge(question, answer(right.substr(0, bytes))), Verdict::cut_as_whole) << bytes;
  }
}

TEST(Judge, SeesAnotherRequestsAnswer) {
  EXPECT_EQ(judge(question, answer(pattern_of(0xabd, 1'000), Ending::whole, 0xabd)), Verdict::wrong);
  EXPECT_EQ(judge(question, answer(right, Ending::whole, 0xabd)), Verdict::wrong);
  EXPECT_EQ(judge(question, answer(right.substr(0, 32) + right.substr(64) + right.substr(32, 32))), Verdict::wrong);
}

TEST(Judge, SeesAnErrorPageBehindHalfAnAnswer) {
  EXPECT_EQ(judge(question, answer(right.substr(0, 500) + "<!DOCTYPE HTML>")), Verdict::wrong);
  EXPECT_EQ(judge(question, answer(right + "x")), Verdict::wrong);
}

TEST(Judge, GoesByTheStatus) {
  EXPECT_EQ(judge(question, {.ending = Ending::whole, .status = 502}), Verdict::bad_gateway);
  EXPECT_EQ(judge(question, {.ending = Ending::whole, .status = 503}), Verdict::unavailable);
  EXPECT_EQ(judge(question, {.ending = Ending::whole, .status = 504}), Verdict::timed_out);
  EXPECT_EQ(judge(question, {.ending = Ending::whole, .status = 500}), Verdict::other_status);
  EXPECT_EQ(judge(question, {.ending = Ending::none}), Verdict::closed);
  EXPECT_EQ(judge(question, {.ending = Ending::cut}), Verdict::cut);
  EXPECT_EQ(judge(question, {.ending = Ending::timed_out, .status = 200}), Verdict::silent);
}

TEST(MixedLoad, HasNoNonceTwiceAndSomeOfEachKind) {
  std::set<std::uint64_t> nonces;
  std::size_t posts = 0, large = 0, sized = 0;
  constexpr std::size_t count = 10'000;
  for (std::size_t i = 0; i < count; ++i) {
    const Question mixed = mixed_question(7, i);
    nonces.insert(mixed.nonce);
    posts += mixed.is_post;
    large += mixed.bytes > 1'000'000;
    sized += mixed.is_sized;
  }
  EXPECT_EQ(nonces.size(), count);
  EXPECT_NEAR(static_cast<double>(posts), 1'000, 150);
  EXPECT_NEAR(static_cast<double>(large), 200, 60);
  EXPECT_NEAR(static_cast<double>(sized), 5'000, 300);
}

PostBreaches breaches_of(Verdict verdict, const std::string& counted, const std::string& log = "") {
  return check_posts(Outcomes({{.question = {.nonce = 1, .is_post = true}, .verdict = verdict}}), counted, log);
}
const std::string one = "0000000000000001";

TEST(Posts, AreCountedOnce) {
  EXPECT_EQ(breaches_of(Verdict::right, one + "\n").count(), 0U);
  EXPECT_THAT(breaches_of(Verdict::right, "").right_yet_uncounted, ElementsAre(one));
  EXPECT_THAT(breaches_of(Verdict::closed, one + "\n" + one + "\n").counted_twice, ElementsAre(one));
}

TEST(Posts, WereNotBegunWhereTheirSenderWasRefused) {
  EXPECT_EQ(breaches_of(Verdict::unavailable, "").count(), 0U);
  EXPECT_THAT(breaches_of(Verdict::unavailable, one + "\n").refused_yet_counted, ElementsAre(one));
  EXPECT_THAT(breaches_of(Verdict::no_storage, one + "\n").refused_yet_counted, ElementsAre(one));
}

TEST(Posts, ThatWereLostAreExplainedByTheEndOfTheirWorker) {
  const std::string lost =
      "[cppfcgi:error] [client 127.0.0.1:1] worker 0 (pid 812) of pool /app: it closed the connection; the client gets "
      "502, nonce " +
      one + "\n";
  const std::string crashed = "[cppfcgi:error] worker 0 (pid 812) of pool /app crashed: killed by signal 9 SIGKILL\n";
  const std::string other = "[cppfcgi:error] worker 0 (pid 813) of pool /app crashed: killed by signal 9 SIGKILL\n";
  EXPECT_THAT(breaches_of(Verdict::bad_gateway, "", crashed + lost).unexplained, IsEmpty());
  for (const std::string& log : {std::string(), lost, crashed, other + lost}) {
    EXPECT_THAT(breaches_of(Verdict::bad_gateway, "", log).unexplained, ElementsAre(HasSubstr(one))) << log;
  }
}

// The same by way of both clients, a real httpd and a worker that lies.
class EitherClient : public testing::TestWithParam<Setting> {};
INSTANTIATE_TEST_SUITE_P(Under, EitherClient, testing::ValuesIn(settings_of_random_faults()),
                         [](const auto& test) { return test.param.name(); });

TEST_P(EitherClient, SeesWhatIsWrong) {
  Site site(GetParam());
  const auto deed_of = [](std::size_t i) {
    return std::array{"", "lie-byte", "lie-end", "lie-count", "half-kill"}[i % 5];
  };
  Traffic traffic(site.plan([&](std::size_t i) {
    return Question{
        .nonce = i + 1, .is_post = i % 5 == 3, .bytes = 600'000, .is_sized = i % 2 == 0, .deed = deed_of(i)};
  }));
  EXPECT_TRUE(wait_until([&] { return traffic.answered() >= 20; }));
  const Outcomes outcomes = traffic.stop();
  for (const Outcome& outcome : outcomes.all()) {
    const std::string& deed = outcome.question.deed;
    const Verdict expected = deed == "lie-byte"    ? Verdict::wrong
                             : deed == "lie-end"   ? Verdict::cut_as_whole
                             : deed == "half-kill" ? Verdict::cut
                                                   : Verdict::right;
    EXPECT_EQ(outcome.verdict, expected) << testing::PrintToString(outcome);
  }
  const PostBreaches breaches = site.breaches(outcomes);
  EXPECT_EQ(breaches.counted_twice.size(), outcomes.count([](const Outcome& o) { return o.question.is_post; }));
  EXPECT_EQ(breaches.count(), breaches.counted_twice.size()) << breaches.text();
}

TEST(Client, SeesWhatNeverComes) {
  Site site({}, "-idle-timeout 1");
  TrafficPlan plan = site.plan([](std::size_t i) { return Question{.nonce = i + 1, .deed = "hang"}; });
  plan.per_second = 20;
  plan.patience = Milliseconds(200);
  Traffic traffic(plan);
  last_for(Milliseconds(500));
  const Outcomes outcomes = traffic.stop();
  EXPECT_EQ(outcomes.count(Verdict::silent), outcomes.size()) << outcomes.text();
  EXPECT_GT(outcomes.size(), 0U);
}

}  // namespace
}  // namespace cppfcgi::test
