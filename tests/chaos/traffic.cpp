#include "tests/chaos/traffic.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <iterator>
#include <ostream>

#include <map>
#include <memory>

#include "tests/chaos/http2_connection.h"
#include "tests/chaos/pattern.h"

namespace cppfcgi::test {
namespace {

using std::chrono::microseconds;

constexpr std::size_t http2_connections = 4;
constexpr Milliseconds longest_backlog{15'000};  // what was due is asked until so long after the end

// A bijection (splitmix64's): different numbers in, different numbers out.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

std::string request_for(const Question& question) {
  return request_text(question.is_post ? "POST" : "GET", target_of(question),
                      {"X-Nonce: " + nonce_text(question.nonce)},
                      question.is_post ? pattern_of(question.nonce, question.body_bytes) : "");
}

void describe(Outcome& outcome, int status, const std::string& worker, const std::string& version) {
  outcome.status = status;
  outcome.worker = std::atoi(worker.c_str());
  outcome.version = version;
}

}  // namespace

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::right:
      return "right";
    case Verdict::unavailable:
      return "503";
    case Verdict::bad_gateway:
      return "502";
    case Verdict::timed_out:
      return "504";
    case Verdict::no_storage:
      return "507";
    case Verdict::other_status:
      return "other status";
    case Verdict::closed:
      return "closed by httpd";
    case Verdict::unconnected:
      return "unconnected";
    case Verdict::cut:
      return "cut";
    case Verdict::silent:
      return "silent";
    case Verdict::unsent:
      return "unsent";
    case Verdict::wrong:
      return "WRONG";
    case Verdict::cut_as_whole:
      return "CUT AS WHOLE";
  }
  return "?";
}

std::string target_of(const Question& question) {
  std::string target = fmt::format("/chaos?n={}&bytes={}&form={}", nonce_text(question.nonce), question.bytes,
                                   question.is_sized ? "sized" : "chunked");
  if (question.work_ms > 0) target += fmt::format("&work={}", question.work_ms);
  if (!question.deed.empty()) target += "&do=" + question.deed;
  return target;
}

