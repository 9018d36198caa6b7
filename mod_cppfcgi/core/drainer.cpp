#include "mod_cppfcgi/core/drainer.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t input_bytes = 64 * 1024;
constexpr int reads_at_once = 8;                            // of one answer, before the next has its turn
constexpr std::size_t most_error_text_bytes = 256 * 1'024;  // kept until the handler's thread can log it
constexpr auto stop_patience = 200ms;
constexpr std::uint64_t wake_up_id = 0;

}  // namespace

struct DrainedAnswer::Shared {
  enum class State { direct, passing, drained, over };

  Shared(Conversation& its, std::chrono::milliseconds timeout, Callbacks its_callbacks,
         const Drainer::Settings& settings)
      : conversation(&its),
        idle_timeout(timeout),
        callbacks(std::move(its_callbacks)),
        spool(settings.folder, settings.spool) {}

  // With the mutex held.
  void take_over(int epoll, Clock::time_point now);
  void pump(int epoll, std::span<std::byte> buffer);
  void feed(int epoll, Bytes bytes);
  void finish(int epoll);
  void be_late(int epoll, Conversation::Outcome outcome);
  void pause(int epoll);
  void resume(Clock::time_point now);
  bool is_cut() const;
  void watch(int epoll);
  void unwatch(int epoll);
  bool looks_after(int epoll, Clock::time_point now, Clock::duration patience);

  std::uint64_t id = wake_up_id;  // of the drainer, once it knows of it
  std::mutex mutex;               // for what follows
  State state = State::direct;
  Clock::time_point since{};  // passing: when it began; drained: when something last came
  Conversation* conversation;
  std::chrono::milliseconds idle_timeout;
  Callbacks callbacks;
  std::optional<Clock::time_point> paused;  // the spool is full, since then
  Spool spool;
  std::string error_text;
  std::size_t error_text_dropped = 0;
  std::string spool_error;
  Ending ending;
  std::uint32_t watched = 0;  // epoll's events; 0: not in epoll
};

// ---- one answer, either thread, mutex held ----

