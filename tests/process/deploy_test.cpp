// Deploys: a new program in the old one's place is tried in one worker first, and takes over or is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "tests/process/manager_rig.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using Pids = std::vector<pid_t>;

// A pool of a program that is a file of the test's own, and the programs that take its place.
class Deploy : public testing::Test {
 protected:
  // Scripts, so that each can do something else; what they run is the actor.
  std::string script(const std::string& words) const {
    return "#!/bin/sh\nexec " + product("tests/process/programs/actor") + " " + words + "\n";
  }
  void install(const std::string& words) const {
    const std::string fresh = program_ + ".new";
    write_file(fresh, script(words));
    fs::permissions(fresh, fs::perms(0755));
    fs::rename(fresh, program_);
  }
  // A binary of its own inode.
  void install_binary() const {
    const std::string fresh = program_ + ".new";
    fs::copy_file(product("tests/process/programs/actor"), fresh);
    fs::rename(fresh, program_);
  }
  PoolConfig pool(std::uint32_t processes, const Script& arguments = {}) {
    PoolConfig pool = rig_.pool(arguments, processes);
    pool.program = program_;
    pool.follows_program = true;
    return pool;
  }
  Pids start(const PoolConfig& pool) {
    rig_.configure({pool});
    EXPECT_TRUE(rig_.is_ready(pool)) << rig_.log();
    return rig_.serving(pool);
  }
  bool are_replaced(const PoolConfig& pool, const Pids& old) {
    return wait_until([&] {
      const Pids serving = rig_.serving(pool);
      return serving.size() == pool.processes && rig_.living(pool) == pool.processes &&
             std::none_of(serving.begin(), serving.end(),
                          [&](pid_t pid) { return std::find(old.begin(), old.end(), pid) != old.end(); });
    });
  }
  static void kill_worker(pid_t pid) {
    ASSERT_GT(pid, 1);
    kill(pid, SIGKILL);
  }

  ManagerRig rig_;
  std::string program_ = rig_.folder() / "app";
};

TEST_F(Deploy, ReplacesAllWorkersOneAfterTheOther) {
  install("answer 1");
  const PoolConfig pool = this->pool(3);
  const Pids workers = start(pool);
  install("answer 2");
  ASSERT_TRUE(are_replaced(pool, workers)) << rig_.log();
  for (std::uint32_t index = 0; index <= 3; ++index) {
    if (rig_.state(pool, index).phase == Phase::ready) {
      EXPECT_EQ(rig_.state(pool, index).capacity, 2);
    }
  }
  EXPECT_TRUE(rig_.logs("the new program is in force"));
}

TEST_F(Deploy, ReplacesABinaryToo) {
  install_binary();
  const PoolConfig pool = this->pool(2, {"answer", "1"});
  const Pids workers = start(pool);
  install_binary();
  EXPECT_TRUE(are_replaced(pool, workers)) << rig_.log();
}

TEST_F(Deploy, RefusesAProgramThatDiesAndStartsTheOldOneAfterACrash) {
  install_binary();
  const PoolConfig pool = this->pool(2, {"answer", "1"});
  const Pids workers = start(pool);
  install("exit 3");
  ASSERT_TRUE(rig_.logs("the new program is refused: worker 2 (pid"));
  EXPECT_GT(rig_.count_in_log("died before it was ready: exit 3; the old one goes on"), 0u);
  EXPECT_EQ(rig_.serving(pool), workers);
  kill_worker(workers[0]);
  EXPECT_TRUE(rig_.logs("crashed: killed by signal 9 SIGKILL; replaced by pid"));
  ASSERT_TRUE(wait_until([&] { return rig_.serving(pool).size() == 2; })) << "the old program, though its file is gone";
  EXPECT_EQ(rig_.count_in_log("is refused"), 1u) << "tried once";
}

TEST_F(Deploy, KeepsAnOldScriptAsWell) {
  install("answer 5");
  const PoolConfig pool = this->pool(1);
  const Pids workers = start(pool);
  install("exit 3");
  ASSERT_TRUE(rig_.logs("the new program is refused"));
  kill_worker(workers[0]);
  EXPECT_TRUE(rig_.logs("crashed: killed by signal 9 SIGKILL; replaced by pid"));
  ASSERT_TRUE(wait_until([&] { return rig_.serving(pool).size() == 1; })) << rig_.log();
  EXPECT_EQ(rig_.state(pool).capacity, 5);
}

