#include "mod_cppfcgi/manager/stack_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "mod_cppfcgi/manager/process.h"
#include "mod_cppfcgi/manager/stack_symbols.h"

namespace cppfcgi {
namespace {

constexpr std::ptrdiff_t max_processes = 2;                   // that read at the same time
constexpr std::size_t max_text_bytes = std::size_t{4} << 20;  // of one reading
constexpr std::size_t read_bytes = 16'384;
constexpr unsigned last_alarm_seconds = 2;

using Clock = std::chrono::steady_clock;

// Of what the manager has open, copies would stay open with it.
void close_all_but(int one, int other) {
  unsigned next = STDERR_FILENO + 1;
  for (const int kept : {std::min(one, other), std::max(one, other)}) {
    if (kept < static_cast<int>(next)) continue;
    if (static_cast<unsigned>(kept) > next) close_range(next, static_cast<unsigned>(kept) - 1, 0);
    next = static_cast<unsigned>(kept) + 1;
  }
  close_range(next, ~0U, 0);
}

[[noreturn]] void become_reader(pid_t manager, int program, int out, const std::function<void(int, int)>& work) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  alarm(last_alarm_seconds);  // the manager may wait for the end of a worker that is traced here
  if (getppid() != manager) _exit(0);
  const rlimit none{};
  setrlimit(RLIMIT_CORE, &none);
  unsetenv("DEBUGINFOD_URLS");  // names are looked for on this machine
  close_all_but(program, out);
  work(program, out);
  _exit(0);
}

// How many of the record's addresses these frames, read in their order, stand for; a call put into its caller by the
// compiler has a frame of its own with its caller's address.
std::size_t count_read(const Frames& frames, const CrashRecord& record) {
  std::size_t count = 0;
  for (const Frame& frame : frames) {
    if (count < record.frames.size() && frame.address == record.frames[count]) ++count;
  }
  return count;
}

// What the reading did not come to stands there as the record itself knows it.
void fill_up(Stacks& stacks, const CrashRecord& record) {
  if (stacks.threads.empty()) stacks.threads.emplace_back();
  ThreadStack& thread = stacks.threads.front();
  thread.id = static_cast<std::int64_t>(record.thread);
  thread.name = record.thread_name;
  if (stacks.failure.empty()) return;
  const Frames raw = raw_frames(record);
  const auto read = static_cast<std::ptrdiff_t>(count_read(thread.frames, record));
  thread.frames.insert(thread.frames.end(), raw.begin() + read, raw.end());
}

}  // namespace

Result<std::unique_ptr<StackReader>> StackReader::make(Loop& loop) {
  std::unique_ptr<StackReader> reader(new StackReader(loop));
  reader->timer_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!reader->timer_) return posix_error("timerfd", errno);
  auto watching = loop.watch(reader->timer_.get(), EPOLLIN, [self = reader.get()](std::uint32_t) { self->on_timer(); });
  if (!watching) return watching.error();
  reader->timer_watch_ = *std::move(watching);
  return reader;
}

StackReader::~StackReader() {
  for (Reading& reading : readings_) end_process(reading);
}

std::uint64_t StackReader::symbolise(const CrashRecord& record, Callback callback, int program) {
  return add({.work = [record](int file, int out) { write_symbols(record, file, out); },
              .callback = std::move(callback),
              .record = record,
              .program = Fd(program < 0 ? -1 : fcntl(program, F_DUPFD_CLOEXEC, STDERR_FILENO + 1))});
}

std::uint64_t StackReader::read_threads(pid_t pid, Callback callback) {
  return add({.work = [pid](int, int out) { write_threads(pid, out); }, .callback = std::move(callback)});
}

std::uint64_t StackReader::add(Reading reading) {
  reading.id = ++last_id_;
  reading.until = Clock::now() + max_reading;
  readings_.push_back(std::move(reading));
  start_next();
  return last_id_;
}

void StackReader::cancel(std::uint64_t id) {
  const Place place = find(id);
  if (place == readings_.end()) return;
  end_process(*place);
  readings_.erase(place);
  start_next();
}

StackReader::Place StackReader::find(std::uint64_t id) {
  return std::find_if(readings_.begin(), readings_.end(), [id](const Reading& reading) { return reading.id == id; });
}

void StackReader::start_next() {
  auto running = std::count_if(readings_.begin(), readings_.end(), [](const Reading& each) { return each.pid != 0; });
  for (Reading& reading : readings_) {
    if (running >= max_processes) break;
    if (reading.pid != 0 || !reading.work || reading.until <= Clock::now()) continue;
    if (const auto started = start(reading); started) {
      ++running;
    } else {
      reading.text = encode_end(started.error().what);
      reading.until = Clock::now();  // the timer tells it
    }
    reading.work = nullptr;
  }
  set_timer();
}

Result<void> StackReader::start(Reading& reading) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return posix_error("pipe", errno);
  reading.out.reset(ends[0]);
  const Fd theirs(ends[1]);
  if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) return posix_error("pipe", errno);
  auto watching = loop_.watch(ends[0], EPOLLIN, [this, id = reading.id](std::uint32_t) { receive(*find(id)); });
  if (!watching) return watching.error();
  const pid_t manager = getpid();
  const pid_t pid = fork();
  if (pid < 0) return posix_error("fork", errno);
  if (pid == 0) become_reader(manager, reading.program.get(), theirs.get(), reading.work);
  reading.pid = pid;
  reading.pidfd = open_pidfd(pid);
  reading.watch = *std::move(watching);
  return {};
}

void StackReader::receive(Reading& reading) {
  std::array<char, read_bytes> bytes;
  const ssize_t got = read(reading.out.get(), bytes.data(), bytes.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0 && reading.text.size() < max_text_bytes) {
    reading.text.append(bytes.data(), static_cast<std::size_t>(got));
    return;
  }
  finish(find(reading.id));
}

void StackReader::finish(Place place) {
  end_process(*place);
  Stacks stacks = decode_stacks(place->text);
  if (place->record) fill_up(stacks, *place->record);
  const Callback callback = std::move(place->callback);
  readings_.erase(place);
  start_next();
  callback(stacks);
}

// Whoever waits for all children may have reaped it already, or does it later: the manager waits for nobody here.
void StackReader::end_process(Reading& reading) {
  reading.watch.reset();
  if (reading.pid == 0) return;
  if (reading.pidfd) {
    send_signal(reading.pidfd, SIGKILL);
    siginfo_t ignored{};
    waitid(P_PIDFD, static_cast<id_t>(reading.pidfd.get()), &ignored, WEXITED | WNOHANG);
  }
  reading.pid = 0;
}

void StackReader::set_timer() {
  itimerspec when{};
  if (!readings_.empty()) {
    const auto first = std::min_element(readings_.begin(), readings_.end(),
                                        [](const Reading& a, const Reading& b) { return a.until < b.until; });
    const auto left = std::max<std::chrono::nanoseconds>(first->until - Clock::now(), std::chrono::nanoseconds(1));
    when.it_value = {.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
  }
  timerfd_settime(timer_.get(), 0, &when, nullptr);
}

void StackReader::on_timer() {
  std::uint64_t times = 0;
  if (read(timer_.get(), &times, sizeof times) < 0) return;
  const auto now = Clock::now();
  const Place due =
      std::find_if(readings_.begin(), readings_.end(), [now](const Reading& reading) { return reading.until <= now; });
  if (due == readings_.end()) return set_timer();
  finish(due);  // and the timer is set for the next, which may be due as well
}

}  // namespace cppfcgi
