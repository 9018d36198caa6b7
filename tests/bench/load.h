// One measurement: wrk on its own core against one contestant.
#pragma once

#include <chrono>
#include <string>

namespace cppfcgi::bench {

struct Question {
  std::string target;          // path and query
  long long upload_bytes = 0;  // more than 0: a POST
  long long answer_bytes = 0;  // of the body; 0: unknown, not checked
};

struct Measured {
  double requests_per_second = 0;
  double bytes_per_second = 0;  // of answers
  double p50_ms = 0;
  double p99_ms = 0;
  long long errors = 0;  // connections refused or cut, time-outs, and statuses of 400 and more
};

Measured measure(int port, const Question& question, int connections, std::chrono::seconds duration, int cpu);

// Asks once and throws unless the answer is 200 and of the right size, so that nothing wrong is measured.
void check_answer(int port, const Question& question);

}  // namespace cppfcgi::bench
