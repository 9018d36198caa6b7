// Faults of all kinds in random order, seeded: SEED=… repeats a run. Meanwhile anything may fail but what must never
// be: no answer is wrong, or cut and shown as whole; no POST is counted twice, or refused and yet counted, or lost
// without a line that says of what; never are there more workers than one above the pool's number. And when the faults
// are over all is well again.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <csignal>
#include <iostream>
#include <optional>

#include "tests/chaos/scale.h"
#include "tests/chaos/site.h"
#include "tests/chaos/table.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;

// Whom a fault has hit; 0: no one process. nullopt: it could not be done.
using Hit = std::optional<pid_t>;

Hit any_of(const std::vector<pid_t>& processes, Random& random) {
  if (processes.empty()) return std::nullopt;
  return processes[random() % processes.size()];
}

Hit signal_a_worker(Site& site, Random& random, int signal) {
  const Hit worker = any_of(site.workers(), random);
  if (worker) ::kill(*worker, signal);
  return worker;
}

// Done by a process of the same user: a container's root may not do so to others.
bool limit_descriptors(pid_t process, rlim_t count) {
  Process prlimit({.command = {"prlimit", "--pid", std::to_string(process), fmt::format("--nofile={}:", count)},
                   .user = "www-data"});
  return prlimit.wait() == 0;
}

