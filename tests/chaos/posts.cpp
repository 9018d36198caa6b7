#include "tests/chaos/posts.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "tests/chaos/pattern.h"

namespace cppfcgi::test {
namespace {

template <class Take>
void for_each_line(const std::string& text, Take take) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) take(line);
}

// Which worker a line is about: the digits in "(pid 812) of pool"; "" where it is about none.
std::string worker_in(const std::string& line) {
  const auto end = line.find(") of pool ");
  if (end == std::string::npos) return "";
  const auto begin = line.rfind("(pid ", end);
  return begin == std::string::npos ? "" : line.substr(begin + 5, end - begin - 5);
}

bool tells_an_end(const std::string& line) {
  static const char* const words[] = {" crashed", " ended", " died", " lived for", " killed", " hung", " hangs"};
  for (const char* word : words) {
    if (line.find(word) != std::string::npos) return true;
  }
  return false;
}

// What the log says about workers' ends, and which workers it blames for the loss of which request.
struct Explanations {
  std::set<std::string> ended;
  std::map<std::string, std::set<std::string>> blamed;  // nonce → workers

  explicit Explanations(const std::string& log) {
    for_each_line(log, [this](const std::string& line) {
      const std::string worker = worker_in(line);
      if (worker.empty()) return;
      const auto nonce = line.find("nonce ");
      if (nonce == std::string::npos) {
        if (tells_an_end(line)) ended.insert(worker);
      } else if (line.find("the client gets 502") != std::string::npos) {
        blamed[line.substr(nonce + 6, nonce_digits)].insert(worker);
      }
    });
  }

  // For a person: whom the log blames.
  std::string blame(const std::string& nonce) const {
    const auto found = blamed.find(nonce);
    if (found == blamed.end()) return "nobody";
    std::string text = "worker";
    for (const std::string& worker : found->second) text.append(" ").append(worker);
    return text;
  }

  bool explains(const std::string& nonce) const {
    const auto found = blamed.find(nonce);
    if (found == blamed.end()) return false;
    for (const std::string& worker : found->second) {
      if (ended.contains(worker)) return true;
    }
    return false;
  }
};

void list(std::string& text, const char* what, const std::vector<std::string>& breaches) {
  constexpr std::size_t most = 10;
  for (std::size_t i = 0; i < breaches.size() && i < most; ++i) {
    text.append(what).append(": ").append(breaches[i]).append("\n");
  }
  if (breaches.size() > most)
    text.append(what).append(": ").append(std::to_string(breaches.size())).append(" in all\n");
}

}  // namespace

std::string PostBreaches::text() const {
  std::string text;
  list(text, "counted twice", counted_twice);
  list(text, "refused (503, 507) and yet counted", refused_yet_counted);
  list(text, "answered well and not counted", right_yet_uncounted);
  list(text, "answered 502 without a line that names the worker's end", unexplained);
  return text;
}

PostBreaches check_posts(const Outcomes& outcomes, const std::string& counted, const std::string& error_log) {
  std::map<std::string, int> times;
  for_each_line(counted, [&](const std::string& line) { ++times[line]; });
  const Explanations log(error_log);
  PostBreaches breaches;
  for (const auto& [nonce, count] : times) {
    if (count > 1) breaches.counted_twice.push_back(nonce);
  }
  for (const Outcome& outcome : outcomes.all()) {
    if (!outcome.question.is_post) continue;
    const std::string nonce = nonce_text(outcome.question.nonce);
    const bool is_counted = times.contains(nonce);
    const bool is_refused = outcome.verdict == Verdict::unavailable || outcome.verdict == Verdict::no_storage;
    if (is_refused && is_counted) breaches.refused_yet_counted.push_back(nonce);
    if (outcome.verdict == Verdict::right && !is_counted) breaches.right_yet_uncounted.push_back(nonce);
    if (outcome.verdict != Verdict::bad_gateway || log.explains(nonce)) continue;
    breaches.unexplained.push_back(nonce + ", which names " + log.blame(nonce) + ": " +
                                   testing::PrintToString(outcome));
  }
  return breaches;
}

}  // namespace cppfcgi::test
