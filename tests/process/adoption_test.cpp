// The manager dies: its workers go on, and the next manager takes them over.
#include <gtest/gtest.h>

#include <csignal>

#include "tests/process/manager_rig.h"
#include "tests/support/fastcgi_client.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

class Adoption : public testing::Test {
 protected:
  void start(std::uint32_t processes) {
    pool_ = rig_.pool({"answer", "3"}, processes);
    rig_.configure({pool_});
    ASSERT_TRUE(rig_.is_ready(pool_));
  }
  void replace_manager() {
    rig_.kill_manager();
    rig_.start_manager();
    ASSERT_EQ(rig_.configure({pool_}).kind, MessageKind::configured);
  }

  ManagerRig rig_;
  PoolConfig pool_;
};

TEST_F(Adoption, LeavesLivingWorkersTheirPlaces) {
  start(3);
  const auto workers = rig_.pids(pool_);
  const SlotState state = rig_.state(pool_);
  replace_manager();
  EXPECT_EQ(rig_.pids(pool_), workers);
  EXPECT_EQ(rig_.state(pool_), state);
  EXPECT_EQ(rig_.directory().manager_pid.load(), rig_.manager());
  EXPECT_TRUE(rig_.logs("pool /actor: took over 3 of 3 workers"));
}

TEST_F(Adoption, KeepsWorkersReachableWhileThereIsNoManager) {
  start(1);
  rig_.kill_manager();
  auto client = FastcgiClient::to_unix(rig_.socket(pool_));
  std::string question;
  append_record(question, RecordType::get_values, 0, "");
  ASSERT_TRUE(client.send(question));
  EXPECT_TRUE(client.receive());
  rig_.start_manager();
  ASSERT_EQ(rig_.configure({pool_}).kind, MessageKind::configured);
}

TEST_F(Adoption, ReplacesAnAdoptedWorkerThatDies) {
  start(2);
  replace_manager();
  const auto workers = rig_.pids(pool_);
  ASSERT_GT(workers[0], 1);
  kill(workers[0], SIGKILL);
  ASSERT_TRUE(wait_until([&] { return rig_.state(pool_).generation == 2 && rig_.is_ready(pool_, 0ms); }));
  EXPECT_EQ(rig_.pid(pool_, 1), workers[1]);
  FastcgiClient::to_unix(rig_.socket(pool_));
  EXPECT_TRUE(rig_.logs("crashed: ended; an earlier manager was its parent"));
}

TEST_F(Adoption, ReplacesWhatDiedWhileThereWasNoManager) {
  start(2);
  const auto workers = rig_.pids(pool_);
  rig_.kill_manager();
  ASSERT_GT(workers[1], 1);
  kill(workers[1], SIGKILL);
  ASSERT_TRUE(wait_until([&] { return !process_id(workers[1]) || !is_alive(*process_id(workers[1])); }));
  rig_.start_manager();
  ASSERT_EQ(rig_.configure({pool_}).kind, MessageKind::configured);
  ASSERT_TRUE(wait_until([&] { return rig_.state(pool_, 1).generation == 2 && rig_.is_ready(pool_, 0ms); }));
  EXPECT_EQ(rig_.pid(pool_, 0), workers[0]);
  EXPECT_TRUE(rig_.logs("took over 1 of 2 workers"));
}

TEST_F(Adoption, KeepsWhatIsQueuedOnAnAdoptedWorkersSocket) {
  const std::string file = rig_.folder() / "go";
  pool_ = rig_.pool({"wait-for", file, "answer", "1"});
  pool_.ready_timeout = 50ms;
  rig_.configure({pool_});
  ASSERT_TRUE(rig_.is_ready(pool_));
  replace_manager();
  auto client = FastcgiClient::to_unix(rig_.socket(pool_));
  std::string question;
  append_record(question, RecordType::get_values, 0, "");
  ASSERT_TRUE(client.send(question));
  write_file(file, "");
  ASSERT_GT(rig_.pid(pool_), 1);
  kill(rig_.pid(pool_), SIGKILL);
  EXPECT_TRUE(client.receive());
  rig_.allow("crashed: ended; an earlier manager");
}

