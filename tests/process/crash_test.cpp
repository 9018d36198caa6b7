// How a worker's end is written down: the library's recorder, what the manager's Worker makes of it, and the names that
// StackReader finds. With a real worker (programs/crasher.cpp) and the manager's own loop, but no manager.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <csignal>

#include "mod_cppfcgi/manager/crash_text.h"
#include "mod_cppfcgi/manager/stack_reader.h"
#include "mod_cppfcgi/manager/worker.h"
#include "tests/support/fastcgi_client.h"
#include "tests/support/peer.h"

namespace cppfcgi::test {
namespace {

using testing::Contains;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class Crash : public testing::TestWithParam<std::string> {
 protected:
  void start(const std::vector<std::string>& environment = {}) {
    is_ready_ = has_exited_ = false;
    std::vector<std::string> all = environment;
    for (const char* const name : {"ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"}) {
      if (const char* const value = getenv(name)) all.push_back(std::string(name) + "=" + value);
    }
    auto worker = Worker::start(*loop_,
                                {.program = product("tests/process/programs/crasher"),
                                 .arguments = {"--threads", GetParam()},
                                 .environment = all,
                                 .listener = socket_.get()},
                                {.exited = [this] { has_exited_ = true; },
                                 .notified = [this] { is_ready_ = true; },
                                 .printed = [](std::string_view) {}});
    ASSERT_TRUE(worker) << worker.error().what;
    worker_ = *std::move(worker);
    worker_->launch();
    ASSERT_TRUE(turn_until([this] { return is_ready_; }));
  }

  template <class Condition>
  bool turn_until(Condition condition, Milliseconds within = Milliseconds(10'000)) {
    const Deadline deadline(within);
    while (!condition() && !deadline.has_passed()) loop_->turn(Clock::now() + Milliseconds(deadline.left_ms()));
    return condition();
  }

  FastcgiClient ask(const std::string& how) {
    FastcgiClient client = FastcgiClient::to_unix(folder_ / "socket");
    client.request(1, get_params("/cart?" + how, {{"UNIQUE_ID", "abc"}, {"REMOTE_ADDR", "192.0.2.7"}}));
    return client;
  }

  // What has been written down of the end that this request brings.
  std::optional<CrashRecord> record_of(const std::string& how) {
    start();
    const FastcgiClient client = ask(how);
    EXPECT_TRUE(turn_until([this] { return has_exited_; })) << "it ends";
    return worker_->end().record;
  }

  Frames symbolised(const CrashRecord& record) {
    auto reader = StackReader::make(*loop_);
    std::optional<Stacks> stacks;
    (*reader)->symbolise(record, [&stacks](const Stacks& read) { stacks = read; });
    EXPECT_TRUE(turn_until([&] { return stacks.has_value(); }));
    EXPECT_EQ(stacks->failure, "");
    return stacks->threads.at(0).frames;
  }

  TempFolder folder_{"cppfcgi-crash"};
  Fd socket_ = listen_on(folder_ / "socket");
  std::unique_ptr<Loop> loop_ = *Loop::make();
  bool is_ready_ = false;
  bool has_exited_ = false;
  std::unique_ptr<Worker> worker_;
};

INSTANTIATE_TEST_SUITE_P(Threads, Crash, testing::Values("1", "4"), [](const auto& test) { return test.param; });

TEST_P(Crash, IsWrittenDownWithItsRequestAndFunction) {
  const auto record = record_of("segv");
  ASSERT_TRUE(record);
  EXPECT_EQ(worker_->end().text, "killed by signal 11 SIGSEGV") << "it dies of what it would have died of";
  EXPECT_TRUE(record->is_whole);
  EXPECT_EQ(record->client, "192.0.2.7");
  const Frames frames = symbolised(*record);
  EXPECT_EQ(top_function(frames), "(anonymous namespace)::touch_nothing");
  EXPECT_EQ(cause(*record, frames),
            "SIGSEGV at 0x0 in (anonymous namespace)::touch_nothing, request abc GET /cart?segv");
  EXPECT_THAT(frame_lines(frames), Contains(HasSubstr("Cart::total(")));
  EXPECT_THAT(frame_lines(frames)[0], HasSubstr("() at crasher.cpp:"));
  EXPECT_THAT(frame_lines(frames)[0], HasSubstr(" (crasher+0x"));
  EXPECT_THAT(worker_->end().usage, StartsWith("used "));
}

TEST_P(Crash, IsWrittenDownHoweverItComes) {
  const std::vector<std::array<std::string, 3>> ways = {
      {"overflow", "killed by signal 11 SIGSEGV", " (stack overflow) in (anonymous namespace)::overflow, request abc"},
      {"abort", "killed by signal 6 SIGABRT", "SIGABRT in (anonymous namespace)::Cart::total, request abc"},
      {"bus", "killed by signal 7 SIGBUS", " in (anonymous namespace)::touch_beyond_end, request abc"},
      {"jump", "killed by signal 11 SIGSEGV", "SIGSEGV at 0x0 in (anonymous namespace)::Cart::total, request abc"},
      {"trap", "killed by signal 4 SIGILL", " in (anonymous namespace)::Cart::total, request abc"},
      {"uncaught", "killed by signal 6 SIGABRT",
       "SIGABRT in (anonymous namespace)::find_item (nobody caught std::runtime_error: no such?item), request abc"}};
  for (const auto& [how, end, text] : ways) {
    const auto record = record_of(how);
    ASSERT_TRUE(record) << how;
    EXPECT_EQ(worker_->end().text, end);
    EXPECT_TRUE(record->is_whole) << how;
    EXPECT_THAT(cause(*record, symbolised(*record)), HasSubstr(text));
  }
}

TEST_P(Crash, ExitInAHandlerIsWrittenDown) {
  const auto record = record_of("exit=3");
  ASSERT_TRUE(record);
  EXPECT_EQ(worker_->end().text, "exit 3");
  EXPECT_EQ(cause(*record, {}), "called exit(3) in request abc GET /cart?exit=3");
}

TEST_P(Crash, OfAThreadThatServesNoRequestIsWrittenDown) {
  const auto record = record_of("helper");
  ASSERT_TRUE(record);
  EXPECT_EQ(cause(*record, symbolised(*record)), "SIGSEGV at 0x0 in (anonymous namespace)::touch_nothing");
}

TEST_P(Crash, KilledLeavesNoRecord) {
  start();
  worker_->kill();
  ASSERT_TRUE(turn_until([this] { return has_exited_; }));
  EXPECT_FALSE(worker_->end().record);
  EXPECT_EQ(worker_->end().text, "killed by signal 9 SIGKILL");
}

TEST_P(Crash, OrderlyEndLeavesNoRecord) {
  start();
  worker_->terminate();
  ASSERT_TRUE(turn_until([this] { return has_exited_; }));
  EXPECT_FALSE(worker_->end().record);
  EXPECT_EQ(worker_->end().text, "exit 0");
}

TEST_P(Crash, OfAForkedChildIsNotTheWorkers) {
  start();
  FastcgiClient client = ask("child");
  EXPECT_THAT(client.answer(1).out, EndsWith("fine\n"));
  worker_->terminate();
  ASSERT_TRUE(turn_until([this] { return has_exited_; }));
  EXPECT_FALSE(worker_->end().record);
}

TEST_P(Crash, HandlerOfTheApplicationStays) {
  start({"CRASHER_HANDLES=1"});
  const FastcgiClient client = ask("segv");
  ASSERT_TRUE(turn_until([this] { return has_exited_; }));
  EXPECT_EQ(worker_->end().text, "exit 42");
  EXPECT_FALSE(worker_->end().record);
}

TEST_P(Crash, OfTwoThreadsAtOnceIsWrittenDownOnce) {
  if (GetParam() == "1") GTEST_SKIP() << "one request at a time";
  start();
  const FastcgiClient first = ask("together");
  const FastcgiClient second = ask("together");
  ASSERT_TRUE(turn_until([this] { return has_exited_; }));
  EXPECT_EQ(worker_->end().text, "killed by signal 11 SIGSEGV");
  ASSERT_TRUE(worker_->end().record);
  EXPECT_TRUE(worker_->end().record->is_whole);
  EXPECT_EQ(worker_->end().record->frames.front(), worker_->end().record->pc);
}

TEST_P(Crash, IsPrintedWhereNobodyTakesARecord) {
  WorkerProcess worker({.command = {product("tests/process/programs/crasher"), "--threads", GetParam()}});
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/cart?segv", {{"UNIQUE_ID", "abc"}}));
  const auto status = worker.process().wait();
  ASSERT_TRUE(status);
  EXPECT_TRUE(WIFSIGNALED(*status) && WTERMSIG(*status) == SIGSEGV);
  EXPECT_THAT(worker.output(), StartsWith("cppfcgi: crashed: SIGSEGV at 0x0\n"
                                          "cppfcgi: in request abc GET /cart?segv"));
  EXPECT_THAT(worker.output(), HasSubstr("/crasher+0x"));
}

}  // namespace
}  // namespace cppfcgi::test
