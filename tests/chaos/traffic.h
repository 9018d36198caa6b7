// Traffic: the chaos suite's client. It asks at a steady pace over a number of kept connections, and checks every byte
// of every answer: each carries the nonce of its question. A question is due at its time whether or not the answers
// before it have come, and what it took counts from then, so that a server that stalls cannot hide behind what was not
// asked.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/http_client.h"
#include "tests/support/wait.h"

namespace cppfcgi::test {

struct Question {
  std::uint64_t nonce = 0;  // no two are alike; of a POST also the number that it counts
  bool is_post = false;
  std::size_t bytes = 100;     // of the answer
  bool is_sized = true;        // has a Content-Length; else it is chunked
  std::size_t body_bytes = 0;  // of the POST
  unsigned work_ms = 0;
  std::string deed;  // what the worker does instead: see programs/answerer.cpp
};
std::string target_of(const Question& question);

// The i-th of a mixed load: nine of ten are GET; most are small, some 100 KiB, few 1 MiB; half of them sized.
Question mixed_question(std::uint64_t seed, std::size_t i);

// A load or a fault goes on for so long: its length is what the row is about, and nothing is waited for.
inline void last_for(Milliseconds time) { std::this_thread::sleep_for(time); }

enum class Verdict {
  right,         // whole, and every byte as it must be
  unavailable,   // 503
  bad_gateway,   // 502
  timed_out,     // 504
  no_storage,    // 507: nowhere to keep the body
  other_status,  //
  closed,        // the connection ended without a byte: httpd's own doing
  unconnected,   // nobody listens
  cut,           // begun, right as far as it goes, and recognisably not whole
  silent,        // nothing (more) came in time
  unsent,        // still not asked long after the end: the server was stuck
  wrong,         // a byte that does not belong there
  cut_as_whole,  // right as far as it goes, and shown as whole
};
inline constexpr std::size_t verdict_count = static_cast<std::size_t>(Verdict::cut_as_whole) + 1;
const char* name_of(Verdict verdict);

// What came, from either client.
struct Answer {
  Ending ending = Ending::none;
  int status = 0;
  std::string nonce;  // X-Nonce
  std::string body;
};
Verdict judge(const Question& question, const Answer& answer);

struct Outcome {
  Question question;
  Verdict verdict = Verdict::unsent;
  std::chrono::microseconds due{0};    // from the beginning of the traffic
  std::chrono::microseconds took{0};   // from then until the answer
  std::chrono::microseconds asked{0};  // from the beginning of the traffic; later than due where the client had no room
  bool was_kept = false;               // the connection had been used before
  int status = 0;
  pid_t worker = 0;
  std::string version;  // of the worker's program

  // What the server is to answer for.
  std::chrono::microseconds answered_in() const { return due + took - asked; }
};
void PrintTo(const Outcome& outcome, std::ostream* out);

inline auto is_one_of(std::initializer_list<Verdict> verdicts) {
  return [verdicts = std::vector(verdicts)](const Outcome& outcome) {
    return std::find(verdicts.begin(), verdicts.end(), outcome.verdict) != verdicts.end();
  };
}

// All outcomes of a traffic, in the order in which they were due.
class Outcomes {
 public:
  explicit Outcomes(std::vector<Outcome> all);
  using Condition = std::function<bool(const Outcome&)>;

  const std::vector<Outcome>& all() const { return all_; }
  std::size_t size() const { return all_.size(); }
  std::size_t count(Verdict verdict) const;
  std::size_t count(const Condition& condition) const;
  std::vector<Outcome> where(const Condition& condition) const;
  std::size_t failed() const;  // neither right nor closed by httpd
  std::size_t wrong() const { return count(Verdict::wrong) + count(Verdict::cut_as_whole); }
  // Of right answers, in milliseconds.
  double percentile_ms(double share) const;
  double longest_gap_ms() const;  // between two right answers
  std::string text() const;       // for a person

 private:
  std::vector<Outcome> all_;
};

struct TrafficPlan {
  int port = 0;
  bool is_http2 = false;
  unsigned connections = 16;  // of HTTP/1.1; with HTTP/2 so many streams at a time, on four connections
  double per_second = 400;
  std::function<Question(std::size_t)> ask;  // called by several threads
  Milliseconds patience{15'000};             // with one answer
};

class Traffic {
 public:
  explicit Traffic(TrafficPlan plan);
  ~Traffic();
  Traffic(const Traffic&) = delete;
  Traffic& operator=(const Traffic&) = delete;

  std::chrono::microseconds now() const;  // since it began
  std::size_t answered() const { return answered_; }
  Outcomes stop();  // asks what is due by now, and waits for the answers

 private:
  using Time = Clock::time_point;
  class Http2Part;

  Time due(std::size_t i) const;
  bool is_past_end(Time time) const;
  std::optional<std::size_t> take();  // waits until it is due; nullopt: there are no more
  void ask_on_a_socket();
  void ask_over_http2(std::size_t part);
  void keep(std::size_t i, Outcome outcome);

  const TrafficPlan plan_;
  const Time begin_ = Clock::now();
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> answered_{0};
  mutable std::mutex mutex_;
  std::condition_variable has_ended_;
  std::optional<Time> end_;
  std::vector<Outcome> outcomes_;
  std::vector<std::thread> threads_;
};

}  // namespace cppfcgi::test
