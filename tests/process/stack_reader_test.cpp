// StackReader: stacks of living processes, whatever they do, which go on as before; and names for what crashed.
#include "mod_cppfcgi/manager/stack_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/process/worker_rig.h"

namespace cppfcgi::test {
namespace {

using testing::Contains;
using testing::Each;
using testing::EndsWith;
using testing::Field;
using testing::Gt;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

// "State", "TracerPid", "SigPnd" … of a thread.
std::string status_of(pid_t thread, const std::string& name) {
  std::ifstream file("/proc/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":\t")) return line.substr(name.size() + 2);
  }
  return "";
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> threads;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    threads.push_back(std::stoi(entry.path().filename()));
  }
  return threads;
}

std::string all_signs_of(pid_t pid) {
  std::string signs;
  for (const pid_t thread : threads_of(pid)) {
    signs += std::to_string(thread);
    for (const std::string name : {"State", "TracerPid", "SigPnd", "ShdPnd", "SigBlk"}) {
      signs += " " + status_of(thread, name);
    }
    signs += "\n";
  }
  return signs;
}

// The first word of what the kernel shows is the number of the system call that it is in.
bool waits_for_lock(pid_t thread) {
  std::ifstream file("/proc/" + std::to_string(thread) + "/syscall");
  std::string number;
  file >> number;
  return number == std::to_string(SYS_futex);
}

auto has_function(const std::string& name) { return Contains(Field(&Frame::function, HasSubstr(name))); }

class StackReading : public testing::Test {
 protected:
  // Starts a worker that comes to this state in this request, and its guard to that one.
  void bring_to(const std::string& how, const std::string& state, const std::string& guards_state) {
    rig_.start();
    client_.emplace(rig_.ask(how));
    EXPECT_TRUE(wait_until([&] {
      const auto threads = threads_of(pid());
      return threads.size() > 1 && status_of(threads.front(), "Name") == how &&
             status_of(threads.front(), "State").starts_with(state) &&
             status_of(threads.back(), "State").starts_with(guards_state);
    })) << how;
    // How far it has come with that shows in no state, but in its system call.
    EXPECT_TRUE(how == "spin" || how == "stop" || wait_until([this] { return waits_for_lock(pid()); }));
  }
  pid_t pid() { return rig_.worker().pid(); }

  WorkerRig rig_{"1"};
  std::optional<FastcgiClient> client_;
};

TEST_F(StackReading, ShowsWhereAThreadSpins) {
  bring_to("spin", "R", "S");
  const Stacks stacks = rig_.read_threads(pid());
  EXPECT_EQ(stacks.failure, "");
  ASSERT_THAT(stacks.threads, SizeIs(Gt(1u))) << "a sanitizer may have one of its own";
  EXPECT_EQ(stacks.threads[0].name, "spin");
  EXPECT_EQ(stacks.threads[0].state, "running");
  EXPECT_THAT(stacks.threads[0].frames, has_function("spin"));
  EXPECT_THAT(stacks.threads[0].frames, has_function("cppfcgi::Task::run"));
  EXPECT_THAT(stacks.threads.back().frames, has_function("cppfcgi::Guard::run"));
  EXPECT_TRUE(wait_until([this] { return status_of(pid(), "State").starts_with("R"); })) << "and spins on";
  EXPECT_EQ(status_of(pid(), "TracerPid"), "0");
}

TEST_F(StackReading, LeavesThreadsAsTheyWere) {
  for (const std::string how : {"deadlock", "deaf", "stop"}) {
    const std::string state = how == "stop" ? "T" : "S";
    bring_to(how, state, state);
    const std::string before = all_signs_of(pid());
    const Stacks stacks = rig_.read_threads(pid());
    EXPECT_EQ(stacks.failure, "");
    ASSERT_THAT(stacks.threads, SizeIs(Gt(1u)));
    EXPECT_THAT(stacks.threads[0].frames, has_function(how == "stop" ? "raise" : "deadlock"));
    EXPECT_EQ(stacks.threads[0].state, how == "stop" ? "stopped" : "sleeping");
    EXPECT_TRUE(wait_until([&] { return all_signs_of(pid()) == before; })) << before << "has become\n"
                                                                           << all_signs_of(pid());
    rig_.worker().kill();
    ASSERT_TRUE(rig_.ends());
  }
}

TEST_F(StackReading, LetsAStoppedProcessBeContinued) {
  bring_to("stop", "T", "T");
  rig_.read_threads(pid());
  EXPECT_EQ(status_of(pid(), "State"), "T (stopped)");
  kill(pid(), SIGCONT);
  EXPECT_THAT(client_->answer(1).out, EndsWith("fine\n"));
}

TEST_F(StackReading, DisturbsNoRequest) {
  rig_.start();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(rig_.read_threads(pid()).failure, "");
    EXPECT_THAT(rig_.ask("fine").answer(1).out, EndsWith("fine\n"));
  }
}

