#include "tests/support/policy_model.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <queue>
#include <tuple>
#include <utility>

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

constexpr Time begin_of_time{1h};
constexpr auto tick = 5ms;  // how often clients come and go

Time::duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(seconds));
}

class Model {
 public:
  Model(const Workload& workload, const PoolPolicy& policy, Duration start_takes, std::uint64_t seed)
      : workload_(workload),
        policy_(policy),
        start_takes_(start_takes),
        random_(seed),
        pool_(policy, seed, std::vector<std::uint32_t>(policy.most + 1)),
        workers_(pool_.slot_count()) {}

  Figures run() {
    plan(now_, Kind::measure);
    if (workload_.clients) plan(now_, Kind::come_and_go);
    if (workload_.rate) plan(now_, Kind::arrive);
    tell({Happened::began});
    const Time end = begin_of_time + from_seconds(workload_.seconds);
    while (now_ < end) step();
    return finish();
  }

 private:
  enum class Kind : std::uint8_t { arrive, come_and_go, measure, nudge, become_ready, die, finish };
  struct Plan {
    Time at;
    std::uint64_t number;  // first planned, first done
    Kind kind;
    std::uint32_t slot;
    std::uint32_t generation;
    bool operator>(const Plan& other) const { return std::tie(at, number) > std::tie(other.at, other.number); }
  };
  struct Worker {
    std::size_t starts = 0;
    bool is_busy = false;
    bool was_busy = false;  // since the last look
    bool is_deadly = false;
  };

  double second() const { return std::chrono::duration<double>(now_ - begin_of_time).count(); }
  double chance() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  void plan(Time at, Kind kind, std::uint32_t slot = 0) {
    plans_.push({at, ++planned_, kind, slot, pool_.state(slot).generation});
  }

  // The next thing, by its time.
  void step() {
    const auto due = pool_.next_deadline();
    const auto look = pool_.next_look();
    const Time planned = plans_.top().at;
    const Time first = std::min({planned, due.value_or(Time::max()), look.value_or(Time::max())});
    pass_to(std::max(now_, first));
    if (first == planned) {
      const Plan next = plans_.top();
      plans_.pop();
      return carry_out(next);
    }
    if (look == first) return this->look();
    tell({Happened::time_passed});
  }

  void pass_to(Time time) {
    const double passed = std::chrono::duration<double>(time - now_).count();
    figures_.idle_worker_seconds += passed * (count(Phase::ready) - busy());
    now_ = time;
  }

  void carry_out(const Plan& plan) {
    const bool is_of_worker = plan.kind >= Kind::become_ready;
    if (is_of_worker && pool_.state(plan.slot).generation != plan.generation) return;
    switch (plan.kind) {
      case Kind::arrive:
        return arrive();
      case Kind::come_and_go:
        for (const std::uint32_t wanted = workload_.clients(second()); clients_ < wanted; ++clients_) ask();
        return this->plan(now_ + tick, Kind::come_and_go);
      case Kind::measure:
        figures_.course.push_back({second(), living(), busy(), queue_.size()});
        return this->plan(now_ + 100ms, Kind::measure);
      case Kind::nudge:
        return queue_.empty() ? void() : look();
      case Kind::become_ready:
        return tell(about(Happened::answered, plan.slot));
      case Kind::die:
        return die(plan.slot);
      case Kind::finish:
        return finish(plan.slot);
    }
  }

  void arrive() {
    const double rate = workload_.rate(second());
    if (rate > 0) ask();
    const double pause = rate > 0 ? -std::log(1 - chance()) / rate : 0.01;
    plan(now_ + from_seconds(pause), Kind::arrive);
  }

  void ask() {
    if (pool_.refuses_for()) {
      ++figures_.refused;
      return leave();
    }
    if (queue_.empty()) plan(now_, Kind::nudge);
    queue_.push_back(now_);
    serve();
  }

  // As claims do it: the lowest slot that is free.
  void serve() {
    for (std::uint32_t slot = 0; slot < workers_.size() && !queue_.empty(); ++slot) {
      Worker& worker = workers_[slot];
      if (worker.is_busy || pool_.state(slot).phase != Phase::ready) continue;
      waits_.push_back(std::chrono::duration<double, std::milli>(now_ - queue_.front()).count());
      queue_.pop_front();
      worker.is_busy = worker.was_busy = true;
      worker.is_deadly = workload_.deadly && chance() < workload_.deadly(second());
      plan(now_ + from_seconds(workload_.work(random_)), worker.is_deadly ? Kind::die : Kind::finish, slot);
    }
  }

  void finish(std::uint32_t slot) {
    ++figures_.answered;
    workers_[slot].is_busy = false;
    leave();
    if (pool_.state(slot).phase == Phase::draining) tell(about(Happened::drained, slot));
    serve();
  }

  // A client that has its answer asks again, or goes.
  void leave() {
    if (workload_.clients) --clients_;
  }

  void die(std::uint32_t slot) {
    if (std::exchange(workers_[slot].is_busy, false)) {
      ++figures_.lost;
      leave();
    }
    tell(about(Happened::exited, slot));
  }

  void look() {
    Demand demand{.waiting = static_cast<std::uint32_t>(queue_.size())};
    for (std::uint32_t slot = 0; slot < workers_.size(); ++slot) {
      const bool was_busy = std::exchange(workers_[slot].was_busy, workers_[slot].is_busy);
      if (pool_.state(slot).phase != Phase::ready) continue;
      demand.needed += was_busy || workers_[slot].is_busy ? 1 : 0;
      if (!workers_[slot].is_busy) demand.idle = slot;
    }
    tell({.what = Happened::looked, .demand = demand});
  }

