// The manager as httpd's parent and its children see it: configurations, starts, deaths and ends.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <csignal>

#include "tests/process/manager_rig.h"
#include "tests/support/fastcgi_client.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

bool is_gone(pid_t pid) {
  return wait_until([pid] {
    const auto id = process_id(pid);
    return !id || !is_alive(*id);
  });
}

// Never kill(0, …), which would be our own group.
void kill_worker(pid_t pid) {
  ASSERT_GT(pid, 1) << "there is no worker";
  kill(pid, SIGKILL);
  ASSERT_TRUE(is_gone(pid));
}

// ---- Configurations ----

TEST(Manager, AnswersWhenEachPoolHasItsRowAndItsSockets) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"answer", "1"}, 3);
  const Message answer = rig.configure({pool});
  EXPECT_EQ(answer.kind, MessageKind::configured) << answer.text;
  EXPECT_EQ(answer.number, 1u);
  EXPECT_TRUE(rig.row(pool));
  EXPECT_EQ(rig.directory().configuration.load(), 1u);
  EXPECT_EQ(rig.directory().manager_pid.load(), rig.manager());
  for (std::uint32_t index : {0, 1, 2}) {
    FastcgiClient::to_unix(rig.socket(pool, index));  // throws where nobody listens
    struct stat file {};
    ASSERT_EQ(stat(rig.socket(pool, index).c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777, 0600u);
  }
  EXPECT_TRUE(rig.is_ready(pool));
}

TEST(Manager, PublishesWhatTheWorkerSaysItCanDo) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"answer", "7"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  EXPECT_EQ(rig.state(pool), (SlotState{.generation = 1, .phase = Phase::ready, .capacity = 7, .connections = 100}));
  EXPECT_EQ(process_id(rig.pid(pool))->start_time, rig.slot(pool).start_time.load());
}

TEST(Manager, RefusesAConfigurationThatIsWrongAndKeepsTheLast) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"answer", "1"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const pid_t worker = rig.pid(pool);
  PoolConfig wrong = pool;
  wrong.processes = 1'025;
  const Message answer = rig.configure({wrong});
  EXPECT_EQ(answer.kind, MessageKind::refused);
  EXPECT_EQ(answer.text, "pools[0].processes: 1025 is not in 0 … 1024");
  EXPECT_EQ(rig.pid(pool), worker);
  EXPECT_EQ(rig.directory().configuration.load(), 1u);
  rig.allow("configuration 2 is refused");
}

TEST(Manager, KeepsTheWorkersOfAPoolThatIsAsItWas) {
  ManagerRig rig;
  const PoolConfig kept = rig.pool({"answer", "1"}, 2);
  const PoolConfig added = rig.pool({"answer", "2"});
  rig.configure({kept});
  ASSERT_TRUE(rig.is_ready(kept));
  const auto workers = rig.pids(kept);
  EXPECT_EQ(rig.configure({kept, added}).kind, MessageKind::configured);
  ASSERT_TRUE(rig.is_ready(added));
  EXPECT_EQ(rig.pids(kept), workers);
}

TEST(Manager, EndsARemovedPoolOnlyWhenNobodyCanKnowItAnyMore) {
  ManagerRig rig;
  const PoolConfig old = rig.pool({"answer", "1"});
  const PoolConfig fresh = rig.pool({"answer", "2"});
  rig.configure({old});
  ASSERT_TRUE(rig.is_ready(old));
  const pid_t worker = rig.pid(old);
  rig.configure({fresh});
  ASSERT_TRUE(rig.is_ready(fresh));
  EXPECT_EQ(rig.state(old).phase, Phase::ready);
  rig.end_generation();
  EXPECT_TRUE(wait_until([&] { return !rig.row(old); }));
  EXPECT_TRUE(is_gone(worker));
  EXPECT_EQ(rig.state(fresh).phase, Phase::ready);
  EXPECT_FALSE(std::filesystem::exists(rig.socket(old)));
}

