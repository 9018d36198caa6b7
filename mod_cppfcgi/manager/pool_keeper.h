// PoolKeeper: carries out what a Pool decides: holds the slots' sockets and workers, tells the Pool what happens to
// them, publishes their state. Its helpers look after the workers (vigil.h), the program (program_file.h) and the log
// (obituaries.h). A shell; owned by the manager. Decides nothing about starts and ends.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/board.h"
#include "mod_cppfcgi/manager/deploy_check.h"
#include "mod_cppfcgi/manager/keeper.h"
#include "mod_cppfcgi/manager/load_gauge.h"
#include "mod_cppfcgi/manager/log.h"
#include "mod_cppfcgi/manager/loop.h"
#include "mod_cppfcgi/manager/obituaries.h"
#include "mod_cppfcgi/manager/pool.h"
#include "mod_cppfcgi/manager/pool_report.h"
#include "mod_cppfcgi/manager/program_file.h"
#include "mod_cppfcgi/manager/question.h"
#include "mod_cppfcgi/manager/refusal_sign.h"
#include "mod_cppfcgi/manager/scale_guard.h"
#include "mod_cppfcgi/manager/shared_sockets.h"
#include "mod_cppfcgi/manager/slot_socket.h"
#include "mod_cppfcgi/manager/stack_reader.h"
#include "mod_cppfcgi/manager/vigil.h"
#include "mod_cppfcgi/manager/worker.h"
#include "shared/claims.h"
#include "shared/pool_config.h"

namespace cppfcgi {

// What all pools share. Outlives them.
struct Surroundings {
  Loop& loop;
  Board& board;
  Claims& claims;
  const Load& load;
  StackReader& stacks;
  const Log& log;
  std::uint64_t open_files = 1'024;  // workers' soft limit
  bool workers_end_with_us = false;  // where nobody would adopt them
  std::shared_ptr<SharedSockets> shared_sockets = std::make_shared<SharedSockets>();
};

// The log that PoolConfig::log counts; nullptr is the manager's own.
Log::File log_of(const PoolConfig& config, const std::vector<Log::File>& logs);

class PoolKeeper final : public Keeper {
 public:
  // With a row in the directory and listening sockets, but no worker yet.
  static Result<std::unique_ptr<PoolKeeper>> open(const Surroundings& surroundings, const PoolConfig& config,
                                                  const std::string& socket_folder, const Log::File& log);
  // With the row, and those living workers, of an earlier manager. Without a configuration (only the earlier one knew
  // it) it starts none, and must never begin.
  static std::unique_ptr<PoolKeeper> adopt(const Surroundings& surroundings, const Board::Found& found,
                                           const PoolConfig* config, const std::string& socket_folder,
                                           const Log::File& log);
  ~PoolKeeper() override;  // removes sockets and row

  // Other settings for the same pool. Workers that are made of something else are replaced, one after the other.
  void reconfigure(const PoolConfig& config, const Log::File& log) override;

  void begin() override { handle({Happened::began}); }
  void remove() override { handle({Happened::removed}); }
  void restore() override { handle({Happened::restored}); }
  void shut_down() override { handle({Happened::shut_down}); }

  // Leaves row, workers and sockets to another keeper. The destructor touches nothing then.
  Board::Found abandon() override;
  bool has_config() const override { return has_config_; }

  void turn() override;  // does what is due
  std::optional<Time> next_deadline() const override;
  bool is_over() const override { return pool_.is_over(); }
  void be_nudged() override;  // somebody waits, is late, or has served enough: gives what is free, and looks
  const PoolConfig& config() const override { return config_; }
  bool has_worker(pid_t pid) const override;

  // What tells whether anybody needs it; as Load says, which may be anything.
  std::uint32_t row() const { return rows_.pool; }
  std::uint64_t uses() const;  // requests that have looked it up
  bool has_waiting() const { return around_.claims.waiting(rows_.pool) > 0; }
  bool is_in_use() const;  // somebody waits, or has a worker
  // No more than so many workers beyond those that it has, whatever the demand.
  void set_room(std::uint32_t room) { room_ = room; }
  std::uint32_t workers() const;  // processes, whatever they do

 private:
  struct Place {  // a slot, as the keeper holds it
    SlotSocket socket;
    std::unique_ptr<Worker> worker;
    std::unique_ptr<Question> question;
    std::unique_ptr<DeployCheck> check;
    std::string check_failure;
    int resets = 0;                      // of this generation's questions
    bool answers = false;                // it has told its capacity
    bool has_ended = false;              // what is queued on its socket is looked after at the next turn
    std::optional<Time> ask_again;       // the listen queue was full
    std::uint64_t requests_before = 0;   // the slot's, when this generation became ready
    std::uint32_t ready_generation = 0;  // the last that has become ready
    std::string last_worker;             // "worker 3 (pid 812) of pool /srv/a": the one that ended last
    Worker::End last_end;
    bool was_unused = false;
    bool was_silent = false;  // it hangs, and this is why
    bool was_killed = false;  // it did not end in time
    std::optional<std::uint64_t> stacks_reading;
  };

  PoolKeeper(const Surroundings& surroundings, const Board::Found& row, const PoolConfig& config,
             const std::string& socket_folder, const Log::File& log);
  Result<void> open_sockets();
  void adopt_workers();
  std::vector<ProgramFile::Serving> serving_workers() const;

  void look_after_workers(Time now);
  void look_at_load(Time now);
  void report_scaling(std::uint32_t before, const Demand& demand, Time now);
  void handle(const Event& event);
  void perform(const Action& action);
  void publish(std::uint32_t slot);
  void become_ready(std::uint32_t slot, const SlotState& state);
  void start(std::uint32_t slot);
  void ask(std::uint32_t slot);
  void stop_asking(std::uint32_t slot);
  void hear(std::uint32_t slot, Question::Outcome outcome, Offer offer);
  void check(std::uint32_t slot);
  void read_stacks(std::uint32_t slot);
  void write_stacks(std::uint32_t slot, const Stacks& stacks);
  void stop_reading(std::uint32_t slot);
  void bury(std::uint32_t slot);
  void report_death(const Action& action);
  Worker::Callbacks callbacks(std::uint32_t slot, std::uint32_t generation);
  Event about(Happened what, std::uint32_t slot, Offer offer = {}) const;
  std::string name_of(std::uint32_t slot) const;  // of the worker that is there
  std::string name_of(std::uint32_t slot, pid_t pid) const;
  std::uint64_t requests(std::uint32_t slot) const;
  bool has_claims(std::uint32_t slot) const;
  // Where the slot's worker is spoken to; where all share one socket, whoever comes first.
  std::string address_of(std::uint32_t slot) const { return slot_address(config_, socket_folder_, key_, slot); }
  Result<SlotSocket> open_socket(std::uint32_t slot) const;
  bool is_out_of_reach(std::uint32_t slot) const;
  bool has_any_worker() const;

  Surroundings around_;
  Log log_;
  std::uint64_t key_;
  PoolConfig config_;
  PoolReport report_;
  bool has_config_ = true;
  bool is_abandoned_ = false;
  std::string socket_folder_;
  Board::Rows rows_;
  std::vector<Place> places_;
  Pool pool_;
  std::deque<Event> events_;  // of those that came while one was at work
  bool is_handling_ = false;
  std::uint32_t room_ = ~0U;
  ProgramFile program_;
  Vigil vigil_;
  LoadGauge gauge_;
  ScaleGuard guard_;
  Obituaries obituaries_;
  RefusalSign refusal_sign_;
};

}  // namespace cppfcgi
