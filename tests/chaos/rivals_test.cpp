// The fault table for others: each fault's row as in fault_table_test.cpp, with nothing asserted but that the rival
// served before. Runs where CHAOS_PEERS is set (make chaos-peers), and prints.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "tests/chaos/rivals.h"
#include "tests/chaos/scale.h"
#include "tests/chaos/slow_readers.h"
#include "tests/chaos/table.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> rivals() {
  return std::getenv("CHAOS_PEERS") == nullptr ? std::vector<std::string>{} : rival_names();
}

class Rivals : public testing::TestWithParam<std::string> {
 protected:
  using Ask = std::function<Question(std::size_t)>;

  static Question mixed(std::size_t i) { return mixed_question(seed(), i); }

  // All four workers there, or as many as the rival starts when it is asked.
  void warm_up() {
    Traffic traffic({.port = rival_->port(), .ask = mixed});
    EXPECT_TRUE(wait_until([&] { return traffic.answered() > 100; })) << rival_->name() << " does not serve";
    traffic.stop();
  }

  void measure(const std::string& fault, const Ask& ask, const std::function<std::string()>& strike,
               double per_second = 400) {
    warm_up();
    Traffic traffic({.port = rival_->port(), .per_second = per_second, .ask = ask});
    const std::string more = strike();
    last_for(300ms);
    const Outcomes outcomes = traffic.stop();
    add_row("Others under the same faults", {"fault", "who", "what came of it", "moreover"},
            {fault, rival_->name(), outcomes.text(), more});
  }

  void signal_a_worker(int signal) {
    const auto workers = rival_->workers();
    if (!workers.empty()) ::kill(workers[random_() % workers.size()], signal);
  }

  Random random_{seed()};
  std::unique_ptr<Rival> rival_ = start_rival(GetParam());
};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Rivals);
INSTANTIATE_TEST_SUITE_P(Other, Rivals, testing::ValuesIn(rivals()), [](const auto& test) { return test.param; });

TEST_P(Rivals, RandomWorkersKilled) {
  measure("a random worker killed, 5/s", mixed, [&] {
    every(200ms, [&] { signal_a_worker(SIGKILL); });
    return std::string();
  });
}

TEST_P(Rivals, RequestsThatCrash) {
  const std::size_t before = rival_->starts();
  const auto deadly = [](std::size_t i) {
    Question question = mixed_question(seed(), i);
    if (question.nonce % 100 == 0) question.deed = "segv";
    return question;
  };
  measure("1 % of the requests crash their worker", deadly, [&] {
    last_for(row_length());
    return fmt::format("{} starts", rival_->starts() - before);
  });
}

TEST_P(Rivals, CrashesInTheMiddle) {
  const auto half = [](std::size_t i) {
    Question question = mixed_question(seed(), i);
    if (question.nonce % 100 > 1) return question;
    question.bytes = 2'097'152;
    question.deed = "half-segv";
    return question;
  };
  measure("a crash in the middle of an answer", half, [] {
    last_for(row_length());
    return std::string();
  });
}

TEST_P(Rivals, ABrokenProgram) {
  for (const Milliseconds time : is_full() ? std::vector<Milliseconds>{5'000ms, 12'000ms} : std::vector{4'000ms}) {
    measure(fmt::format("the program broken for {} s", time.count() / 1'000), mixed, [&] {
      const std::size_t before = rival_->starts();
      rival_->deploy_broken();
      for (const pid_t worker : rival_->workers()) ::kill(worker, SIGKILL);
      last_for(time);
      const std::size_t starts = rival_->starts() - before;
      rival_->deploy();
      const auto healed = Clock::now();
      const bool is_back = wait_until([&] { return rival_->workers().size() >= 4; }, 15'000ms);
      const auto took = std::chrono::duration_cast<Milliseconds>(Clock::now() - healed).count();
      return fmt::format("{} starts; {}", starts,
                         is_back ? fmt::format("all back {} ms after", took)
                                 : fmt::format("{} workers 15 s after", rival_->workers().size()));
    });
  }
}

TEST_P(Rivals, ChildrenKilled) {
  measure("the web server's child killed, every 3 s", mixed, [&] {
    every(is_full() ? 3'000ms : 1'000ms, [&] {
      const auto children = rival_->children();
      if (!children.empty()) ::kill(children[random_() % children.size()], SIGKILL);
    });
    return std::string();
  });
}

TEST_P(Rivals, TheManagerKilled) {
  measure("the manager killed", mixed, [&] {
    const auto before = rival_->workers();
    if (const pid_t manager = rival_->manager(); manager > 0) ::kill(manager, SIGKILL);
    last_for(row_length());
    const auto now = rival_->workers();
    const auto kept = std::count_if(before.begin(), before.end(),
                                    [&](pid_t pid) { return std::find(now.begin(), now.end(), pid) != now.end(); });
    return fmt::format("{} of {} workers are those from before", kept, now.size());
  });
}

TEST_P(Rivals, AWorkerStopped) {
  measure("a worker stopped for 10 s", mixed, [&] {
    const auto workers = rival_->workers();
    const pid_t worker = workers.empty() ? 0 : workers[random_() % workers.size()];
    if (worker > 0) ::kill(worker, SIGSTOP);
    last_for(is_full() ? 10'000ms : 3'000ms);
    if (worker > 0) ::kill(worker, SIGCONT);
    return std::string();
  });
}

TEST_P(Rivals, Reloads) {
  measure("graceful, every 3 s", mixed, [&] {
    const auto before = rival_->workers();
    every(is_full() ? 3'000ms : 1'000ms, [&] { rival_->reload(); });
    return std::string(rival_->workers() == before ? "the same workers" : "other workers");
  });
}

TEST_P(Rivals, TheProgramReplaced) {
  measure("the program replaced", mixed, [&] {
    last_for(500ms);
    rival_->deploy();
    rival_->use_new_program();
    last_for(row_length());
    return std::string();
  });
}

TEST_P(Rivals, SlowClients) {
  constexpr std::size_t readers = 50;
  const auto fast = [](std::size_t i) {
    Question question = mixed_question(seed(), i);
    question.bytes = std::min<std::size_t>(question.bytes, 2'000);
    question.work_ms = 0;
    return question;
  };
  measure(
      "50 readers of 8 MB at 10 KB/s", fast,
      [&] {
        SlowReaders slow(rival_->port(), readers, seed() + 1);
        wait_until([&] { return slow.have_all_begun(); }, 5'000ms);
        last_for(row_length());
        slow.finish();
        return fmt::format("{} of {} readers", slow.right(), readers);
      },
      200);
}

TEST_P(Rivals, TheParentKilled) {
  measure("kill -9 of the web server's parent, 3 s later", mixed, [&] {
    ::kill(rival_->parent(), SIGKILL);
    last_for(3'000ms);
    return fmt::format("{} workers are left", rival_->workers().size());
  });
}

}  // namespace
}  // namespace cppfcgi::test
