// POSTs to workers that end while they are idle: each is counted once, whatever was under way between httpd and the
// worker at that moment. The workers are our library's, which keep their connections.
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <set>
#include <sstream>
#include <string>

#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

struct Case {
  const char* name;
  int signal;
  std::size_t body_bytes;
};
void PrintTo(const Case& each, std::ostream* out) { *out << each.name; }

class NeverLost : public testing::TestWithParam<Case> {
 protected:
  static constexpr int posts = 500;
  static constexpr int posts_between_ends = 5;

  NeverLost() : folder_("cppfcgi-counted", true) {
    httpd_.install("tests/httpd/programs/counter");
    httpd_.allow_log("worker [0-9]+ .*bin/counter (crashed|died|exited|ended)");
    httpd_.start();
  }
  std::string body_of(int number) const {
    std::string body = std::to_string(number) + " ";
    body.resize(GetParam().body_bytes, 'x');
    return body;
  }
  // The oldest, which is ready: one that ends while it starts is another matter. It answered the last request, as often
  // as not, and the next one comes before anybody has noticed.
  void end_a_worker() const {
    const std::vector<pid_t> workers = httpd_.processes_of("counter");
    if (workers.size() > 1) ::kill(workers.front(), GetParam().signal);
  }
  // How often each was counted.
  std::map<int, int> counted() const {
    std::map<int, int> counts;
    std::istringstream lines(read_file(folder_ / "counted"));
    for (std::string line; std::getline(lines, line);) ++counts[std::atoi(line.c_str())];
    return counts;
  }

  TempFolder folder_;
  HttpdServer httpd_{
      {.config = "FastCgiServer @ROOT@/bin/counter -mount /count -processes 4 -initial-env COUNTER_FILE=" +
                 (folder_ / "counted") + "\n"}};
};
INSTANTIATE_TEST_SUITE_P(Worker, NeverLost,
                         testing::Values(Case{"killed", SIGKILL, 100}, Case{"terminated", SIGTERM, 100},
                                         Case{"killedUnderLargeBodies", SIGKILL, 100'000},
                                         Case{"terminatedUnderLargeBodies", SIGTERM, 100'000}),
                         [](const auto& test) { return test.param.name; });

TEST_P(NeverLost, PostsAreCountedOnceThoughIdleWorkersEnd) {
  std::set<int> answered;
  for (int number = 0; number < posts; ++number) {
    if (number % posts_between_ends == 0) end_a_worker();
    const HttpResponse response = post(httpd_.port(), "/count", body_of(number));
    EXPECT_EQ(response.status, 200) << number;
    if (response.status == 200) answered.insert(number);
    EXPECT_TRUE(response.status != 503 || !counted().contains(number)) << "503 promises that it did not begin";
  }
  const std::map<int, int> counts = counted();
  for (const auto& [number, times] : counts) EXPECT_EQ(times, 1) << number;
  for (const int number : answered) EXPECT_TRUE(counts.contains(number)) << number;
}

}  // namespace
}  // namespace cppfcgi::test