TEST(Manager, LetsARemovedWorkerFinishWhatHoldsIt) {
  ManagerRig rig;
  PoolConfig old = rig.pool({"answer", "1"});
  old.stop_grace = 30s;
  rig.configure({old});
  ASSERT_TRUE(rig.is_ready(old));
  const pid_t worker = rig.pid(old);
  const std::uint32_t row = *rig.row(old);
  const auto claim = rig.claims().try_claim(row, getpid());
  ASSERT_TRUE(claim);
  rig.configure({});
  rig.end_generation();
  ASSERT_TRUE(rig.becomes(old, 0, Phase::draining));
  EXPECT_FALSE(rig.claims().try_claim(row, getpid()));
  EXPECT_TRUE(is_alive(*process_id(worker)));
  rig.claims().release(row, *claim, getpid());
  EXPECT_TRUE(is_gone(worker));
}

TEST(Manager, KeepsAPoolThatComesBackBeforeItHasEnded) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"answer", "1"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const pid_t worker = rig.pid(pool);
  rig.configure({});
  rig.configure({pool});
  rig.end_generation();
  rig.configure({pool});  // answered after the message before
  EXPECT_EQ(rig.pid(pool), worker);
  EXPECT_EQ(rig.state(pool).phase, Phase::ready);
}

// ---- Readiness ----

TEST(Manager, TakesARefusedQuestionForAReadyWorkerWithCapacityOne) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"refuse"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool, 900ms));
  EXPECT_EQ(rig.state(pool).capacity, 1);
}

TEST(Manager, AsksAgainWhereTheQuestionWasNotRead) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"refuse-unread-once", "answer", "5"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  EXPECT_EQ(rig.state(pool).capacity, 5);
}

TEST(Manager, TakesALongSilentWorkerForReady) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"stay"});
  pool.ready_timeout = 100ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  EXPECT_EQ(rig.state(pool).capacity, 1);
}

TEST(Manager, LearnsTheCapacityOfAWorkerThatWasSilentForLong) {
  ManagerRig rig;
  const std::string file = rig.folder() / "go";
  PoolConfig pool = rig.pool({"wait-for", file, "notify", "answer", "6"});
  pool.ready_timeout = 50ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  EXPECT_EQ(rig.state(pool).capacity, 1);
  write_file(file, "");
  EXPECT_TRUE(wait_until([&] { return rig.state(pool).capacity == 6; }));
}

TEST(Manager, DoesNotTakeAWorkerForReadyThatAcceptsAndDies) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"accept-and-exit", "3"});
  rig.configure({pool});
  EXPECT_TRUE(rig.logs("died before it was ready: exit 3; next try in"));
  EXPECT_EQ(rig.count_in_log("is ready"), 0u);
  rig.allow("workers keep dying");
}

TEST(Manager, GivesAReadyWorkerToWhoWaits) {
  ManagerRig rig;
  const std::string file = rig.folder() / "go";
  PoolConfig pool = rig.pool({"wait-for", file, "answer", "1"});
  pool.ready_timeout = 60s;
  rig.configure({pool});
  const auto queued = rig.claims().enqueue(*rig.row(pool), getpid(), 10);
  ASSERT_TRUE(queued && queued->is_first);
  rig.nudge();
  write_file(file, "");
  std::optional<Claim> claim;
  ASSERT_TRUE(wait_until([&] { return (claim = rig.claims().granted(queued->ticket, getpid())).has_value(); }));
  rig.claims().release(*rig.row(pool), *claim, getpid());
}

// ---- Deaths ----

TEST(Manager, ReplacesAKilledWorkerAtOnce) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"answer", "1"}, 2);
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const auto before = rig.pids(pool);
  const auto start = Clock::now();
  kill_worker(before[1]);
  ASSERT_TRUE(wait_until([&] { return rig.state(pool, 1).generation == 2 && rig.is_ready(pool, 0ms); }));
  EXPECT_LT(Clock::now() - start, 250ms);
  EXPECT_EQ(rig.pid(pool, 0), before[0]);
  EXPECT_TRUE(rig.logs("worker 1 (pid " + std::to_string(before[1]) +
                       ") of pool /actor crashed: killed by signal 9 SIGKILL; replaced by pid " +
                       std::to_string(rig.pid(pool, 1))));
}