void DrainedAnswer::Shared::watch(int epoll) {
  const std::uint32_t wanted = EPOLLIN | (conversation->is_sending() ? std::uint32_t{EPOLLOUT} : 0U);
  if (watched == wanted) return;
  epoll_event event{.events = wanted, .data = {.u64 = id}};
  const int fd = conversation->connection().fd.get();
  if (::epoll_ctl(epoll, watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0) watched = wanted;
}

void DrainedAnswer::Shared::unwatch(int epoll) {
  if (watched == 0) return;
  epoll_event ignored{};
  ::epoll_ctl(epoll, EPOLL_CTL_DEL, conversation->connection().fd.get(), &ignored);
  watched = 0;
}

void DrainedAnswer::Shared::take_over(int epoll, Clock::time_point now) {
  state = State::drained;
  since = now;
  watch(epoll);
  // Where it cannot be watched, nothing is lost: the handler's thread reads on when its write is done.
  if (watched == 0) state = State::passing;
}

void DrainedAnswer::Shared::finish(int epoll) {
  state = State::over;
  unwatch(epoll);
}

void DrainedAnswer::Shared::be_late(int epoll, Conversation::Outcome outcome) {
  ending.input = {.outcome = outcome};
  finish(epoll);
  callbacks.on_late();
}

// Where the spool is full the worker waits for the client, not we for the worker: that is no time of the worker's.
void DrainedAnswer::Shared::pause(int epoll) {
  unwatch(epoll);
  if (!paused) paused = Clock::now();
}

void DrainedAnswer::Shared::resume(Clock::time_point now) {
  if (!paused) return;
  conversation->extend(now - *paused);
  since = now;
  paused.reset();
}

// What is spooled is no use to the client any more.
bool DrainedAnswer::Shared::is_cut() const {
  return state == State::over && (ending.input.outcome == Conversation::Outcome::timed_out ||
                                  ending.input.outcome == Conversation::Outcome::out_of_time);
}

void DrainedAnswer::Shared::pump(int epoll, std::span<std::byte> buffer) {
  for (int reads = 0; reads < reads_at_once && state == State::drained; ++reads) {
    if (spool.is_full()) return pause(epoll);
    const Conversation::Input input = conversation->receive_now(buffer);
    if (input.outcome == Conversation::Outcome::nothing) break;
    if (input.outcome != Conversation::Outcome::bytes) {
      ending.input = input;
      return finish(epoll);
    }
    since = Clock::now();
    feed(epoll, buffer.first(input.bytes));
  }
  if (state == State::drained) watch(epoll);
}

void DrainedAnswer::Shared::feed(int epoll, Bytes bytes) {
  for (;;) {
    const Exchange::Event event = conversation->exchange().next(bytes);
    switch (event.kind) {
      case Exchange::Kind::need_more:
        return;
      case Exchange::Kind::head:
        break;  // came before the first write
      case Exchange::Kind::body:
        if (const auto spooled = spool.append(event.bytes); !spooled) spool_error = spooled.error().what;
        break;
      case Exchange::Kind::error_text:
        if (error_text.size() + event.bytes.size() <= most_error_text_bytes) {
          error_text += as_text(event.bytes);
        } else {
          error_text_dropped += event.bytes.size();
        }
        break;
      case Exchange::Kind::ended:
        finish(epoll);
        ending.has_ended = true;
        ending.end = event.end;
        return callbacks.on_end();
      case Exchange::Kind::violation:
        ending.violation = event.why;
        return finish(epoll);
    }
  }
}

// False: it needs nobody to look at the clock.
bool DrainedAnswer::Shared::looks_after(int epoll, Clock::time_point now, Clock::duration patience) {
  switch (state) {
    case State::direct:
    case State::over:
      return false;
    case State::passing:
      if (now - since >= patience) take_over(epoll, now);
      return true;
    case State::drained:
      if (paused) return true;
      if (now - since >= idle_timeout) {
        be_late(epoll, Conversation::Outcome::timed_out);
      } else if (conversation->is_out_of_time(now)) {
        be_late(epoll, Conversation::Outcome::out_of_time);
      }
      return state == State::drained;
  }
  return false;
}

// ---- one answer, the handler's thread ----

DrainedAnswer::DrainedAnswer(Drainer& drainer, Conversation& conversation, std::chrono::milliseconds idle_timeout,
                             Callbacks callbacks)
    : shared_(std::make_shared<Shared>(conversation, idle_timeout, std::move(callbacks), drainer.settings_)),
      drainer_(&drainer) {}

DrainedAnswer::~DrainedAnswer() {
  retake();
  drainer_->remove(*shared_);
}

void DrainedAnswer::begin_pass() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->state = Shared::State::passing;
    shared_->since = Clock::now();
  }
  if (shared_->id == wake_up_id) drainer_->add(shared_);
  drainer_->wake_sleeper();
}

bool DrainedAnswer::end_pass() {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->state != Shared::State::passing) return false;
  shared_->state = Shared::State::direct;
  return true;
}

bool DrainedAnswer::is_taken_over() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->state == Shared::State::drained || shared_->state == Shared::State::over;
}

void DrainedAnswer::retake() {
  const std::lock_guard lock(shared_->mutex);
  shared_->unwatch(drainer_->epoll_.get());
  if (shared_->state == Shared::State::over) return;
  shared_->resume(Clock::now());
  shared_->state = Shared::State::direct;
}

DrainedAnswer::Portion DrainedAnswer::next() {
  Shared& shared = *shared_;
  const std::lock_guard lock(shared.mutex);
  Portion portion{.error_text = std::exchange(shared.error_text, {}),
                  .error_text_dropped = std::exchange(shared.error_text_dropped, 0),
                  .error = std::exchange(shared.spool_error, {})};
  const bool is_over = shared.state == Shared::State::over;
  if (!shared.spool.is_empty() && !shared.is_cut()) {
    if (is_over && shared.ending.has_ended) {
      if (auto rest = shared.spool.take_file()) {
        portion.kind = Portion::Kind::rest;
        portion.rest = *std::move(rest);
        return portion;
      }
    }
    auto taken = shared.spool.take();
    portion.kind = taken ? Portion::Kind::bytes : Portion::Kind::failed;
    if (taken) {
      portion.bytes = *std::move(taken);
    } else {
      portion.error = taken.error().what;
    }
    // There may be room again.
    if (!is_over && !shared.spool.is_full()) {
      shared.resume(Clock::now());
      shared.watch(drainer_->epoll_.get());
    }
    return portion;
  }
  if (!is_over) {
    shared.unwatch(drainer_->epoll_.get());
    shared.resume(Clock::now());
    shared.state = Shared::State::direct;
  }
  portion.kind = is_over ? Portion::Kind::over : Portion::Kind::retaken;
  return portion;
}