// For a moment this process may not open anything.
Hit exhaust_descriptors(Hit process) {
  if (!process) return std::nullopt;
  const std::size_t now = open_descriptors(*process);
  if (!limit_descriptors(*process, now)) return std::nullopt;
  last_for(300ms);
  limit_descriptors(*process, 1'024);
  return process;
}

struct Fault {
  const char* name;
  unsigned weight;
  Hit (*strike)(Site& site, Random& random);
};

constexpr Fault faults[] = {
    {"kill -9 of a worker", 8, [](Site& s, Random& r) { return signal_a_worker(s, r, SIGKILL); }},
    {"SIGABRT of a worker", 3, [](Site& s, Random& r) { return signal_a_worker(s, r, SIGABRT); }},
    {"SIGSTOP of a worker", 2, [](Site& s, Random& r) { return signal_a_worker(s, r, SIGSTOP); }},
    {"kill -9 of the manager", 2, [](Site& s, Random&) { return s.kill_manager(); }},
    {"kill -9 of an httpd child", 2, [](Site& s, Random& r) { return s.kill_httpd_child(r); }},
    {"graceful", 2, [](Site& s, Random&) { return s.httpd().graceful(), Hit(0); }},
    {"graceful, changed", 2, [](Site& s, Random&) { return s.change_configuration(), Hit(0); }},
    {"a good deploy", 3, [](Site& s, Random&) { return s.deploy(), Hit(0); }},
    {"a broken deploy", 2, [](Site& s, Random&) { return s.deploy_broken(), Hit(0); }},
    {"random bytes in the load area", 1,
     [](Site& s, Random& r) {
       for (int i = 0; i < 20; ++i) s.scribble_on_load(r);
       return s.wipe_load(), Hit(0);
     }},
    {"a full disk", 1,
     [](Site& s, Random&) {
       if (!s.has_small_disk()) return Hit();
       s.fill_disk();
       last_for(500ms);
       return s.free_disk(), Hit(0);
     }},
    {"no descriptors in a worker", 1, [](Site& s, Random& r) { return exhaust_descriptors(any_of(s.workers(), r)); }},
    {"no descriptors in an httpd child", 1,
     [](Site& s, Random& r) {
       s.httpd().allow_log("Too many open files");
       return exhaust_descriptors(any_of(s.httpd().httpd_children(), r));
     }},
};

std::size_t choose_fault(Random& random) {
  unsigned all = 0;
  for (const Fault& fault : faults) all += fault.weight;
  unsigned dice = random() % all;
  for (std::size_t i = 0;; ++i) {
    if (dice < faults[i].weight) return i;
    dice -= faults[i].weight;
  }
}

// What came of each kind of fault: the requests that were due from then until the next.
class Episodes {
 public:
  void add(std::size_t fault, std::chrono::microseconds at, Hit hit) {
    if (!hit) {
      ++impossible_[fault];
      return;
    }
    all_.emplace_back(at, fault);
    journal_ += fmt::format("{:.3f} s: {}, pid {}\n", static_cast<double>(at.count()) / 1e6, faults[fault].name, *hit);
  }
  // For a person who has to find out what happened.
  const std::string& journal() const { return journal_; }

  void report(const Setting& setting, const Outcomes& outcomes) const {
    struct Sum {
      std::size_t count = 0, requests = 0, failed = 0, closed = 0, wrong = 0;
    };
    std::vector<Sum> sums(std::size(faults));
    for (const auto& [at, fault] : all_) ++sums[fault].count;
    for (const Outcome& outcome : outcomes.all()) {
      const auto next = std::upper_bound(all_.begin(), all_.end(), outcome.due,
                                         [](auto due, const auto& episode) { return due < episode.first; });
      if (next == all_.begin()) continue;
      Sum& sum = sums[std::prev(next)->second];
      ++sum.requests;
      sum.closed += outcome.verdict == Verdict::closed;
      sum.wrong += outcome.verdict == Verdict::wrong || outcome.verdict == Verdict::cut_as_whole;
      sum.failed += outcome.verdict != Verdict::right && outcome.verdict != Verdict::closed;
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const Sum& sum = sums[i];
      add_row(fmt::format("Random faults under {}, seed {}", setting.name(), seed()),
              {"fault", "count", "not possible", "requests during it", "failed", "closed by httpd", "wrong"},
              {faults[i].name, std::to_string(sum.count), std::to_string(impossible_[i]), std::to_string(sum.requests),
               std::to_string(sum.failed), std::to_string(sum.closed), std::to_string(sum.wrong)});
    }
  }

 private:
  std::vector<std::pair<std::chrono::microseconds, std::size_t>> all_;
  std::array<std::size_t, std::size(faults)> impossible_{};
  std::string journal_;
};

std::string list(const Outcomes& outcomes, Verdict verdict) {
  return testing::PrintToString(outcomes.where(is_one_of({verdict})));
}

class RandomFaults : public testing::TestWithParam<Setting> {};

INSTANTIATE_TEST_SUITE_P(Under, RandomFaults, testing::ValuesIn(settings_of_random_faults()),
                         [](const auto& test) { return test.param.name(); });

TEST_P(RandomFaults, FalsifyNothingRepeatNothingAndPass) {
  std::cout << "SEED=" << seed() << "\n";
  Random random(seed());
  Site site(GetParam(), "-request-timeout 2 -probe-interval 500ms -appConnTimeout 3 -deploy roll", true);
  Census census(site.program());
  Episodes episodes;
  Traffic traffic(site.plan(seed()));
  for (const Deadline end(random_length()); !end.has_passed();) {
    last_for(Milliseconds(50 + random() % 400));
    const std::size_t fault = choose_fault(random);
    const auto at = traffic.now();
    episodes.add(fault, at, faults[fault].strike(site, random));
  }
  site.deploy();
  const bool has_healed = site.becomes_complete(15'000ms);  // httpd's parent may be in its pause of 10 s
  const auto calm = traffic.now();
  last_for(1'000ms);
  const Outcomes outcomes = traffic.stop();
  std::cout << GetParam().name() << ": " << outcomes.text() << "\n";
  episodes.report(GetParam(), outcomes);

  EXPECT_THAT(outcomes.where(is_one_of({Verdict::wrong, Verdict::cut_as_whole})), IsEmpty());
  EXPECT_EQ(outcomes.count(Verdict::unsent), 0U);
  // 500 is for a child that can open nothing. And a stream for whose body mod_http2 gets no pipe is never answered.
  EXPECT_LE(outcomes.count(Verdict::other_status), site.httpd().count_log("Too many open files"))
      << list(outcomes, Verdict::other_status);
  EXPECT_LE(outcomes.count(Verdict::silent), site.httpd().count_log("AH10309: .* error create input write pipe"))
      << list(outcomes, Verdict::silent);
  const PostBreaches breaches = site.breaches(outcomes);
  EXPECT_EQ(breaches.count(), 0U) << breaches.text();
  EXPECT_LE(census.most(), Site::processes + 1);
  EXPECT_GT(outcomes.count(Verdict::right), outcomes.size() / 2);
  EXPECT_TRUE(has_healed) << "the workers are not all back";
  // An old child of httpd's may close its last kept connections still.
  const auto is_late_failure = [&](const Outcome& outcome) {
    const bool is_excused = outcome.verdict == Verdict::closed && outcome.was_kept;
    return outcome.due >= calm && outcome.verdict != Verdict::right && !is_excused;
  };
  EXPECT_THAT(outcomes.where(is_late_failure), IsEmpty()) << "after all faults were over";
  if (HasFailure()) std::cout << episodes.journal();
}

}  // namespace
}  // namespace cppfcgi::test