TEST(Manager, AnswersFromTheNextGenerationWhatWasQueuedOnADeadWorker) {
  ManagerRig rig;
  const std::string file = rig.folder() / "go";
  PoolConfig pool = rig.pool({"wait-for", file, "answer", "1"});
  pool.ready_timeout = 50ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  auto client = FastcgiClient::to_unix(rig.socket(pool));
  std::string question;
  append_record(question, RecordType::get_values, 0, "");
  ASSERT_TRUE(client.send(question));
  kill_worker(rig.pid(pool));
  ASSERT_TRUE(rig.logs("lived for less than"));
  write_file(file, "");
  EXPECT_TRUE(client.receive());
}

TEST(Manager, SaysWhyAProgramCannotBeRun) {
  ManagerRig rig;
  PoolConfig missing = rig.pool({});
  missing.program = rig.folder() / "missing";
  PoolConfig forbidden = rig.pool({});
  forbidden.program = rig.folder() / "forbidden";
  write_file(forbidden.program, "#!/bin/sh\n");
  EXPECT_EQ(rig.configure({missing, forbidden}).kind, MessageKind::configured);
  EXPECT_TRUE(rig.logs("died before it was ready: exec: No such file or directory; next try in"));
  EXPECT_TRUE(rig.logs("died before it was ready: exec: Permission denied; next try in"));
  rig.allow("workers keep dying");
}

TEST(Manager, StartsABrokenProgramSeldomAndAllWorkersAtOnceWhenItIsMended) {
  ManagerRig rig;
  const std::string broken = rig.folder() / "broken";
  write_file(broken, "");
  PoolConfig pool = rig.pool({"exit-while", broken, "4", "answer", "1"}, 4);
  pool.restart_delay = 400ms;
  rig.configure({pool});
  EXPECT_TRUE(rig.logs("workers keep dying before they are ready"));
  std::filesystem::remove(broken);
  EXPECT_TRUE(rig.is_ready(pool, 1s));
  EXPECT_TRUE(rig.logs("a worker has become ready again"));
  rig.allow("died before it was ready: exit 4; next try in");
}

TEST(Manager, TriesAtOnceWhenTheProgramIsReplaced) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"}, 2);
  pool.program = rig.folder() / "program";
  write_file(pool.program, "#!/bin/sh\nexit 5\n");
  std::filesystem::permissions(pool.program, std::filesystem::perms::owner_all);
  rig.configure({pool});
  // The pauses have grown to 1.6 s at least by then.
  ASSERT_TRUE(wait_until([&] { return rig.count_in_log("died before it was ready: exit 5") >= 6; }));
  copy_program(product("tests/process/programs/actor"), rig.folder() / "next");
  std::filesystem::rename(rig.folder() / "next", pool.program);
  EXPECT_TRUE(rig.is_ready(pool, 1s));
  rig.allow("died before it was ready");
  rig.allow("workers keep dying");
}

// ---- Ends ----

TEST(Manager, EndsAllWithinTheGraceHoweverStubbornTheyAre) {
  ManagerRig rig;
  PoolConfig stubborn = rig.pool({"ignore-term", "answer", "1"}, 2);
  stubborn.stop_grace = 500ms;
  const PoolConfig obedient = rig.pool({"answer", "1"}, 2);
  rig.configure({stubborn, obedient});
  ASSERT_TRUE(rig.is_ready(stubborn) && rig.is_ready(obedient));
  const auto workers = rig.pids(stubborn);
  const auto start = Clock::now();
  EXPECT_EQ(rig.end_manager(), 0);
  EXPECT_LT(Clock::now() - start, 1s);
  for (const pid_t worker : workers) EXPECT_TRUE(is_gone(worker));
  rig.allow("has not ended within 500 ms after SIGTERM: killed");
}

TEST(Manager, TellsOfAWorkerThatCrashesWhileItIsBeingEnded) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"ignore-term", "answer", "1"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const pid_t worker = rig.pid(pool);
  rig.configure({});
  rig.end_generation();
  ASSERT_TRUE(rig.becomes(pool, 0, Phase::stopping));
  ASSERT_GT(worker, 1);
  kill(worker, SIGKILL);
  EXPECT_TRUE(rig.logs("(pid " + std::to_string(worker) +
                       ") of pool /actor crashed while it was being ended: killed by signal 9 SIGKILL"));
}

