// How a worker's end is written down: the library's recorder, what the manager's Worker makes of it, and the names that
// StackReader finds. With a real worker and the manager's own parts, but no manager.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>

#include "mod_cppfcgi/manager/crash_text.h"
#include "mod_cppfcgi/manager/process.h"
#include "tests/process/worker_rig.h"

namespace cppfcgi::test {
namespace {

using testing::Contains;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class Crash : public testing::TestWithParam<std::string> {
 protected:
  Frames symbolised(const CrashRecord& record) {
    const Stacks stacks = rig_.symbolise(record);
    EXPECT_EQ(stacks.failure, "");
    return stacks.threads.at(0).frames;
  }

  WorkerRig rig_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Threads, Crash, testing::Values("1", "4"), [](const auto& test) { return test.param; });

TEST_P(Crash, IsWrittenDownWithItsRequestAndFunction) {
  const auto record = rig_.record_of("segv");
  ASSERT_TRUE(record);
  EXPECT_EQ(rig_.end().text, "killed by signal 11 SIGSEGV") << "it dies of what it would have died of";
  EXPECT_TRUE(record->is_whole);
  EXPECT_EQ(record->client, "192.0.2.7");
  const Frames frames = symbolised(*record);
  EXPECT_EQ(top_function(frames), "(anonymous namespace)::touch_nothing");
  EXPECT_EQ(cause(*record, frames),
            "SIGSEGV at 0x0 in (anonymous namespace)::touch_nothing, request abc GET /cart?segv");
  EXPECT_THAT(frame_lines(frames), Contains(HasSubstr("Cart::total(")));
  EXPECT_THAT(frame_lines(frames)[0], HasSubstr("() at crasher.cpp:"));
  EXPECT_THAT(frame_lines(frames)[0], HasSubstr(" (crasher+0x"));
  EXPECT_THAT(rig_.end().usage, StartsWith("used "));
}

TEST_P(Crash, IsWrittenDownHoweverItComes) {
  const std::vector<std::array<std::string, 3>> ways = {
      {"overflow", "killed by signal 11 SIGSEGV", " (stack overflow) in (anonymous namespace)::overflow, request abc"},
      {"abort", "killed by signal 6 SIGABRT", "SIGABRT in (anonymous namespace)::Cart::total, request abc"},
      {"bus", "killed by signal 7 SIGBUS", " in (anonymous namespace)::touch_beyond_end, request abc"},
      {"jump", "killed by signal 11 SIGSEGV", "SIGSEGV at 0x0 in (anonymous namespace)::jump_nowhere, request abc"},
      {"trap", "killed by signal 4 SIGILL", " in (anonymous namespace)::Cart::total, request abc"},
      {"uncaught", "killed by signal 6 SIGABRT",
       "SIGABRT in (anonymous namespace)::find_item (nobody caught std::runtime_error: no such?item), request abc"}};
  for (const auto& [how, end, text] : ways) {
    const auto record = rig_.record_of(how);
    ASSERT_TRUE(record) << how;
    EXPECT_EQ(rig_.end().text, end);
    EXPECT_TRUE(record->is_whole) << how;
    EXPECT_THAT(cause(*record, symbolised(*record)), HasSubstr(text));
  }
}

TEST_P(Crash, ExitInAHandlerIsWrittenDown) {
  const auto record = rig_.record_of("exit=3");
  ASSERT_TRUE(record);
  EXPECT_EQ(rig_.end().text, "exit 3");
  EXPECT_EQ(cause(*record, {}), "called exit(3) in request abc GET /cart?exit=3");
}

TEST_P(Crash, OfAThreadThatServesNoRequestIsWrittenDown) {
  const auto record = rig_.record_of("helper");
  ASSERT_TRUE(record);
  EXPECT_EQ(cause(*record, symbolised(*record)), "SIGSEGV at 0x0 in (anonymous namespace)::touch_nothing");
}

TEST_P(Crash, KilledLeavesNoRecord) {
  rig_.start();
  rig_.worker().kill();
  ASSERT_TRUE(rig_.ends());
  EXPECT_FALSE(rig_.end().record);
  EXPECT_EQ(rig_.end().text, "killed by signal 9 SIGKILL");
}

TEST_P(Crash, OrderlyEndLeavesNoRecord) {
  rig_.start();
  rig_.worker().terminate();
  ASSERT_TRUE(rig_.ends());
  EXPECT_FALSE(rig_.end().record);
  EXPECT_EQ(rig_.end().text, "exit 0");
}

TEST_P(Crash, OfAForkedChildIsNotTheWorkers) {
  rig_.start();
  FastcgiClient client = rig_.ask("child");
  EXPECT_THAT(client.answer(1).out, EndsWith("fine\n"));
  rig_.worker().terminate();
  ASSERT_TRUE(rig_.ends());
  EXPECT_FALSE(rig_.end().record);
}

TEST_P(Crash, HandlerOfTheApplicationStays) {
  rig_.start({"CRASHER_HANDLES=1"});
  const FastcgiClient client = rig_.ask("segv");
  ASSERT_TRUE(rig_.ends());
  EXPECT_EQ(rig_.end().text, "exit 42");
  EXPECT_FALSE(rig_.end().record);
}

TEST_P(Crash, DoesNotWaitForAManagerThatDoesNotRead) {
  rig_.start();
  const pid_t pid = rig_.worker().pid();
  {
    const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(notify_fd);
    const Fd pipe(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    while (write(pipe.get(), "x", 1) == 1) {
    }
    ASSERT_EQ(errno, EAGAIN) << "it is full";
  }
  const FastcgiClient client = rig_.ask("segv");
  EXPECT_TRUE(wait_until([&] { return has_ended(rig_.worker().pidfd()); }, Milliseconds(5'000)));
  ASSERT_TRUE(rig_.ends());
  EXPECT_EQ(rig_.end().text, "killed by signal 11 SIGSEGV");
  EXPECT_FALSE(rig_.end().record);
}

TEST_P(Crash, OfAnAdoptedWorkerIsWrittenDown) {
  rig_.start();
  rig_.adopt();
  const FastcgiClient client = rig_.ask("segv");
  ASSERT_TRUE(rig_.ends());
  ASSERT_TRUE(rig_.end().record);
  EXPECT_TRUE(rig_.end().record->is_whole);
  EXPECT_EQ(rig_.end().record->uri, "/cart?segv");
  EXPECT_EQ(rig_.end().usage, "") << "its parent alone could know";
  EXPECT_EQ(waitpid(rig_.worker().pid(), nullptr, 0), rig_.worker().pid());
}

// Such a program's descriptor 3 may be anything by then.
TEST(CrashOfAForeignProgram, LeavesItsDescriptorsAloneWhenItIsAdopted) {
  WorkerRig rig("1");
  rig.start({}, product("tests/process/programs/actor"), {"notify", "stay"});
  rig.adopt();
  const auto pipe = std::filesystem::read_symlink("/proc/" + std::to_string(rig.worker().pid()) + "/fd/3");
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    EXPECT_NE(std::filesystem::read_symlink(entry.path(), gone), pipe);
  }
  rig.worker().kill();
  ASSERT_TRUE(rig.ends());
  EXPECT_EQ(waitpid(rig.worker().pid(), nullptr, 0), rig.worker().pid());
}

TEST(CrashOfTwoThreads, IsWrittenDownOnce) {
  WorkerRig rig("2");
  rig.start();
  const FastcgiClient first = rig.ask("together");
  const FastcgiClient second = rig.ask("together");
  ASSERT_TRUE(rig.ends());
  EXPECT_EQ(rig.end().text, "killed by signal 11 SIGSEGV");
  ASSERT_TRUE(rig.end().record);
  EXPECT_TRUE(rig.end().record->is_whole);
  EXPECT_EQ(rig.end().record->frames.front(), rig.end().record->pc);
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