DrainedAnswer::Ending DrainedAnswer::ending() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->ending;
}

// ---- the thread ----

void Drainer::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_up_.get(), &one, sizeof one);  // full: it is awake
}

void Drainer::wake_sleeper() {
  if (is_asleep_.exchange(false)) wake();
}

void Drainer::start() {
  epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  wake_up_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  has_stopped_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event{.events = EPOLLIN, .data = {.u64 = wake_up_id}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_up_.get(), &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
  // httpd's signals are for httpd's threads.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // Never joined: it ends with the process, or when stop() says so.
  std::thread([this] { run(); }).detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Drainer::add(const SharedAnswer& answer) {
  std::call_once(started_, [this] { start(); });
  {
    const std::lock_guard lock(mutex_);
    answer->id = ++last_id_;
    answers_.emplace(answer->id, answer);
  }
  wake();
}

void Drainer::wait_for(LateRequest late) {
  std::call_once(started_, [this] { start(); });
  {
    const std::lock_guard lock(mutex_);
    late_.push_back(std::move(late));
  }
  wake_sleeper();
}

void Drainer::remove(const DrainedAnswer::Shared& answer) {
  if (answer.id == wake_up_id) return;
  const std::lock_guard lock(mutex_);
  answers_.erase(answer.id);
}

void Drainer::stop() {
  if (!epoll_) return;
  is_stopping_ = true;
  wake();
  pollfd stopped{.fd = has_stopped_.get(), .events = POLLIN, .revents = 0};
  std::uint64_t count = 0;
  if (::poll(&stopped, 1, static_cast<int>(std::chrono::milliseconds(stop_patience).count())) > 0) {
    [[maybe_unused]] const auto got = ::read(has_stopped_.get(), &count, sizeof count);
  }
}

void Drainer::handle(std::uint64_t id) {
  if (id == wake_up_id) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_up_.get(), &count, sizeof count);
    return;
  }
  SharedAnswer answer;
  {
    const std::lock_guard lock(mutex_);
    const auto found = answers_.find(id);
    if (found == answers_.end()) return;
    answer = found->second;
  }
  std::array<std::byte, input_bytes> buffer;
  const std::lock_guard lock(answer->mutex);
  if (answer->state != DrainedAnswer::Shared::State::drained) return;
  try {
    answer->pump(epoll_.get(), buffer);
  } catch (const std::bad_alloc&) {
    answer->ending.violation = "there is no memory for its answer";
    answer->finish(epoll_.get());
  }
}

// True: some must be looked at again before long.
bool Drainer::look_after_all() {
  std::vector<SharedAnswer> answers;
  const Clock::time_point now = Clock::now();
  bool has_any = false;
  {
    const std::lock_guard lock(mutex_);
    answers.reserve(answers_.size());
    for (const auto& [id, answer] : answers_) answers.push_back(answer);
    std::erase_if(late_, [now](LateRequest& late) { return late.settle(now); });
    has_any = !late_.empty();
  }
  for (const SharedAnswer& answer : answers) {
    const std::lock_guard lock(answer->mutex);
    if (answer->looks_after(epoll_.get(), now, settings_.patience)) has_any = true;
  }
  return has_any;
}

void Drainer::run() {
  std::array<epoll_event, 64> events;
  const auto tick = static_cast<int>(settings_.patience.count());
  while (!is_stopping_) {
    bool has_any = look_after_all();
    if (!has_any) {
      // begin_pass wakes whoever has said that it sleeps: said first, then looked once more.
      is_asleep_ = true;
      has_any = look_after_all();
      if (has_any) is_asleep_ = false;
    }
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), has_any ? tick : -1);
    is_asleep_ = false;
    for (int i = 0; i < count && !is_stopping_; ++i) handle(events[static_cast<std::size_t>(i)].data.u64);
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(has_stopped_.get(), &one, sizeof one);
}

}  // namespace cppfcgi
