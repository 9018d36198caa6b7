// What a worker is given, and what becomes of what it prints.
#include <gtest/gtest.h>

#include <sstream>

#include "tests/process/manager_rig.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> reported(const std::string& file, const std::string& kind) {
  std::istringstream text(read_file(file));
  std::vector<std::string> all;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with(kind + " ")) all.push_back(line.substr(kind.size() + 1));
  }
  return all;
}

using Texts = std::vector<std::string>;

// A sanitizer's runtime takes the soft limit of core dumps from the program that it is in, and maps terabytes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr const char* core_limit = "0 4096";
constexpr bool needs_all_memory = true;
#else
constexpr const char* core_limit = "4096 4096";
constexpr bool needs_all_memory = false;
#endif

class WorkerStart : public testing::Test {
 protected:
  void run(const Script& script, int priority = 0) {
    pool_ = rig_.pool(script);
    pool_.priority = priority;
    rig_.configure({pool_});
    ASSERT_TRUE(rig_.is_ready(pool_));
  }
  std::string line_of(const std::string& text) const {
    return "worker 0 (pid " + std::to_string(rig_.pid(pool_)) + ") of pool /actor: " + text;
  }

  ManagerRig rig_;
  PoolConfig pool_;
  std::string file_ = rig_.folder() / "report";
};

TEST_F(WorkerStart, GivesItsSocketTwoPipesAndTheNotifyPipeAndNothingElse) {
  run({"report", file_, "answer", "1"});
  EXPECT_EQ(reported(file_, "descriptor"), (Texts{"0", "1", "2", "3"}));
  EXPECT_EQ(reported(file_, "variable"), (Texts{"PATH=/usr/bin:/bin", "CPPFCGI_NOTIFY_FD=3"}));
  EXPECT_EQ(reported(file_, "argument"), (Texts{pool_.program, "report", file_, "answer", "1"}));
}

TEST_F(WorkerStart, GivesNoSignalsBlockedOrIgnoredASessionOfItsOwnAndTheProgramsFolder) {
  run({"report", file_, "answer", "1"});
  EXPECT_EQ(reported(file_, "blocked"), Texts{});
  EXPECT_EQ(reported(file_, "ignored"), Texts{});
  EXPECT_EQ(reported(file_, "leads"), Texts{"its session 1"});
  EXPECT_EQ(reported(file_, "folder"), Texts{std::filesystem::path(pool_.program).parent_path()});
}

TEST_F(WorkerStart, GivesThePriorityThatWasAskedFor) {
  run({"report", file_, "answer", "1"}, 5);
  EXPECT_EQ(reported(file_, "nice"), Texts{"5"});
}

TEST_F(WorkerStart, GivesTheFolderTheUmaskAndTheLimitsThatWereAskedFor) {
  pool_ = rig_.pool({"report", file_, "answer", "1"});
  pool_.folder = "/usr/share";
  pool_.umask = 027;
  pool_.limits = {.open_files = 64, .cpu_seconds = 600, .core_bytes = 4'096};
  rig_.configure({pool_});
  ASSERT_TRUE(rig_.is_ready(pool_));
  EXPECT_EQ(reported(file_, "folder"), Texts{"/usr/share"});
  EXPECT_EQ(reported(file_, "umask"), Texts{"27"});
  EXPECT_EQ(reported(file_, "nofile"), Texts{"64 64"});
  EXPECT_EQ(reported(file_, "cpu"), Texts{"600 605"});
  EXPECT_EQ(reported(file_, "core"), Texts{core_limit});
}

TEST_F(WorkerStart, GivesNoMoreMemoryThanWasAskedFor) {
  if (needs_all_memory) GTEST_SKIP() << "a sanitizer's program does not run with a limit";
  pool_ = rig_.pool({"report", file_, "answer", "1"});
  pool_.limits.address_space_bytes = std::uint64_t{1} << 30;
  rig_.configure({pool_});
  ASSERT_TRUE(rig_.is_ready(pool_));
  EXPECT_EQ(reported(file_, "as"), Texts{"1073741824 1073741824"});
}

TEST_F(WorkerStart, SaysWhichLimitCannotBeGiven) {
  pool_ = rig_.pool({"answer", "1"});
  pool_.limits.open_files = std::uint64_t{1} << 40;
  rig_.configure({pool_});
  EXPECT_TRUE(rig_.logs("died before it was ready: set the limits (-rlimit-...): Operation not permitted"));
  rig_.allow("workers keep dying");
}

TEST_F(WorkerStart, EndsAWorkerThatUsesUpItsTimeOfCpuAndStartsAnother) {
  pool_ = rig_.pool({"answer-times", "1", "1", "spin"});
  pool_.limits.cpu_seconds = 1;
  rig_.configure({pool_});
  EXPECT_TRUE(rig_.logs("SIGXCPU", 20s));
}

TEST_F(WorkerStart, LogsWhatItPrintsLineByLineWithPoolAndPid) {
  run({"print", "on stdout\nand again", "complain", "on stderr \x1b[31m", "answer", "1"});
  EXPECT_TRUE(rig_.logs(line_of("on stdout")));
  EXPECT_TRUE(rig_.logs(line_of("and again")));
  EXPECT_TRUE(rig_.logs(line_of("on stderr \\x1b[31m")));
}

TEST_F(WorkerStart, LogsTheLastLineOfAWorkerThatDiesThoughItHasNoEnd) {
  pool_ = rig_.pool({"mumble", "last words", "exit", "3"});
  rig_.configure({pool_});
  EXPECT_TRUE(rig_.logs("of pool /actor: last words"));
  rig_.allow("died before it was ready: exit 3");
  rig_.allow("workers keep dying");
}

TEST_F(WorkerStart, CutsLongLinesInPieces) {
  run({"print", std::string(20'000, 'x'), "answer", "1"});
  EXPECT_TRUE(rig_.logs(line_of(std::string(8'192, 'x') + "\n")));
  EXPECT_TRUE(rig_.logs(line_of(std::string(20'000 - 2 * 8'192, 'x') + "\n")));
}

TEST_F(WorkerStart, GoesOnWithOthersWhileOneFloodsTheLog) {
  PoolConfig flooding = rig_.pool({"flood", "20000000", "answer", "1"});
  flooding.ready_timeout = 60s;
  pool_ = rig_.pool({"answer", "1"});
  rig_.configure({flooding, pool_});
  ASSERT_TRUE(rig_.is_ready(pool_));
  EXPECT_EQ(rig_.configure({flooding, pool_}).kind, MessageKind::configured);
  EXPECT_TRUE(rig_.is_ready(flooding, 30s));
  EXPECT_EQ(rig_.count_in_log("of pool /actor: xxx"), 200'000u);
}

}  // namespace
}  // namespace cppfcgi::test
