// make bench: how fast mod_cppfcgi is beside a handler inside httpd, the least that a bridge can cost, and today's
// gateways. The servers share one core, the load has another; every round asks all contestants in turn, so that what
// else the machine does meets them all, and the medians of the rounds' ratios count. Settings come from the
// environment:
//   ROUNDS=5  SECONDS_PER=2  ONLY="a a' b" (contestants)  WORKLOADS="tiny large applications"  OUTPUT=folder for CSV
//   and picture
// Ends with 1 where something that the project promises does not hold.
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <optional>
#include <sstream>

#include "tests/bench/contestants.h"
#include "tests/bench/load.h"
#include "tests/bench/report.h"

namespace cppfcgi::bench {
namespace {

struct Settings {
  int rounds = 5;
  std::chrono::seconds seconds_per{2};
  std::vector<std::string> letters;
  std::vector<std::string> workloads;
  std::string output;
};

struct Workload {
  std::string name;  // in the CSV
  std::string title;
  Question question;
  std::vector<int> connections;
  bool is_application = false;
};

std::vector<Workload> tiny_workloads() { return {{"tiny", "A tiny answer", {"/b", 0, 13}, {1, 16, 64}}}; }

std::vector<Workload> large_workloads() {
  constexpr long long mib = 1'048'576;
  return {{"answer-1M", "Answers of 1 MiB", {"/b?1048576", 0, mib}, {16}},
          {"answer-100M", "Answers of 100 MiB", {"/b?104857600", 0, 100 * mib}, {2}},
          {"upload-1M", "Uploads of 1 MiB", {"/b", mib, 0}, {16}},
          {"upload-100M", "Uploads of 100 MiB", {"/b", 100 * mib, 0}, {2}}};
}

std::vector<Workload> application_workloads(const test::Applications& applications) {
  return {{"iip", "IIPImage: a tile, two workers", {"/iip?" + applications.tile(3, 20), 0, 0}, {8}, true},
          {"map", "MapServer: a map, two workers", {"/map?" + applications.map(256), 0, 0}, {8}, true}};
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

std::string environment(const char* name, const std::string& standard) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : standard;
}

Settings settings_from_environment() {
  Settings settings;
  settings.rounds = std::stoi(environment("ROUNDS", "5"));
  settings.seconds_per = std::chrono::seconds(std::stoi(environment("SECONDS_PER", "2")));
  settings.letters = words(environment("ONLY", ""));
  if (settings.letters.empty()) settings.letters = all_letters();
  settings.workloads = words(environment("WORKLOADS", "tiny large applications"));
  settings.output = environment("OUTPUT", environment("CPPFCGI_BUILD", "build") + "/bench");
  return settings;
}

// The cores for the servers and for the load: the first two that we may use (or, on a machine of one core, that one).
struct Cores {
  int server = 0;
  int load = 0;
};

Cores choose_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  std::vector<int> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE && cores.size() < 2; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) cores.push_back(cpu);
  }
  return {cores.front(), cores.back()};
}

// Everything that we start from here on, servers and their workers, inherits it.
void stay_on(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(cpu), &one);
  if (::sched_setaffinity(0, sizeof one, &one) != 0) throw std::runtime_error("sched_setaffinity failed");
}

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// A peer's failure is a result, and no reason to end: mod_proxy_fcgi, for one, keeps connections until no worker is
// free.
void expect_answer(const Contestant& contestant, const Question& question) {
  try {
    check_answer(contestant.port, question);
  } catch (const std::exception& problem) {
    if (!contestant.is_peer()) throw;
    std::cerr << "(" << contestant.letter << ") fails: " << problem.what() << std::endl;
  }
}

bool runs(const Contestant& contestant, const Workload& workload) {
  if (workload.is_application) return contestant.has_applications;
  return workload.name == "tiny" || !contestant.is_tiny_only;
}

class Bench {
 public:
  explicit Bench(Settings settings) : settings_(std::move(settings)) {}

  int run() {
    stay_on(cores_.server);
    prepare();
    for (int round = 1; round <= settings_.rounds; ++round) {
      std::cerr << "round " << round << " of " << settings_.rounds << std::endl;
      for (const auto& workload : workloads_) measure_all(workload);
    }
    std::filesystem::create_directories(settings_.output);
    print_tables(results_, tables());
    write_csv(results_, tables(), settings_.output + "/bench.csv");
    draw_picture(results_, tables(), settings_.output + "/bench.png");
    return print_bars(results_) ? 0 : 1;
  }

 private:
  void prepare();
  void measure_all(const Workload& workload);
  std::vector<Table> tables() const;

  Settings settings_;
  Cores cores_ = choose_cores();
  test::TempFolder folder_{"cppfcgi-bench"};
  std::optional<test::Applications> applications_;
  std::vector<Contestant> contestants_;
  std::vector<Workload> workloads_;
  Results results_;
};

void Bench::prepare() {
  const auto build = std::filesystem::absolute(environment("CPPFCGI_BUILD", "build")).string();
  std::filesystem::create_directory(folder_ / "bin");
  for (const std::string program : {"null_worker", "libfcgi_bench", "cppfcgi_bench"}) {
    test::copy_program(build + "/tests/bench/programs/" + program, folder_ / "bin/" + program);
  }
  const auto add = [&](const std::string& group, const std::vector<Workload>& workloads) {
    if (contains(settings_.workloads, group)) workloads_.insert(workloads_.end(), workloads.begin(), workloads.end());
  };
  if (contains(settings_.workloads, "applications")) applications_.emplace(folder_);
  add("tiny", tiny_workloads());
  add("large", large_workloads());
  if (applications_) add("applications", application_workloads(*applications_));
  const Place place{folder_, build, environment("HTTPD", "/usr/sbin/apache2"),
                    environment("HTTPD_MODULES", "/usr/lib/apache2/modules"),
                    applications_ ? &*applications_ : nullptr};
  for (const auto& letter : settings_.letters) {
    contestants_.push_back(start_contestant(letter, place));
    auto& contestant = contestants_.back();
    std::cerr << "(" << letter << ") " << contestant.name << std::endl;
    for (const auto& workload : workloads_) {
      if (!runs(contestant, workload)) continue;
      expect_answer(contestant, workload.question);
      // Warm: pools are full, caches filled, connections kept.
      measure(contestant.port, contestant.pids(), workload.question, workload.connections.back(),
              std::chrono::seconds(1), cores_.load);
    }
  }
}

void Bench::measure_all(const Workload& workload) {
  for (const int connections : workload.connections) {
    for (const auto& contestant : contestants_) {
      if (!runs(contestant, workload)) continue;
      results_.add(workload.name, connections, contestant.letter,
                   measure(contestant.port, contestant.pids(), workload.question, connections, settings_.seconds_per,
                           cores_.load));
    }
  }
}

std::vector<Table> Bench::tables() const {
  std::vector<Table> tables;
  for (const auto& workload : workloads_) {
    for (const int connections : workload.connections) {
      Table table{workload.name, workload.title, connections, {}};
      for (const auto& contestant : contestants_) {
        if (runs(contestant, workload)) table.contestants.emplace_back(contestant.letter, contestant.name);
      }
      if (!table.contestants.empty()) tables.push_back(std::move(table));
    }
  }
  return tables;
}

}  // namespace
}  // namespace cppfcgi::bench

int main() {
  try {
    return cppfcgi::bench::Bench(cppfcgi::bench::settings_from_environment()).run();
  } catch (const std::exception& problem) {
    std::cerr << "bench: " << problem.what() << '\n';
    return 2;
  }
}
