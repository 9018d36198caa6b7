// Whoever can write the load area (httpd's children can) writes anything into it, over and over. The manager, which
// reads it and may be root, neither crashes nor starts more workers than it may, nor signals a process that is not its
// worker; and once the area is sound again, it serves again.
//
// 10,000 rounds, or as many as there is time for (under a sanitizer that is less). Each overwrites every byte of the
// area with random ones (copied from a larger stock of them at a random place, since 10,000 rounds are 46 GB); every
// other round puts plausible lies on top of that where live pools are: claims held by processes that have nothing to do
// with us, late requests, queues of any length.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <random>

#include "tests/process/manager_rig.h"
#include "tests/support/fastcgi_client.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

constexpr int rounds = 10'000, fewest_rounds = 300;
constexpr Milliseconds longest{12'000};

class CorruptLoad : public testing::Test {
 protected:
  CorruptLoad() {
    for (std::uint64_t& word : stock_) word = random_();
    for (Process& bystander : bystanders_) bystander = Process({.command = {"/bin/sleep", "1000"}});
    first_ = rig_.pool({"answer", "1"}, 3);
    second_ = rig_.pool({"answer", "2"}, 2);
    scaled_ = rig_.pool({"answer", "3"}, 1);
    scaled_.max_processes = 4;
    scaled_.idle_process_timeout = 100ms;
    for (PoolConfig* pool : {&first_, &second_, &scaled_}) pool->stop_grace = 200ms;
    rig_.allow("pool /actor");
  }

  void configure() {
    ASSERT_EQ(rig_.configure({first_, second_, scaled_}).kind, MessageKind::configured);
    rig_.end_generation();
  }

  void overwrite() {
    const std::size_t at = random_() % (stock_.size() - words);
    std::memcpy(static_cast<void*>(&rig_.load()), &stock_[at], sizeof(cppfcgi::Load));
  }

  void lie() {
    cppfcgi::Load& load = rig_.load();
    for (std::uint32_t pool = 0; pool < 4; ++pool) {
      const std::uint32_t head = random_();
      load.pools[pool].head = head;
      load.pools[pool].tail = head + static_cast<std::uint32_t>(random_() % (2 * max_waiting));
      for (WaiterCell& waiter : load.pools[pool].waiters) {
        waiter.word = std::uint64_t{head} << 32 | (random_() % 4) << 30 | static_cast<std::uint32_t>(anybody());
      }
    }
    for (std::uint32_t slot = 0; slot < 16; ++slot) {
      const std::uint32_t generation = SlotState::unpack(rig_.directory().slots[slot].state).generation;
      for (ClaimCell& cell : load.slots[slot].cells) {
        cell.holder = std::uint64_t(anybody()) << 32 | generation;
      }
      load.slots[slot].late = std::uint64_t{generation} << 32 | random_() % 3;
      load.slots[slot].requests = random_() % 2 == 0 ? 0 : random_();
    }
  }

  // A bystander, this very process, or process 1.
  pid_t anybody() {
    const std::size_t i = random_() % (std::size(bystanders_) + 2);
    if (i < std::size(bystanders_)) return bystanders_[i].pid();
    return i == std::size(bystanders_) ? ::getpid() : 1;
  }

  // Sound again, as at the start.
  void mend() {
    std::memset(static_cast<void*>(&rig_.load()), 0, sizeof(cppfcgi::Load));
    rig_.load().version = layout_version;
  }

  // What workers of this pool live: told by what stands on their command line.
  std::size_t workers_of(const PoolConfig& pool) const {
    std::string arguments;
    for (const std::string& argument : pool.arguments) arguments += " " + argument;
    const auto children = children_of(rig_.manager());
    return static_cast<std::size_t>(std::count_if(children.begin(), children.end(), [&](pid_t child) {
      return executable_of(child) == pool.program && command_line(child).find(arguments + " ") != std::string::npos;
    }));
  }

  void check_numbers(int round) {
    for (const PoolConfig* pool : {&first_, &second_, &scaled_}) {
      EXPECT_LE(workers_of(*pool), pool->max_processes + 1) << "round " << round;
    }
  }

  void kill_a_worker() {
    const pid_t worker = rig_.pid(first_, static_cast<std::uint32_t>(random_() % (first_.processes + 1)));
    if (worker > 1) ::kill(worker, SIGKILL);
  }

  // Whether some worker answers now.
  bool is_answered() const {
    if (rig_.serving(first_).empty()) return false;
    auto client = FastcgiClient::to_unix(rig_.socket(first_, rig_.serving_slot(first_)));
    std::string question;
    append_record(question, RecordType::get_values, 0, "");
    return client.send(question) && client.receive().has_value();
  }

  // A change of what workers are made of, and back: they roll.
  void change_configuration(int round) {
    second_.environment = {"PATH=/usr/bin:/bin", "ROUND=" + std::to_string(round)};
    configure();
  }

  static constexpr std::size_t words = sizeof(cppfcgi::Load) / 8;
  static_assert(sizeof(cppfcgi::Load) % 8 == 0);

  const std::uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  std::vector<std::uint64_t> stock_ = std::vector<std::uint64_t>(words + (std::size_t{1} << 18));
  Process bystanders_[4];
  ManagerRig rig_;
  PoolConfig first_;
  PoolConfig second_;
  PoolConfig scaled_;  // by what load says
};

TEST_F(CorruptLoad, NeitherEndsTheManagerNorMakesItStartOrSignalTooMuch) {
  SCOPED_TRACE("seed " + std::to_string(seed_));
  configure();
  ASSERT_TRUE(rig_.is_ready(first_) && rig_.is_ready(second_) && rig_.is_ready(scaled_));
  const auto manager = process_id(rig_.manager());
  const Deadline deadline(longest);
  int round = 0;
  for (; round < rounds && !(round > fewest_rounds && deadline.has_passed()); ++round) {
    overwrite();
    if (round % 2 == 1) lie();
    if (round % 7 == 0) rig_.nudge();
    if (round % 400 == 200) kill_a_worker();
    if (round % 1'000 == 500) change_configuration(round);
    if (round % 50 == 0) check_numbers(round);
  }
  ASSERT_TRUE(manager && is_alive(*manager)) << rig_.log();
  for (Process& bystander : bystanders_) EXPECT_TRUE(bystander.is_running());

  mend();
  rig_.nudge();
  ASSERT_TRUE(rig_.is_ready(first_) && rig_.is_ready(second_) && rig_.is_ready(scaled_));
  check_numbers(round);
  kill_a_worker();
  ASSERT_TRUE(rig_.is_ready(first_));
  EXPECT_TRUE(wait_until([&] { return is_answered(); })) << "whom the manager ended last may have been asked at first";
}

TEST_F(CorruptLoad, DoesNotKeepTheManagerFromEnding) {
  configure();
  ASSERT_TRUE(rig_.is_ready(first_) && rig_.is_ready(second_) && rig_.is_ready(scaled_));
  overwrite();
  lie();
  rig_.nudge();
  EXPECT_EQ(rig_.end_manager(), 0);
  for (Process& bystander : bystanders_) EXPECT_TRUE(bystander.is_running());
}

}  // namespace
}  // namespace cppfcgi::test
