// The step of scaling_test.cpp for mod_cppfcgi and for mod_fcgid, one after the other on the same machine: what comes
// of it is printed. Runs where BENCH_STEP is set (make bench-step).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "tests/support/curl_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t clients = 40, rounds = 10;

struct Contestant {
  std::string name;
  HttpdOptions options;
};
void PrintTo(const Contestant& contestant, std::ostream* out) { *out << contestant.name; }

std::vector<Contestant> contestants() {
  if (std::getenv("BENCH_STEP") == nullptr) return {};
  const std::string tuning =
      "StartServers 2\nServerLimit 2\nThreadsPerChild 64\nThreadLimit 64\nMaxRequestWorkers 128\n";
  return {{"mod_cppfcgi",
           {.mpm_tuning = tuning,
            .config = "FastCgiServer @ROOT@/bin/answerer -mount /a -processes 1 -max-processes 40 "
                      "-idle-process-timeout 1s -initial-env START_MS=20 -initial-env STARTED=@ROOT@/tmp/started\n"}},
          {"mod_fcgid",
           {.modules = {"fcgid"},
            .has_cppfcgi = false,
            .mpm_tuning = tuning,
            .config = "FcgidIPCDir @ROOT@/tmp\nFcgidProcessTableFile @ROOT@/tmp/fcgid_shm\n"
                      "FcgidMaxProcesses 40\nFcgidMaxProcessesPerClass 40\nFcgidMinProcessesPerClass 1\n"
                      "FcgidIdleTimeout 1\nFcgidIdleScanInterval 1\n"
                      "FcgidInitialEnv START_MS 20\nFcgidInitialEnv STARTED @ROOT@/tmp/started\n"
                      "Alias /a @ROOT@/bin/answerer\n"
                      "<Location /a>\nSetHandler fcgid-script\nOptions +ExecCGI\n</Location>\n"}}};
}

class StepBench : public testing::TestWithParam<Contestant> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StepBench);
INSTANTIATE_TEST_SUITE_P(Of, StepBench, testing::ValuesIn(contestants()),
                         [](const auto& test) { return test.param.name; });

TEST_P(StepBench, From1To40Clients) {
  HttpdServer httpd(GetParam().options);
  httpd.allow_log("fcgid|cppfcgi|mpm_event|AH");
  httpd.install("tests/chaos/programs/answerer");
  httpd.start();
  const auto make = [&](std::size_t i) {
    return Fetch{.url = httpd.url("/a?bytes=10&work=100&n=") + std::to_string(i)};
  };
  std::vector<double> seconds;
  std::size_t failures = 0;
  std::size_t most = 0;
  const auto done = [&](std::size_t, const Fetched& fetched) {
    failures += fetched.status == 200 ? 0 : 1;
    seconds.push_back(fetched.seconds);
    if (seconds.size() % 20 == 0) most = std::max(most, httpd.processes_of("answerer").size());
  };
  run_load({.count = 5, .parallel = 1, .make = make, .done = done});
  seconds.clear();
  const auto began = Clock::now();
  run_load({.count = clients * rounds, .parallel = clients, .make = make, .done = done});
  const std::chrono::duration<double> took = Clock::now() - began;
  const auto ended = Clock::now();
  const bool is_back = wait_until([&] { return httpd.processes_of("answerer").size() <= 1; }, 60'000ms);
  const std::chrono::duration<double> fell = Clock::now() - ended;
  std::sort(seconds.begin(), seconds.end());
  std::printf("| %s | %zu of %zu | %.0f | %.0f | %.0f | %.0f | %zu | %ju | %s |\n", GetParam().name.c_str(),
              seconds.size() - failures, seconds.size(), static_cast<double>(seconds.size()) / took.count(),
              seconds[seconds.size() / 2] * 1'000, seconds[seconds.size() * 99 / 100] * 1'000, seconds.back() * 1'000,
              most, std::filesystem::file_size(httpd.root() + "/tmp/started"),
              is_back ? (std::to_string(fell.count()).substr(0, 4) + " s").c_str() : "not within 60 s");
  // What the rig would miss afterwards: our own file, and the sockets that mod_fcgid leaves.
  for (const auto& entry : std::filesystem::directory_iterator(httpd.root() + "/tmp"))
    std::filesystem::remove_all(entry.path());
}

}  // namespace
}  // namespace cppfcgi::test
