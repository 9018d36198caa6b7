// WorkerRig: a worker that comes to grief when asked to (programs/crasher.cpp), started and watched as the manager does
// it, on the test's own loop; and what StackReader reads of it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/stack_reader.h"
#include "mod_cppfcgi/manager/worker.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/peer.h"

namespace cppfcgi {

inline void PrintTo(const Frame& frame, std::ostream* out) { *out << frame_lines({frame})[0]; }
inline void PrintTo(const ThreadStack& thread, std::ostream* out) {
  for (const std::string& line : stack_lines({.threads = {thread}, .failure = {}})) *out << line << '\n';
}

}  // namespace cppfcgi

namespace cppfcgi::test {

class WorkerRig {
 public:
  explicit WorkerRig(std::string threads) : threads_(std::move(threads)) {}
  ~WorkerRig() {
    if (!worker_ || has_exited_) return;
    worker_->kill();
    turn_until([this] { return has_exited_; });
  }
  WorkerRig(const WorkerRig&) = delete;
  WorkerRig& operator=(const WorkerRig&) = delete;

  // Another one, once the last has ended.
  void start(const std::vector<std::string>& more = {},
             const std::string& program = product("tests/process/programs/crasher"),
             const std::vector<std::string>& arguments = {}) {
    is_ready_ = has_exited_ = false;
    std::vector<std::string> environment = more;
    for (const std::string name : {"ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"}) {
      if (const char* const value = getenv(name.c_str())) environment.push_back(name + "=" + value);
    }
    auto worker =
        Worker::start(*loop_,
                      {.program = program,
                       .arguments = arguments.empty() ? std::vector{std::string("--threads"), threads_} : arguments,
                       .environment = environment,
                       .listener = socket_.get()},
                      callbacks());
    ASSERT_TRUE(worker) << worker.error().what;
    worker_ = *std::move(worker);
    worker_->launch();
    ASSERT_TRUE(turn_until([this] { return is_ready_; }));
  }

  // As a manager that was started after the worker.
  void adopt() {
    const pid_t pid = worker_->pid();
    const std::uint64_t start_time = worker_->start_time();
    worker_.reset();
    auto worker = Worker::adopt(*loop_, pid, start_time, callbacks());
    ASSERT_TRUE(worker) << worker.error().what;
    worker_ = *std::move(worker);
  }

  FastcgiClient ask(const std::string& how) {
    FastcgiClient client = FastcgiClient::to_unix(folder_ / "socket");
    client.request(1, get_params("/cart?" + how, {{"UNIQUE_ID", "abc"}, {"REMOTE_ADDR", "192.0.2.7"}}));
    return client;
  }

  bool ends() {
    return turn_until([this] { return has_exited_; });
  }
  Worker& worker() { return *worker_; }
  const Worker::End& end() const { return worker_->end(); }

  // What has been written down of the end that this request brings.
  std::optional<CrashRecord> record_of(const std::string& how) {
    start();
    const FastcgiClient client = ask(how);
    EXPECT_TRUE(ends());
    return end().record;
  }

  Stacks symbolise(const CrashRecord& record, int program = -1) {
    return await([&](auto callback) { reader().symbolise(record, callback, program); });
  }
  Stacks read_threads(pid_t pid) {
    return await([&](auto callback) { reader().read_threads(pid, callback); });
  }

  StackReader& reader() { return *reader_; }
  const TempFolder& folder() const { return folder_; }

  template <class Condition>
  bool turn_until(Condition condition, Milliseconds within = Milliseconds(10'000)) {
    const Deadline deadline(within);
    while (!condition() && !deadline.has_passed()) loop_->turn(Clock::now() + Milliseconds(deadline.left_ms()));
    return condition();
  }

 private:
  Worker::Callbacks callbacks() {
    return {.exited = [this] { has_exited_ = true; },
            .notified = [this] { is_ready_ = true; },
            .printed = [](std::string_view) {}};
  }

  template <class Ask>
  Stacks await(Ask ask) {
    std::optional<Stacks> stacks;
    ask([&stacks](const Stacks& read) { stacks = read; });
    EXPECT_FALSE(stacks) << "it calls back from the loop only";
    EXPECT_TRUE(turn_until([&] { return stacks.has_value(); }));
    return stacks.value_or(Stacks{});
  }

  std::string threads_;
  TempFolder folder_{"cppfcgi-worker-rig"};
  Fd socket_ = listen_on(folder_ / "socket");
  std::unique_ptr<Loop> loop_ = *Loop::make();
  std::unique_ptr<StackReader> reader_ = *StackReader::make(*loop_);
  bool is_ready_ = false;
  bool has_exited_ = false;
  std::unique_ptr<Worker> worker_;
};

}  // namespace cppfcgi::test
