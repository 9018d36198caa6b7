// What each fault costs, one at a time, under the suite's steady load: the fault table. A test's bars are those of the
// table's column "ours"; what was measured is printed beside them at the end.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <initializer_list>

#include "tests/chaos/scale.h"
#include "tests/chaos/site.h"
#include "tests/chaos/slow_readers.h"
#include "tests/chaos/table.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::IsEmpty;
using Ask = std::function<Question(std::size_t)>;

double milliseconds_of(std::chrono::microseconds time) { return static_cast<double>(time.count()) / 1'000; }

class FaultTable : public testing::TestWithParam<Setting> {
 protected:
  // Asks while this goes on, and a moment longer.
  Outcomes during(Site& site, const Ask& ask, const std::function<void()>& fault,
                  Milliseconds patience = TrafficPlan().patience) {
    TrafficPlan plan = site.plan(ask);
    plan.patience = patience;
    Traffic traffic(plan);
    fault();
    last_for(300ms);
    return finish(site, traffic.stop());
  }
  Outcomes during(Site& site, const std::function<void()>& fault) { return during(site, mixed(), fault); }

  static Ask mixed() {
    return [](std::size_t i) { return mixed_question(seed(), i); };
  }
  // Three of the four workers work at any time.
  static Ask busy() {
    return [](std::size_t i) {
      Question question = mixed_question(seed(), i);
      question.work_ms += 4;
      return question;
    };
  }
  static Ask gets_only() {
    return [](std::size_t i) {
      Question question = mixed_question(seed(), i);
      question.is_post = false;
      return question;
    };
  }

  // What no fault excuses.
  Outcomes finish(Site& site, Outcomes outcomes) {
    EXPECT_THAT(outcomes.where(is_one_of({Verdict::wrong, Verdict::cut_as_whole, Verdict::other_status})), IsEmpty());
    EXPECT_GT(outcomes.count(Verdict::right), 100U) << outcomes.text();
    const PostBreaches breaches = site.breaches(outcomes);
    EXPECT_EQ(breaches.count(), 0U) << breaches.text();
    return outcomes;
  }

  // All are right but those with a verdict that this fault excuses.
  static void expect_only(const Outcomes& outcomes, std::initializer_list<Verdict> excused) {
    const auto is_excused = is_one_of(excused);
    EXPECT_THAT(outcomes.where([&](const Outcome& o) { return o.verdict != Verdict::right && !is_excused(o); }),
                IsEmpty())
        << outcomes.text();
  }

  void report(const std::string& fault, const Outcomes& outcomes, const std::string& more = "") {
    add_row("The fault table", {"fault", "under", "seed", "what came of it", "moreover"},
            {fault, GetParam().name(), std::to_string(seed()), outcomes.text(), more});
  }

  Random random_{seed()};
};

INSTANTIATE_TEST_SUITE_P(Under, FaultTable, testing::ValuesIn(settings_of_rows()),
                         [](const auto& test) { return test.param.name(); });

// With more than one retry, since now and then the second worker is killed, too.
TEST_P(FaultTable, OfRandomWorkersKilledFiveTimesASecondOnlyWhatMayHaveBegunIsLost) {
  Site site(GetParam(), "-retries 3");
  int kills = 0;
  const Outcomes outcomes = during(site, busy(), [&] {
    every(200ms, [&] {
      const auto workers = site.workers();
      if (!workers.empty() && ::kill(workers[random_() % workers.size()], SIGKILL) == 0) ++kills;
    });
  });
  report("a random worker killed, 5/s", outcomes, fmt::format("{} kills", kills));
  // Answers under way are cut; a POST that may have begun is lost.
  expect_only(outcomes, {Verdict::cut, Verdict::bad_gateway});
  EXPECT_THAT(outcomes.where([](const Outcome& o) { return o.verdict == Verdict::bad_gateway && !o.question.is_post; }),
              IsEmpty());
  EXPECT_LE(outcomes.failed(), static_cast<std::size_t>(kills));
  EXPECT_TRUE(site.becomes_complete(1'000ms));
}

TEST_P(FaultTable, IdleWorkersKilledTwentyTimesASecondCostNoIdempotentRequest) {
  Site site(GetParam());
  int kills = 0;
  const Outcomes outcomes = during(site, gets_only(), [&] {
    every(50ms, [&] {
      const auto idle = site.idle_workers();
      if (!idle.empty() && ::kill(idle[random_() % idle.size()], SIGKILL) == 0) ++kills;
    });
  });
  report("an idle worker killed, 20/s (GET only)", outcomes, fmt::format("{} kills", kills));
  expect_only(outcomes, {});
  EXPECT_TRUE(site.becomes_complete(1'000ms));
}

TEST_P(FaultTable, RequestsThatCrashTheirWorkerCostOthersNothing) {
  Site site(GetParam());
  const std::size_t starts = site.starts();
  const auto is_deadly = [](const Question& question) { return !question.deed.empty(); };
  const Outcomes outcomes = during(
      site,
      [](std::size_t i) {
        static constexpr const char* deaths[] = {"segv", "abort", "exit", "kill", "terminate"};
        Question question = mixed_question(seed(), i);
        if (question.nonce % 100 == 0) question.deed = deaths[question.nonce / 100 % std::size(deaths)];
        return question;
      },
      [] { last_for(row_length()); });
  const std::size_t deadly = outcomes.count([&](const Outcome& o) { return is_deadly(o.question); });
  EXPECT_TRUE(site.becomes_complete(1'000ms));
  const std::size_t deaths = site.starts() - starts;
  report("1 % of the requests crash their worker", outcomes,
         fmt::format("{} such requests, {} deaths", deadly, deaths));
  EXPECT_THAT(outcomes.where([&](const Outcome& o) { return !is_deadly(o.question) && o.verdict != Verdict::right; }),
              IsEmpty());
  EXPECT_THAT(
      outcomes.where([&](const Outcome& o) { return is_deadly(o.question) && o.verdict != Verdict::bad_gateway; }),
      IsEmpty());
  EXPECT_GT(deadly, 0U);
  EXPECT_LE(deaths, 2 * deadly);
}

TEST_P(FaultTable, CrashesInTheMiddleOfAnAnswerCutItAtOnce) {
  Site site(GetParam());
  const auto is_half = [](const Outcome& outcome) { return !outcome.question.deed.empty(); };
  const Outcomes outcomes = during(
      site,
      [](std::size_t i) {
        Question question = mixed_question(seed(), i);
        if (question.nonce % 100 > 1) return question;
        question.bytes = 2'097'152;
        question.deed = question.nonce % 2 == 0 ? "half-segv" : "half-exit";
        return question;
      },
      [] { last_for(row_length()); });
  double longest = 0;
  std::size_t halves = 0;
  for (const Outcome& outcome : outcomes.all()) {
    if (!is_half(outcome)) continue;
    ++halves;
    longest = std::max(longest, milliseconds_of(outcome.answered_in()));
    EXPECT_EQ(outcome.verdict, Verdict::cut) << name_of(outcome.verdict);
  }
  report("a crash in the middle of an answer", outcomes,
         fmt::format("{} halves, cut after at most {:.0f} ms", halves, longest));
  EXPECT_GT(halves, 0U);
  EXPECT_LE(longest, 250);  // half an answer's time, and 100 ms
  EXPECT_THAT(outcomes.where([&](const Outcome& o) { return !is_half(o) && o.verdict != Verdict::right; }), IsEmpty());
}

// Broken for so long: all workers die, and none comes up.
class BrokenProgram : public FaultTable {
 protected:
  void breaks_for(Milliseconds time) {
    Site site(GetParam());
    std::size_t starts = 0;
    std::chrono::microseconds broken{0}, healed{0};
    Milliseconds back{0};
    Traffic traffic(site.plan(mixed()));
    last_for(500ms);
    site.deploy_broken();
    starts = site.starts();
    for (const pid_t worker : site.workers()) ::kill(worker, SIGKILL);
    broken = traffic.now();
    last_for(time);
    starts = site.starts() - starts;
    healed = traffic.now();
    site.deploy();
    EXPECT_TRUE(site.becomes_complete(1'000ms)) << "not all workers are back";
    back = std::chrono::duration_cast<Milliseconds>(traffic.now() - healed);
    last_for(500ms);
    const Outcomes outcomes = finish(site, traffic.stop());
    report(fmt::format("the program broken for {} s", time.count() / 1'000), outcomes,
           fmt::format("{} starts, all back {} ms after", starts, back.count()));
    EXPECT_LE(starts, 10U);
    // Nobody is made to wait for what cannot come: refused at once, when the breaker is open.
    const auto is_late = [&](const Outcome& o) { return o.verdict == Verdict::unavailable && o.answered_in() > 250ms; };
    const auto is_settled = [&](const Outcome& o) { return o.due > broken + 2'000ms; };
    EXPECT_THAT(outcomes.where([&](const Outcome& o) { return is_settled(o) && is_late(o); }), IsEmpty());
    EXPECT_GT(outcomes.count([&](const Outcome& o) { return is_settled(o) && o.verdict == Verdict::unavailable; }), 0U);
    EXPECT_THAT(
        outcomes.where([&](const Outcome& o) { return o.due > healed + 1'000ms && o.verdict != Verdict::right; }),
        IsEmpty())
        << outcomes.text();
  }
};

INSTANTIATE_TEST_SUITE_P(Under, BrokenProgram, testing::ValuesIn(settings_of_rows()),
                         [](const auto& test) { return test.param.name(); });

TEST_P(BrokenProgram, IsBackWithinASecondOfItsCure) { breaks_for(is_full() ? 5'000ms : 4'000ms); }

TEST_P(BrokenProgram, IsBackWithinASecondHoweverLongItWasBroken) {
  if (!is_full()) GTEST_SKIP() << "in the full form only";
  breaks_for(12'000ms);
}

TEST_P(FaultTable, TheKillOfAnHttpdChildCostsWhatWasInIt) {
  Site site(GetParam());
  int kills = 0;
  const Milliseconds period = is_full() ? 3'000ms : 1'000ms;
  const Outcomes outcomes = during(site, [&] {
    every(period, [&] {
      site.kill_httpd_child(random_);
      ++kills;
    });
    // The last one's claims are given back, too.
    last_for(1'000ms);
  });
  report("httpd's child killed, every 3 s", outcomes, fmt::format("{} kills", kills));
  expect_only(outcomes, {Verdict::closed, Verdict::cut});
  EXPECT_TRUE(wait_until([&] { return site.idle_workers().size() == Site::processes; }, 1'000ms));
}

TEST_P(FaultTable, DeathsOfTheManagerCostNothing) {
  Site site(GetParam());
  const auto before = site.workers();
  const Outcomes outcomes = during(site, [&] {
    for (int i = 0; i < repetitions(); ++i) {
      const pid_t manager = site.manager();
      site.kill_manager();
      EXPECT_TRUE(wait_until([&] { return site.has_manager_other_than(manager); }, 2'000ms)) << "no other";
    }
  });
  report("the manager killed", outcomes, fmt::format("{} times", repetitions()));
  expect_only(outcomes, {});
  EXPECT_EQ(site.workers(), before);
}

// The dead worker stays published as ready until there is a manager again.
TEST_P(FaultTable, AWorkerThatDiesWithTheManagerCostsNoMoreThanByItself) {
  Site site(GetParam());
  const Outcomes outcomes = during(site, busy(), [&] {
    for (int i = 0; i < repetitions(); ++i) {
      const pid_t manager = site.manager(), worker = site.workers().front();
      site.kill_manager();
      ::kill(worker, SIGKILL);
      EXPECT_TRUE(wait_until([&] { return site.has_manager_other_than(manager); }, 2'000ms)) << "no other";
      EXPECT_TRUE(site.becomes_complete(1'000ms));
    }
  });
  report("the manager and a worker killed", outcomes, fmt::format("{} times", repetitions()));
  expect_only(outcomes, {Verdict::cut, Verdict::bad_gateway});
  EXPECT_LE(outcomes.failed(), static_cast<std::size_t>(repetitions()));
}

TEST_P(FaultTable, AStoppedWorkerCostsOneRequestAtItsDeadline) {
  Site site(GetParam(), "-request-timeout 1");
  const Outcomes outcomes = during(site, [&] {
    last_for(300ms);
    const auto workers = site.workers();
    ::kill(workers[random_() % workers.size()], SIGSTOP);
    last_for(is_full() ? 10'000ms : 3'000ms);
  });
  double longest = 0;
  for (const Outcome& outcome : outcomes.all()) {
    if (outcome.verdict == Verdict::timed_out) longest = std::max(longest, milliseconds_of(outcome.answered_in()));
  }
  report("a worker stopped for 10 s", outcomes, fmt::format("504 after {:.0f} ms (-request-timeout 1)", longest));
  expect_only(outcomes, {Verdict::timed_out, Verdict::cut});
  EXPECT_LE(outcomes.failed(), 1U);
  EXPECT_LE(longest, 1'050);
  EXPECT_TRUE(site.becomes_complete(1'000ms));
}

TEST_P(FaultTable, GracefulRestartsCostNothingAndKeepTheWorkers) {
  Site site(GetParam());
  const auto before = site.workers();
  const Outcomes outcomes = during(site, [&] {
    for (int i = 0; i < repetitions(); ++i) {
      site.httpd().graceful();
      last_for(is_full() ? 2'000ms : 500ms);
    }
  });
  report("graceful restarts", outcomes, fmt::format("{} times", repetitions()));
  expect_only(outcomes, {Verdict::closed});
  EXPECT_THAT(outcomes.where([](const Outcome& o) { return o.verdict == Verdict::closed && !o.was_kept; }), IsEmpty());
  EXPECT_EQ(site.workers(), before);
}

TEST_P(FaultTable, ChangedConfigurationsRollTheWorkersAndCostNothing) {
  Site site(GetParam());
  Census census(site.program());
  const Outcomes outcomes = during(site, [&] {
    for (int i = 0; i < repetitions(); ++i) {
      const auto before = site.workers();
      site.change_configuration();
      EXPECT_TRUE(wait_until([&] { return site.is_complete() && site.shares_no_worker_with(before); }, 5'000ms));
    }
  });
  report("graceful restarts with another environment", outcomes,
         fmt::format("{} times; {} to {} workers", repetitions(), census.least(), census.most()));
  expect_only(outcomes, {Verdict::closed});
  EXPECT_LE(census.most(), Site::processes + 1);
  EXPECT_GE(census.least(), Site::processes);
}

TEST_P(FaultTable, ReplacedProgramsCostNothingAndDelayNobody) {
  Site site(GetParam(), "-deploy roll");
  Census census(site.program());
  const Outcomes outcomes = during(site, [&] {
    for (int i = 0; i < repetitions(); ++i) {
      const auto before = site.workers();
      site.deploy();
      EXPECT_TRUE(wait_until([&] { return site.is_complete() && site.shares_no_worker_with(before); }, 5'000ms));
    }
  });
  report("the program replaced", outcomes,
         fmt::format("{} times; {} to {} workers", repetitions(), census.least(), census.most()));
  expect_only(outcomes, {});
  EXPECT_LE(outcomes.percentile_ms(1), 250);
  EXPECT_EQ(outcomes.all().back().version, site.version());
  EXPECT_LE(census.most(), Site::processes + 1);
  EXPECT_GE(census.least(), Site::processes);
}

TEST_P(FaultTable, ABrokenDeployIsRefusedAndTheOldProgramGoesOn) {
  Site site(GetParam(), "-deploy roll");
  const std::string version = site.version();
  const Outcomes outcomes = during(site, gets_only(), [&] {
    site.deploy_broken();
    every(500ms, [&] {
      const auto idle = site.idle_workers();
      if (!idle.empty()) ::kill(idle.front(), SIGKILL);
    });
  });
  report("the program replaced by one that does not start", outcomes);
  expect_only(outcomes, {Verdict::cut});
  EXPECT_EQ(outcomes.all().back().version, version);
  EXPECT_TRUE(site.becomes_complete(1'000ms));
}

TEST_P(FaultTable, SlowReadersDoNotStarveFastClients) {
  constexpr std::size_t readers = 50;
  Site site(GetParam());
  SlowReaders slow(site.httpd().port(), readers, seed() + 1);
  TrafficPlan plan = site.plan([](std::size_t i) {
    Question question = mixed_question(seed(), i);
    question.bytes = std::min<std::size_t>(question.bytes, 2'000);
    question.work_ms = 0;
    return question;
  });
  plan.per_second = 200;
  Traffic traffic(plan);
  EXPECT_TRUE(wait_until([&] { return slow.have_all_begun(); }, 10'000ms));
  last_for(row_length());
  const Outcomes outcomes = finish(site, traffic.stop());
  slow.finish();
  report("50 readers of 8 MB at 10 KB/s", outcomes, fmt::format("{} of {} readers", slow.right(), readers));
  expect_only(outcomes, {Verdict::closed});  // httpd's way with kept connections when its threads are busy
  EXPECT_EQ(slow.right(), readers);
  EXPECT_LE(outcomes.percentile_ms(0.99), 25);
}

TEST_P(FaultTable, AfterTheKillOfHttpdsParentNothingOfOursIsLeft) {
  Site site(GetParam());
  const pid_t parent = site.httpd().pid();
  const std::string sockets = fmt::format("{}/run/cppfcgi/{}", site.httpd().root(), parent);
  const auto is_left = [&] {
    return !site.workers().empty() || !site.httpd().managers().empty() || fs::exists(sockets);
  };
  const auto kill_parent = [&] {
    last_for(500ms);
    ::kill(parent, SIGKILL);
    EXPECT_TRUE(wait_until([&] { return !is_left(); }, 3'000ms));
  };
  const Outcomes outcomes = during(site, mixed(), kill_parent, 1'000ms);
  report("kill -9 of httpd's parent", outcomes, is_left() ? "something of ours is left" : "nothing of ours is left");
  // httpd's own children go on without their parent: not ours to mend.
  EXPECT_TRUE(wait_until([] {
    const auto orphans = adopted_orphans();
    for (const pid_t orphan : orphans) ::kill(orphan, SIGKILL);
    return orphans.empty();
  }));
  site.httpd().kill_9();
}

}  // namespace
}  // namespace cppfcgi::test
