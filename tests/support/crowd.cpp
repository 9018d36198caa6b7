#include "tests/support/crowd.h"

#include <curl/curl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <queue>
#include <stdexcept>

namespace cppfcgi::test {
namespace {

struct EasyDeleter {
  void operator()(CURL* easy) const { ::curl_easy_cleanup(easy); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;

std::size_t drop(char*, std::size_t, std::size_t count, void*) { return count; }

Easy make_client(const std::string& url, Milliseconds patience) {
  static const CURLcode done = ::curl_global_init(CURL_GLOBAL_ALL);
  Easy easy(::curl_easy_init());
  if (done != CURLE_OK || !easy) throw std::runtime_error("libcurl does not start");
  ::curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");
  ::curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(patience.count()));
  ::curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, drop);
  return easy;
}

void conclude(CURL* easy, CURLcode code, Answered& answer) {
  answer.at = Clock::now();
  if (code != CURLE_OK) {
    answer.error = ::curl_easy_strerror(code);
    return;
  }
  long status = 0;
  ::curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
}

class Crowding {
 public:
  explicit Crowding(const Crowd& crowd) : crowd_(crowd), multi_(::curl_multi_init(), ::curl_multi_cleanup) {
    ::curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, static_cast<long>(crowd.clients));
    for (std::size_t i = 0; i < crowd.clients; ++i) clients_.push_back(make_client(crowd.url, crowd.patience));
    asked_.resize(crowd.clients);
  }

  std::vector<Answered> run() {
    const Clock::time_point end = Clock::now() + crowd_.lasts;
    for (std::size_t i = 0; i < clients_.size(); ++i) due_.emplace(Clock::now(), i);
    while (asking_ > 0 || !due_.empty()) {
      ask_who_is_due(end);
      int running = 0;
      ::curl_multi_perform(multi_.get(), &running);
      if (take_answers(end)) continue;
      ::curl_multi_poll(multi_.get(), nullptr, 0, wait_ms(), nullptr);
    }
    return std::move(answers_);
  }

 private:
  using Due = std::pair<Clock::time_point, std::size_t>;

  void ask_who_is_due(Clock::time_point end) {
    const Clock::time_point now = Clock::now();
    for (; !due_.empty() && due_.top().first <= now; due_.pop()) {
      const std::size_t client = due_.top().second;
      if (asked_[client] != Clock::time_point{} && now >= end) continue;
      asked_[client] = now;
      ::curl_easy_setopt(clients_[client].get(), CURLOPT_PRIVATE, reinterpret_cast<void*>(client));
      ::curl_multi_add_handle(multi_.get(), clients_[client].get());
      ++asking_;
    }
  }

  bool take_answers(Clock::time_point end) {
    bool has_any = false;
    int left = 0;
    while (const CURLMsg* message = ::curl_multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      has_any = true;
      --asking_;
      CURL* easy = message->easy_handle;
      void* number = nullptr;
      ::curl_easy_getinfo(easy, CURLINFO_PRIVATE, &number);
      const auto client = reinterpret_cast<std::size_t>(number);
      Answered answer{.asked = asked_[client]};
      conclude(easy, message->data.result, answer);
      ::curl_multi_remove_handle(multi_.get(), easy);
      const Clock::time_point again = answer.status == 200 ? answer.at : answer.at + crowd_.pause;
      if (again < end) due_.emplace(again, client);
      answers_.push_back(std::move(answer));
    }
    return has_any;
  }

  int wait_ms() const {
    if (due_.empty()) return 1'000;
    const auto left = std::chrono::ceil<Milliseconds>(due_.top().first - Clock::now()).count();
    return static_cast<int>(std::clamp<long>(left, 0, 1'000));
  }

  const Crowd& crowd_;
  std::vector<Easy> clients_;
  std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)> multi_;
  std::vector<Clock::time_point> asked_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::size_t asking_ = 0;
  std::vector<Answered> answers_;
};

}  // namespace

std::vector<Answered> run_crowd(const Crowd& crowd) { return Crowding(crowd).run(); }

Visitor::Visitor(std::string url, std::size_t connections, Milliseconds pause)
    : url_(std::move(url)), connections_(connections), pause_(pause), thread_([this] { visit(); }) {}

void Visitor::visit() {
  std::vector<Easy> sessions;
  for (std::size_t i = 0; i < connections_; ++i) sessions.push_back(make_client(url_, Milliseconds(30'000)));
  for (std::size_t next = 0; !is_over_; next = (next + 1) % sessions.size()) {
    Answered answer{.asked = Clock::now()};
    conclude(sessions[next].get(), ::curl_easy_perform(sessions[next].get()), answer);
    answers_.push_back(std::move(answer));
    std::this_thread::sleep_for(pause_);  // somebody comes now and then; nothing is waited for
  }
}

const std::vector<Answered>& Visitor::stop() {
  is_over_ = true;
  if (thread_.joinable()) thread_.join();
  return answers_;
}

std::size_t count_status(const std::vector<Answered>& answers, int status) {
  return static_cast<std::size_t>(std::count_if(answers.begin(), answers.end(),
                                                [status](const Answered& answer) { return answer.status == status; }));
}

double percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()));
  return values[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

std::vector<double> milliseconds_of(const std::vector<Answered>& answers) {
  std::vector<double> all;
  for (const Answered& answer : answers) all.push_back(answer.milliseconds());
  return all;
}

std::vector<double> milliseconds_for_anyone(const std::vector<Answered>& answers, Milliseconds pause) {
  std::vector<double> all;
  for (const Answered& answer : answers) {
    for (double wait = answer.milliseconds(); wait > 0; wait -= static_cast<double>(pause.count())) all.push_back(wait);
  }
  return all;
}

}  // namespace cppfcgi::test
