// A crowd of HTTP clients, each of which asks, and asks again: what a server looks like to many people at once. And a
// visitor, who asks for a file beside it now and then: what they do to everybody else. Both on kept connections, by
// libcurl.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/wait.h"

namespace cppfcgi::test {

struct Answered {
  int status = 0;  // 0: no answer, or not a whole one
  std::string error;
  Clock::time_point asked;
  Clock::time_point at;

  double milliseconds() const { return std::chrono::duration<double, std::milli>(at - asked).count(); }
};

struct Crowd {
  std::string url;
  std::size_t clients = 1;
  // For so long each asks again: at once after a 200, after the pause otherwise, whatever Retry-After says. 0: each
  // asks once. What was asked is waited for.
  Milliseconds lasts{0};
  Milliseconds pause{50};
  Milliseconds patience{30'000};  // for each answer
};
std::vector<Answered> run_crowd(const Crowd& crowd);

// From its construction until stop(): on several connections in turn, so that it meets each of the server's processes.
class Visitor {
 public:
  explicit Visitor(std::string url, std::size_t connections = 8, Milliseconds pause = Milliseconds(10));
  ~Visitor() { stop(); }
  Visitor(const Visitor&) = delete;
  Visitor& operator=(const Visitor&) = delete;
  const std::vector<Answered>& stop();

 private:
  void visit();

  const std::string url_;
  const std::size_t connections_;
  const Milliseconds pause_;
  std::atomic<bool> is_over_{false};
  std::vector<Answered> answers_;
  std::thread thread_;
};

std::size_t count_status(const std::vector<Answered>& answers, int status);
// What so many percent of the values do not exceed; 0 of none.
double percentile(std::vector<double> values, double percent);
std::vector<double> milliseconds_of(const std::vector<Answered>& answers);
// The same, had somebody come every `pause`, also while the visitor waited for an answer: one long wait meets many.
std::vector<double> milliseconds_for_anyone(const std::vector<Answered>& answers,
                                            Milliseconds pause = Milliseconds(10));

}  // namespace cppfcgi::test