Question mixed_question(std::uint64_t seed, std::size_t i) {
  const std::uint64_t nonce = mix(mix(seed) + i), dice = mix(nonce);
  const unsigned size = dice % 50, body = dice / 50 % 20;
  Question question{.nonce = nonce, .is_post = dice / 1'000 % 10 == 0};
  question.bytes = size == 0 ? 1'048'576 : size < 5 ? 102'400 : 20 + dice / 10'000 % 2'000;
  question.is_sized = dice / 20'000'000 % 2 == 0;
  question.body_bytes = body == 0 ? 400'000 : body < 3 ? 60'000 : 20 + body * 40;
  question.work_ms = dice / 40'000'000 % 6;
  return question;
}

Verdict judge(const Question& question, const Answer& answer) {
  switch (answer.ending) {
    case Ending::none:
      return Verdict::closed;
    case Ending::malformed:
      return Verdict::wrong;
    case Ending::timed_out:
      return Verdict::silent;
    case Ending::whole:
    case Ending::cut:
      break;
  }
  if (answer.status == 0) return Verdict::cut;
  if (answer.status == 503) return Verdict::unavailable;
  if (answer.status == 502) return Verdict::bad_gateway;
  if (answer.status == 504) return Verdict::timed_out;
  if (answer.status == 507) return Verdict::no_storage;
  if (answer.status != 200) return Verdict::other_status;
  const bool is_cut_head = answer.ending == Ending::cut && answer.nonce.empty() && answer.body.empty();
  if (answer.nonce != nonce_text(question.nonce) && !is_cut_head) return Verdict::wrong;
  if (!pattern_of(question.nonce, question.bytes).starts_with(answer.body)) return Verdict::wrong;
  if (answer.ending == Ending::cut) return Verdict::cut;
  return answer.body.size() == question.bytes ? Verdict::right : Verdict::cut_as_whole;
}

// ---- outcomes ----

void PrintTo(const Outcome& outcome, std::ostream* out) {
  *out << fmt::format("{:.3f} s: {} {} on a {} connection: {} ({}) after {:.1f} ms, worker {}",
                      static_cast<double>(outcome.due.count()) / 1e6, outcome.question.is_post ? "POST" : "GET",
                      target_of(outcome.question), outcome.was_kept ? "kept" : "fresh", name_of(outcome.verdict),
                      outcome.status, static_cast<double>(outcome.took.count()) / 1'000, outcome.worker);
}

Outcomes::Outcomes(std::vector<Outcome> all) : all_(std::move(all)) {
  std::sort(all_.begin(), all_.end(), [](const Outcome& a, const Outcome& b) { return a.due < b.due; });
}

std::size_t Outcomes::count(Verdict verdict) const {
  return count([verdict](const Outcome& outcome) { return outcome.verdict == verdict; });
}

std::size_t Outcomes::count(const Condition& condition) const {
  return static_cast<std::size_t>(std::count_if(all_.begin(), all_.end(), condition));
}

std::vector<Outcome> Outcomes::where(const Condition& condition) const {
  std::vector<Outcome> found;
  std::copy_if(all_.begin(), all_.end(), std::back_inserter(found), condition);
  return found;
}

std::size_t Outcomes::failed() const { return size() - count(Verdict::right) - count(Verdict::closed); }

double Outcomes::percentile_ms(double share) const {
  std::vector<microseconds> times;
  for (const Outcome& outcome : all_) {
    if (outcome.verdict == Verdict::right) times.push_back(outcome.took);
  }
  if (times.empty()) return 0;
  const auto at = std::min(times.size() - 1, static_cast<std::size_t>(share * static_cast<double>(times.size())));
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(at), times.end());
  return static_cast<double>(times[at].count()) / 1'000;
}

double Outcomes::longest_gap_ms() const {
  std::vector<microseconds> ends{microseconds(0)};
  for (const Outcome& outcome : all_) {
    if (outcome.verdict == Verdict::right) ends.push_back(outcome.due + outcome.took);
  }
  if (!all_.empty()) ends.push_back(all_.back().due);
  std::sort(ends.begin(), ends.end());
  microseconds longest{0};
  for (std::size_t i = 1; i < ends.size(); ++i) longest = std::max(longest, ends[i] - ends[i - 1]);
  return static_cast<double>(longest.count()) / 1'000;
}

std::string Outcomes::text() const {
  std::string text = fmt::format("{} asked", size());
  for (std::size_t i = 0; i < verdict_count; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    if (const std::size_t n = count(verdict); n > 0) text += fmt::format(", {} {}", n, name_of(verdict));
  }
  return text + fmt::format("; p50 {:.1f} ms, p99 {:.1f} ms, longest {:.0f} ms, longest gap {:.0f} ms",
                            percentile_ms(0.5), percentile_ms(0.99), percentile_ms(1), longest_gap_ms());
}

// ---- traffic ----

Traffic::Traffic(TrafficPlan plan) : plan_(std::move(plan)) {
  const std::size_t count = plan_.is_http2 ? http2_connections : plan_.connections;
  for (std::size_t part = 0; part < count; ++part) {
    threads_.emplace_back([this, part] { plan_.is_http2 ? ask_over_http2(part) : ask_on_a_socket(); });
  }
}

Traffic::~Traffic() { stop(); }

microseconds Traffic::now() const { return std::chrono::duration_cast<microseconds>(Clock::now() - begin_); }

Traffic::Time Traffic::due(std::size_t i) const {
  return begin_ + std::chrono::duration_cast<Clock::duration>(
                      std::chrono::duration<double>(static_cast<double>(i) / plan_.per_second));
}

bool Traffic::is_past_end(Time time) const {
  const std::lock_guard lock(mutex_);
  return end_ && time > *end_;
}

Outcomes Traffic::stop() {
  {
    const std::lock_guard lock(mutex_);
    if (!end_) end_ = Clock::now();
    has_ended_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  return Outcomes(outcomes_);
}

std::optional<std::size_t> Traffic::take() {
  const std::size_t i = next_.fetch_add(1);
  std::unique_lock lock(mutex_);
  has_ended_.wait_until(lock, due(i), [&] { return end_ && due(i) > *end_; });
  return end_ && due(i) > *end_ ? std::nullopt : std::optional(i);
}

void Traffic::keep(std::size_t i, Outcome outcome) {
  outcome.due = std::chrono::duration_cast<microseconds>(due(i) - begin_);
  outcome.took = now() - outcome.due;
  if (outcome.verdict == Verdict::right) ++answered_;
  const std::lock_guard lock(mutex_);
  outcomes_.push_back(std::move(outcome));
}

void Traffic::ask_on_a_socket() {
  std::optional<HttpConnection> connection;
  while (const auto i = take()) {
    Outcome outcome{.question = plan_.ask(*i), .was_kept = connection.has_value()};
    if (is_past_end(Clock::now() - longest_backlog)) {
      keep(*i, std::move(outcome));
      continue;
    }
    try {
      if (!connection) connection.emplace(plan_.port);
    } catch (const std::runtime_error&) {
      outcome.verdict = Verdict::unconnected;
      keep(*i, std::move(outcome));
      continue;
    }
    outcome.asked = now();
    connection->send(request_for(outcome.question), plan_.patience);
    HttpResponse response = connection->receive(outcome.question.is_post ? "POST" : "GET", plan_.patience);
    const bool is_reusable = response.is_whole() && response.header("Connection") != "close";
    outcome.verdict = judge(outcome.question, {.ending = response.ending,
                                               .status = response.status,
                                               .nonce = response.header("X-Nonce"),
                                               .body = std::move(response.body)});
    describe(outcome, response.status, response.header("X-Worker"), response.header("X-Version"));
    keep(*i, std::move(outcome));
    if (!is_reusable) connection.reset();
  }
}

// One connection of HTTP/2 that is asked, and others that end.
class Traffic::Http2Part {
 public:
  Http2Part(Traffic& traffic, std::size_t part) : traffic_(traffic), next_(part) {}

  void run() {
    while (!is_over_ || !connections_.empty()) {
      begin_what_is_due();
      wait();
      for (auto& connection : connections_) {
        for (Http2Answer& answer : connection->proceed()) end(std::move(answer));
      }
      std::erase_if(connections_, [this](const auto& connection) {
        return connection->is_idle() && (is_over_ || !connection->may_ask());
      });
    }
  }

 private:
  void begin_what_is_due() {
    const std::size_t most = std::max<std::size_t>(1, traffic_.plan_.connections / http2_connections);
    for (;; next_ += http2_connections) {
      is_over_ = is_over_ || traffic_.is_past_end(traffic_.due(next_));
      if (is_over_ || traffic_.due(next_) > Clock::now()) return;
      if (traffic_.is_past_end(Clock::now() - longest_backlog)) {
        traffic_.keep(next_, {.question = traffic_.plan_.ask(next_)});
      } else if (under_way_.size() < most) {
        begin(next_);
      } else {
        return;
      }
    }
  }

  void begin(std::size_t i) {
    Outcome outcome{.question = traffic_.plan_.ask(i), .verdict = Verdict::unconnected};
    try {
      if (connections_.empty() || !connections_.back()->may_ask()) {
        connections_.push_back(std::make_unique<Http2Connection>(traffic_.plan_.port));
      }
    } catch (const std::runtime_error&) {
      return traffic_.keep(i, std::move(outcome));
    }
    outcome.asked = traffic_.now();
    outcome.was_kept = connections_.back()->was_used();
    const Question& question = outcome.question;
    connections_.back()->ask({.number = i,
                              .method = question.is_post ? "POST" : "GET",
                              .target = target_of(question),
                              .headers = {{"x-nonce", nonce_text(question.nonce)}},
                              .body = question.is_post ? pattern_of(question.nonce, question.body_bytes) : ""},
                             traffic_.plan_.patience);
    under_way_.emplace(i, std::move(outcome));
  }

  // Until something comes, or the next is due; a moment at most, since the end may come, too.
  void wait() const {
    const auto left = std::chrono::ceil<Milliseconds>(traffic_.due(next_) - Clock::now()).count();
    std::vector<pollfd> wanted;
    for (const auto& connection : connections_) wanted.push_back({connection->fd(), connection->wanted_events(), 0});
    ::poll(wanted.data(), wanted.size(), static_cast<int>(std::clamp<long>(left, 1, 50)));
  }

  void end(Http2Answer answer) {
    auto node = under_way_.extract(answer.number);
    Outcome& outcome = node.mapped();
    outcome.verdict = judge(outcome.question, {.ending = answer.ending,
                                               .status = answer.status,
                                               .nonce = answer.headers["x-nonce"],
                                               .body = std::move(answer.body)});
    describe(outcome, answer.status, answer.headers["x-worker"], answer.headers["x-version"]);
    traffic_.keep(answer.number, std::move(outcome));
  }

  Traffic& traffic_;
  std::size_t next_;
  bool is_over_ = false;
  std::vector<std::unique_ptr<Http2Connection>> connections_;  // the last is asked
  std::map<std::size_t, Outcome> under_way_;
};

void Traffic::ask_over_http2(std::size_t part) { Http2Part(*this, part).run(); }

}  // namespace cppfcgi::test