// The end of a process that is traced is its tracer's first: the manager must not wait for it for long.
TEST_F(StackReading, LetsAWorkerEndMeanwhile) {
  for (int i = 0; i < 10; ++i) {
    rig_.start();
    bool is_over = false;
    rig_.reader().read_threads(pid(), [&is_over](const Stacks&) { is_over = true; });
    rig_.worker().kill();
    const auto began = Clock::now();
    EXPECT_TRUE(rig_.ends());
    EXPECT_EQ(rig_.end().text, "killed by signal 9 SIGKILL");
    EXPECT_TRUE(rig_.turn_until([&] { return is_over; }));
    EXPECT_LT(Clock::now() - began, StackReader::max_reading + Milliseconds(1'000));
  }
}

TEST_F(StackReading, SaysThatThereIsNoSuchProcess) {
  EXPECT_THAT(rig_.read_threads(0x3fffff).failure, HasSubstr("No such"));
}

TEST_F(StackReading, SaysThatItMayNot) {
  rig_.start();
  ASSERT_EQ(ptrace(PTRACE_SEIZE, pid(), nullptr, nullptr), 0) << "another debugger is there";
  EXPECT_THAT(rig_.read_threads(pid()).failure, HasSubstr("Operation not permitted"));
}

TEST_F(StackReading, CallsNobodyOnceItIsCancelled) {
  rig_.start();
  bool is_called = false;
  const auto id = rig_.reader().read_threads(pid(), [&is_called](const Stacks&) { is_called = true; });
  rig_.reader().cancel(id);
  EXPECT_EQ(rig_.read_threads(pid()).failure, "") << "another one is read meanwhile";
  EXPECT_FALSE(is_called);
  rig_.reader().cancel(id);
}

// ---- crashes ----

TEST_F(StackReading, NamesNothingAfterAFileThatIsNotTheOne) {
  const std::string program = rig_.folder() / "crasher";
  std::filesystem::copy(product("tests/process/programs/crasher"), program);
  rig_.start({}, program);
  const FastcgiClient client = rig_.ask("segv");
  ASSERT_TRUE(rig_.ends());
  const auto record = rig_.end().record;
  ASSERT_TRUE(record);
  EXPECT_THAT(rig_.symbolise(*record).threads.at(0).frames, has_function("Cart::total"));
  const Fd old(open(program.c_str(), O_RDONLY | O_CLOEXEC));
  std::filesystem::remove(program);
  std::filesystem::copy(product("tests/process/programs/actor"), program);
  const Frames frames = rig_.symbolise(*record).threads.at(0).frames;
  ASSERT_THAT(frames, Not(IsEmpty()));
  EXPECT_EQ(frames[0].function, "");
  EXPECT_EQ(frames[0].module, program) << "the place is known all the same";
  EXPECT_NE(frames[0].offset, 0u);
  EXPECT_THAT(rig_.symbolise(*record, old.get()).threads.at(0).frames, has_function("Cart::total"))
      << "who still has the file may give it";
}

TEST_F(StackReading, AnswersAllInTimeWhereManyCrash) {
  const auto record = rig_.record_of("segv");
  ASSERT_TRUE(record);
  constexpr std::size_t many = 300;
  std::vector<Stacks> answers;
  const auto began = Clock::now();
  for (std::size_t i = 0; i < many; ++i) {
    rig_.reader().symbolise(*record, [&answers](const Stacks& stacks) { answers.push_back(stacks); });
  }
  EXPECT_TRUE(rig_.turn_until([&] { return answers.size() == many; }));
  EXPECT_LT(Clock::now() - began, StackReader::max_reading + Milliseconds(1'000));
  EXPECT_EQ(answers.front().failure, "");
  for (const Stacks& stacks : answers) {
    EXPECT_THAT(stacks.threads.at(0).frames, SizeIs(testing::Ge(record->frames.size())))
        << "the places of all are known";
  }
}

TEST_F(StackReading, BelievesNoPath) {
  const std::string pipe = rig_.folder() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  write_file(rig_.folder() / "short",
             "\x7f"
             "ELF");
  CrashRecord record{.signal = 11, .frames = {0x1000, 0x1001, ~std::uint64_t{0}, 0}};
  for (const std::string& path : {pipe, rig_.folder() / "short", std::string("/dev/zero"), std::string("/"),
                                  std::string("/nonexistent"), product("cppfcgi-manager")}) {
    record.modules.push_back({.start = 0x1000, .end = ~std::uint64_t{0}, .path = path});
  }
  const Stacks stacks = rig_.symbolise(record);
  EXPECT_EQ(stacks.failure, "");
  ASSERT_THAT(stacks.threads, SizeIs(1));
  EXPECT_THAT(stacks.threads[0].frames, SizeIs(4));
  EXPECT_THAT(stacks.threads[0].frames, Each(Field(&Frame::function, "")));
}

}  // namespace
}  // namespace cppfcgi::test