  Event about(Happened what, std::uint32_t slot) const {
    return {.what = what, .slot = slot, .generation = pool_.state(slot).generation};
  }

  void tell(const Event& event) {
    for (const Action& action : pool_.on(event, now_)) obey(action, event.what == Happened::looked);
    figures_.peak = std::max(figures_.peak, living());
    if (pool_.refuses_for()) {
      figures_.refused += queue_.size();
      while (!queue_.empty()) queue_.pop_front(), leave();
    }
    serve();
  }

  void obey(const Action& action, bool is_by_demand) {
    const std::uint32_t slot = action.slot;
    if (action.what == Do::start) {
      ++figures_.starts;
      ++workers_[slot].starts;
      workers_[slot].is_busy = workers_[slot].was_busy = false;
      if (is_by_demand && last_idle_end_ && now_ - *last_idle_end_ < policy_.idle_process_timeout) ++figures_.flaps;
      const bool is_broken = workload_.is_broken && workload_.is_broken(second());
      plan(now_ + start_takes_, is_broken ? Kind::die : Kind::become_ready, slot);
    }
    if (action.what == Do::terminate || action.what == Do::kill) plan(now_ + 1ms, Kind::die, slot);
    if (action.what != Do::publish || pool_.state(slot).phase != Phase::draining) return;
    if (pool_.reason(slot) == Reason::idle) last_idle_end_ = now_;
    if (!workers_[slot].is_busy) pending_.push_back(about(Happened::drained, slot));
    while (!pending_.empty()) {
      const Event next = pending_.front();
      pending_.pop_front();
      tell(next);
    }
  }

  std::uint32_t count(Phase phase) const {
    std::uint32_t count = 0;
    for (std::uint32_t slot = 0; slot < workers_.size(); ++slot) count += pool_.state(slot).phase == phase;
    return count;
  }
  std::uint32_t living() const { return pool_.slot_count() - count(Phase::empty); }
  std::uint32_t busy() const {
    std::uint32_t count = 0;
    for (std::uint32_t slot = 0; slot < workers_.size(); ++slot)
      count += workers_[slot].is_busy && pool_.state(slot).phase == Phase::ready;
    return count;
  }

  Figures finish() {
    std::sort(waits_.begin(), waits_.end());
    if (!waits_.empty()) {
      figures_.wait_p50_ms = waits_[waits_.size() / 2];
      figures_.wait_p99_ms = waits_[waits_.size() * 99 / 100];
      figures_.wait_most_ms = waits_.back();
    }
    figures_.last = living();
    for (const Worker& worker : workers_)
      figures_.most_starts_of_a_slot = std::max(figures_.most_starts_of_a_slot, worker.starts);
    return figures_;
  }

  const Workload& workload_;
  PoolPolicy policy_;
  Duration start_takes_;
  std::mt19937_64 random_;
  Time now_ = begin_of_time;
  Pool pool_;
  std::vector<Worker> workers_;
  std::priority_queue<Plan, std::vector<Plan>, std::greater<>> plans_;
  std::uint64_t planned_ = 0;
  std::deque<Time> queue_;  // when who waits has come
  std::deque<Event> pending_;
  std::uint32_t clients_ = 0;
  std::vector<double> waits_;
  std::optional<Time> last_idle_end_;
  Figures figures_;
};

std::function<double(std::mt19937_64&)> always(double seconds) {
  return [seconds](std::mt19937_64&) { return seconds; };
}

std::function<double(std::mt19937_64&)> about_seconds(double mean) {
  return [mean](std::mt19937_64& random) { return std::exponential_distribution<double>(1 / mean)(random); };
}

// Pareto: most take little, a few take very long.
double heavy(std::mt19937_64& random) {
  const double u = std::uniform_real_distribution<double>(0, 1)(random);
  return std::min(0.02 / std::pow(1 - u, 1 / 1.2), 20.0);
}

std::function<std::uint32_t(double)> wave(double half_period) {
  return [half_period](double second) { return std::fmod(second, 2 * half_period) < half_period ? 2U : 30U; };
}

}  // namespace

Figures simulate(const Workload& workload, const PoolPolicy& policy, Duration start_takes, std::uint64_t seed) {
  return Model(workload, policy, start_takes, seed).run();
}

PoolPolicy standard_policy() {
  PoolPolicy policy;
  policy.workers = 1;
  policy.most = 40;
  policy.idle_process_timeout = 10s;
  return policy;
}

std::vector<Workload> standard_workloads() {
  const auto between = [](double second, double from, double to) { return second >= from && second < to; };
  return {
      {.name = "step", .clients = [=](double s) { return between(s, 5, 25) ? 40U : 1U; }, .work = always(0.1)},
      {.name = "ramp",
       .seconds = 80,
       .rate = [](double s) { return s < 30 ? 5 + s * 10 : std::max(5.0, 305 - (s - 30) * 10); },
       .work = about_seconds(0.1)},
      {.name = "square wave of 10 s", .clients = wave(5), .work = always(0.1)},
      {.name = "square wave of 60 s", .seconds = 240, .clients = wave(30), .work = always(0.1)},
      {.name = "flash crowd",
       .rate = [=](double s) { return between(s, 10, 13) ? 400.0 : 5.0; },
       .work = about_seconds(0.05)},
      {.name = "heavy tail", .seconds = 120, .rate = [](double) { return 20.0; }, .work = heavy},
      {.name = "crash storm",
       .rate = [](double) { return 50.0; },
       .work = about_seconds(0.1),
       .deadly = [=](double s) { return between(s, 10, 20) || between(s, 30, 35) ? 0.2 : 0.0; },
       .is_broken = [=](double s) { return between(s, 30, 35); }},
  };
}

}  // namespace cppfcgi::test