TEST(Manager, EndsIdleWorkersAtOnce) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"}, 4);
  pool.stop_grace = 60s;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const auto start = Clock::now();
  kill(rig.manager(), SIGTERM);
  EXPECT_EQ(rig.await_end(), 0);
  EXPECT_LT(Clock::now() - start, 500ms);
}

TEST(Manager, EndsAtTheGraceThoughAClaimIsHeldForEver) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"});
  pool.stop_grace = 400ms;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  ASSERT_TRUE(rig.claims().try_claim(*rig.row(pool), getpid()));
  const auto start = Clock::now();
  EXPECT_EQ(rig.end_manager(), 0);
  EXPECT_GT(Clock::now() - start, 150ms);
  EXPECT_LT(Clock::now() - start, 1s);
}

TEST(Manager, DoesNotWaitForTheClaimsOfTheDead) {
  ManagerRig rig;
  PoolConfig pool = rig.pool({"answer", "1"});
  pool.stop_grace = 60s;
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  Process holder({.command = {"sleep", "100"}});
  const pid_t dead = holder.pid();
  holder.kill();
  ASSERT_TRUE(rig.claims().try_claim(*rig.row(pool), dead));
  const auto start = Clock::now();
  EXPECT_EQ(rig.end_manager(), 0);
  EXPECT_LT(Clock::now() - start, 5s);
}

TEST(Manager, KillsWhatAWorkerHasStarted) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"children", "3", "answer", "1"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  const auto children = children_of(rig.pid(pool));
  ASSERT_EQ(children.size(), 3u);
  kill_worker(rig.pid(pool));
  ASSERT_TRUE(rig.logs("crashed: killed by signal 9 SIGKILL; replaced by"));
  for (const pid_t child : children) EXPECT_TRUE(is_gone(child));
  ASSERT_TRUE(rig.is_ready(pool));
  const auto more = children_of(rig.pid(pool));
  EXPECT_EQ(rig.end_manager(), 0);
  for (const pid_t child : more) EXPECT_TRUE(is_gone(child));
}

TEST(Manager, LeavesNoZombieOfWhatAWorkerHasStarted) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"children", "3", "answer", "1"});
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  for (int i = 0; i < 3; ++i) {
    kill_worker(rig.pid(pool));
    ASSERT_TRUE(wait_until([&] { return rig.state(pool).generation == static_cast<std::uint32_t>(i) + 2; }));
    ASSERT_TRUE(rig.is_ready(pool));
  }
  const auto children = [&] { return run({"ps", "-o", "pid=", "--ppid", std::to_string(rig.manager())}).output; };
  EXPECT_TRUE(wait_until([&] {
    const std::string text = children();
    return std::count(text.begin(), text.end(), '\n') == 1;
  })) << "not its worker alone:\n"
      << children();
  rig.allow("crashed: killed by signal 9");
}

TEST(Manager, SurvivesALoadOfNonsense) {
  ManagerRig rig;
  const PoolConfig pool = rig.pool({"answer", "1"}, 2);
  rig.configure({pool});
  ASSERT_TRUE(rig.is_ready(pool));
  std::uint64_t random = 88'172'645'463'325'252ULL;
  auto* words = reinterpret_cast<std::uint64_t*>(&rig.load());
  for (int round = 0; round < 50; ++round) {
    for (std::size_t i = 0; i < sizeof(Load) / sizeof *words; i += 1 + random % 64) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      words[i] = random;
    }
    rig.nudge();
    if (round % 10 == 0) kill_worker(rig.pid(pool, 0));
    ASSERT_TRUE(rig.is_ready(pool));
    EXPECT_LE(children_of(rig.manager()).size(), 2u);
  }
  EXPECT_TRUE(wait_until([&] { return children_of(rig.manager()).size() == 2; }));
  rig.allow("crashed: killed by signal 9");
}

}  // namespace
}  // namespace cppfcgi::test
