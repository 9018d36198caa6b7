// One measurement: wrk on its own core against one contestant.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

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
  double cpu_us = 0;     // per request: processor time of all the contestant's processes,
  double switches = 0;   // and how often the processor went from one of their threads to another
  long long errors = 0;  // connections refused or cut, time-outs, and statuses of 400 and more
};

// `servers` are the processes whose processor time, with that of all their descendants, is counted.
Measured measure(int port, const std::vector<pid_t>& servers, const Question& question, int connections,
                 std::chrono::seconds duration, int cpu);

// Asks once and throws unless the answer is 200 and of the right size, so that nothing wrong is measured.
void check_answer(int port, const Question& question);

}  // namespace cppfcgi::bench