TEST_F(Adoption, GoesOnReadingWhatAdoptedWorkersPrint) {
  const std::string file = rig_.folder() / "go";
  pool_ = rig_.pool({"wait-for", file, "complain", "still here", "answer", "1"});
  pool_.ready_timeout = 50ms;
  rig_.configure({pool_});
  ASSERT_TRUE(rig_.is_ready(pool_));
  replace_manager();
  write_file(file, "");
  EXPECT_TRUE(rig_.logs("worker 0 (pid " + std::to_string(rig_.pid(pool_)) + ") of pool /actor: still here"));
}

TEST_F(Adoption, EndsAdoptedWorkersAndWhatTheyHaveStarted) {
  pool_ = rig_.pool({"children", "2", "answer", "1"});
  rig_.configure({pool_});
  ASSERT_TRUE(rig_.is_ready(pool_));
  replace_manager();
  const pid_t worker = rig_.pid(pool_);
  const auto children = children_of(worker);
  ASSERT_EQ(children.size(), 2u);
  EXPECT_EQ(rig_.end_manager(), 0);
  for (const pid_t child : children) {
    EXPECT_TRUE(wait_until([&] { return !process_id(child) || !is_alive(*process_id(child)); }));
  }
}

TEST_F(Adoption, EndsPoolsThatTheFirstConfigurationDoesNotKnowOnceNobodyCan) {
  start(1);
  const PoolConfig old = pool_;
  const pid_t worker = rig_.pid(old);
  pool_ = rig_.pool({"answer", "4"});
  replace_manager();
  ASSERT_TRUE(rig_.is_ready(pool_));
  EXPECT_EQ(rig_.pid(old), worker);
  EXPECT_EQ(rig_.state(old).phase, Phase::ready);
  rig_.end_generation();
  EXPECT_TRUE(wait_until([&] { return !rig_.row(old); }));
  EXPECT_FALSE(std::filesystem::exists(rig_.socket(old)));
}

TEST_F(Adoption, KeepsALeftPoolThatALaterConfigurationKnowsAgain) {
  start(1);
  const PoolConfig old = pool_;
  const pid_t worker = rig_.pid(old);
  pool_ = rig_.pool({"answer", "4"});
  replace_manager();
  rig_.configure({old, pool_});
  rig_.end_generation();
  ASSERT_GT(worker, 1);
  kill(worker, SIGKILL);
  ASSERT_TRUE(wait_until([&] { return rig_.state(old).generation == 2 && rig_.is_ready(old, 0ms); }));
  rig_.allow("crashed: ended; an earlier manager");
}

TEST_F(Adoption, EndsWhatAnEarlierManagerLeftThoughNoConfigurationCame) {
  start(2);
  const auto workers = rig_.pids(pool_);
  rig_.kill_manager();
  rig_.start_manager();
  EXPECT_EQ(rig_.end_manager(), 0);
  for (const pid_t worker : workers) {
    EXPECT_TRUE(wait_until([&] { return !process_id(worker) || !is_alive(*process_id(worker)); }));
  }
  std::filesystem::remove_all(rig_.socket_folder());  // which only a configuration names
}

TEST_F(Adoption, AsksAWorkerThatWasStillStarting) {
  const std::string file = rig_.folder() / "go";
  pool_ = rig_.pool({"wait-for", file, "answer", "6"});
  pool_.ready_timeout = 60s;
  rig_.configure({pool_});
  ASSERT_TRUE(wait_until([&] { return rig_.pid(pool_) != 0; }));
  const pid_t worker = rig_.pid(pool_);
  replace_manager();
  write_file(file, "");
  ASSERT_TRUE(rig_.is_ready(pool_));
  EXPECT_EQ(rig_.pid(pool_), worker);
  EXPECT_EQ(rig_.state(pool_).capacity, 6);
}

TEST_F(Adoption, HappensAgainAndAgain) {
  start(4);
  const auto workers = rig_.pids(pool_);
  for (int i = 0; i < 5; ++i) replace_manager();
  EXPECT_EQ(rig_.pids(pool_), workers);
}

}  // namespace
}  // namespace cppfcgi::test