TEST_F(Deploy, TriesAgainWhenTheFileHasChangedAgain) {
  install("answer 1");
  const PoolConfig pool = this->pool(2);
  const Pids workers = start(pool);
  install("exit 3");
  ASSERT_TRUE(rig_.logs("the new program is refused"));
  install("answer 2");
  EXPECT_TRUE(are_replaced(pool, workers)) << rig_.log();
}

TEST_F(Deploy, RefusesAProgramThatMayNotBeRunUntilItMay) {
  install("answer 1");
  const PoolConfig pool = this->pool(1);
  const Pids workers = start(pool);
  write_file(program_ + ".new", script("answer 2"));
  fs::permissions(program_ + ".new", fs::perms(0644));
  fs::rename(program_ + ".new", program_);
  ASSERT_TRUE(rig_.logs("Permission denied; the old one goes on"));
  fs::permissions(program_, fs::perms(0755));
  EXPECT_TRUE(are_replaced(pool, workers)) << rig_.log();
}

TEST_F(Deploy, AsksTheNewProgramBeforeItServes) {
  install("serve 200");
  PoolConfig pool = this->pool(2);
  pool.deploy_check = "/health?deep=1";
  const Pids workers = start(pool);
  install("serve 500");
  EXPECT_TRUE(rig_.logs("did not pass -deploy-check /health?deep=1: it answered with status 500; the old one goes on"));
  EXPECT_EQ(rig_.serving(pool), workers);
  install("serve 204");
  EXPECT_TRUE(are_replaced(pool, workers)) << rig_.log();
}

TEST_F(Deploy, FollowsALinkThatIsTurnedToAnotherRelease) {
  const std::string releases = rig_.folder() / "releases";
  for (const char* release : {"1", "2"}) {
    fs::create_directories(releases + "/" + release);
    program_ = releases + "/" + release + "/app";
    install(std::string("answer ") + release);
  }
  const std::string current = rig_.folder() / "current";
  fs::create_symlink("releases/1", current);
  program_ = current + "/app";
  const PoolConfig pool = this->pool(1);
  const Pids workers = start(pool);
  fs::create_symlink("releases/2", current + ".new");
  fs::rename(current + ".new", current);
  ASSERT_TRUE(are_replaced(pool, workers)) << rig_.log();
}

TEST_F(Deploy, TakesTheNewProgramAtOnceWhereTheOldOneDoesNotRun) {
  install("exit 1");
  PoolConfig pool = this->pool(2);
  rig_.configure({pool});
  ASSERT_TRUE(rig_.logs("workers keep dying before they are ready"));
  rig_.allow("died before it was ready: exit 1");
  install("answer 1");
  EXPECT_TRUE(rig_.is_ready(pool, Milliseconds(2'000))) << rig_.log();
}

TEST_F(Deploy, DoesNotFollowWhereItIsNotAskedTo) {
  install("answer 1");
  PoolConfig pool = this->pool(1);
  pool.follows_program = false;
  const Pids workers = start(pool);
  install("answer 2");
  kill_worker(workers[0]);
  EXPECT_TRUE(rig_.logs("replaced by pid"));
  ASSERT_TRUE(wait_until([&] { return rig_.state(pool).phase == Phase::ready && rig_.pid(pool) != workers[0]; }));
  EXPECT_EQ(rig_.state(pool).capacity, 2) << "the next start takes what is there";
  EXPECT_EQ(rig_.count_in_log("in force"), 0u);
}

TEST_F(Deploy, KeepsTheOldProgramOverTheManagersDeath) {
  install_binary();
  const PoolConfig pool = this->pool(1, {"answer", "1"});
  const Pids workers = start(pool);
  install("exit 3");
  ASSERT_TRUE(rig_.logs("the new program is refused"));
  rig_.kill_manager();
  rig_.start_manager();
  rig_.configure({pool});
  ASSERT_TRUE(wait_until([&] { return rig_.count_in_log("the new program is refused") == 2; })) << rig_.log();
  EXPECT_EQ(rig_.serving(pool), workers);
  kill_worker(workers[0]);
  EXPECT_TRUE(rig_.logs("replaced by pid"));
  EXPECT_TRUE(wait_until([&] { return rig_.serving(pool).size() == 1 && rig_.pid(pool) != workers[0]; })) << rig_.log();
}

}  // namespace
}  // namespace cppfcgi::test
