// Manager: keeps the pools of the configuration in force, and those of earlier ones until nobody can want them any
// more. Knows neither where configurations come from (control_link.cpp, config_file.cpp) nor how a pool works
// (pool.cpp). A shell.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/dynamic_pools.h"
#include "mod_cppfcgi/manager/keeper.h"
#include "mod_cppfcgi/manager/pool_keeper.h"

namespace cppfcgi {

class Manager {
 public:
  explicit Manager(const Surroundings& surroundings);

  // All or nothing: afterwards each pool has its row and its sockets, and begin() lets workers start. Pools that are as
  // they were keep their workers. Those that are in it no more go on until generation_ended() with this number or a
  // later one.
  // `logs`: those that PoolConfig::log counts from 1 on.
  Result<void> configure(std::uint64_t number, const Configuration& configuration,
                         const std::vector<Log::File>& logs = {});
  void begin();
  void take(Order order) { dynamic_.take(std::move(order)); }
  void generation_ended(std::uint64_t number);

  void shut_down();
  bool is_over() const;  // shut down, and nothing is left that could end
  void clean_up();       // the last deed: removes sockets and folder

  void turn();  // does what is due
  std::optional<Time> next_deadline() const;
  void be_nudged();

  // What workers have started, and left when they ended, are our children then: takes note of those that have ended.
  // True: look again after the next turn.
  bool reap_orphans();

 private:
  struct Entry {
    std::unique_ptr<Keeper> keeper;
    std::optional<std::uint64_t> removed_by;  // the number of the configuration
  };
  Result<void> prepare_folder(const std::string& folder);
  bool knows(std::uint64_t key) const;
  Result<std::unique_ptr<Keeper>> open(const PoolConfig& config, const std::string& folder, const Log::File& log);
  std::unique_ptr<Keeper> adopt(const Board::Found& found, const PoolConfig& config, const std::string& folder,
                                const Log::File& log) const;
  void keep_left_pools(std::uint64_t number);
  bool has_worker(pid_t pid) const;

  Surroundings around_;
  std::map<std::uint64_t, Entry> pools_;  // by PoolConfig::key
  DynamicPools dynamic_;
  std::vector<Board::Found> left_;  // by an earlier manager, not yet taken over
  std::string socket_folder_;
  bool is_ending_ = false;
  Time last_moment_{};  // of a shut down: what has not ended by then cannot be ended
};

}  // namespace cppfcgi
