// ManagerRig: a real manager, started and spoken to as httpd's parent does it, with workers that act as told
// (programs/actor.cpp). At its end nothing may be left: no process, no socket, and no line in the log at level warn or
// above that the test has not expected.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "shared/claims.h"
#include "shared/control.h"
#include "shared/fd.h"
#include "shared/memory.h"
#include "shared/pool_config.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::test {

using Script = std::vector<std::string>;

class ManagerRig {
 public:
  ManagerRig();
  ~ManagerRig();
  ManagerRig(const ManagerRig&) = delete;
  ManagerRig& operator=(const ManagerRig&) = delete;

  // ---- the manager ----
  void start_manager();
  void kill_manager();  // -9
  int end_manager();    // closes the control socket; its exit status
  int await_end();      // of the manager; its exit status, or -1 where it does not end
  pid_t manager() const { return manager_; }
  int control() const { return control_.get(); }
  void nudge() const;
  int orders() const { return orders_.get(); }  // as httpd's children have it

  // ---- configurations ----
  PoolConfig pool(const Script& script, std::uint32_t processes = 1);  // of actors
  Message configure(const std::vector<PoolConfig>& pools, const std::vector<std::string>& logs = {},
                    const std::vector<PoolTemplate>& templates = {});  // the answer
  void end_generation();  // nobody knows configurations before the latest any more
  std::uint64_t number() const { return number_; }

  // ---- what is published ----
  const Directory& directory() const { return *static_cast<const Directory*>(directory_view_.address()); }
  Load& load() { return *static_cast<Load*>(load_view_.address()); }
  Claims& claims() { return *claims_; }
  std::optional<std::uint32_t> row(const PoolConfig& pool) const { return claims_->find_pool(pool.key()); }
  const SlotRow& slot(const PoolConfig& pool, std::uint32_t index = 0) const;
  SlotState state(const PoolConfig& pool, std::uint32_t index = 0) const;
  pid_t pid(const PoolConfig& pool, std::uint32_t index = 0) const;
  std::vector<pid_t> pids(const PoolConfig& pool) const;     // of its slots, without the successor's
  std::vector<pid_t> serving(const PoolConfig& pool) const;  // that are ready, whatever their slot
  std::uint32_t serving_slot(const PoolConfig& pool) const;  // the first of them; throws where there is none
  std::size_t living(const PoolConfig& pool) const;          // workers, whatever they do
  std::string socket(const PoolConfig& pool, std::uint32_t index = 0) const;

  // Waits until all workers of the pool are ready, in whatever slots. False: they are not in time.
  [[nodiscard]] bool is_ready(const PoolConfig& pool, Milliseconds within = Milliseconds(10'000)) const;
  [[nodiscard]] bool becomes(const PoolConfig& pool, std::uint32_t index, Phase phase) const;

  // ---- the log ----
  // Waits for a line that contains this text, and allows such lines.
  [[nodiscard]] bool logs(const std::string& text, Milliseconds within = Milliseconds(10'000));
  void allow(const std::string& text) { allowed_.insert(text); }
  std::string log() const;
  std::size_t count_in_log(const std::string& text) const;

  const TempFolder& folder() const { return folder_; }
  std::string socket_folder() const { return folder_ / "sockets"; }

 private:
  void check_nothing_is_left();
  void check_log() const;

  TempFolder folder_{"cppfcgi-manager"};
  Fd directory_;
  Fd load_;
  Fd nudge_;
  Fd orders_;
  Fd managers_orders_;
  Fd control_;
  Mapping directory_view_;
  Mapping load_view_;
  std::unique_ptr<Claims> claims_;
  pid_t manager_ = 0;
  std::uint64_t number_ = 0;
  std::set<std::string> allowed_;
  std::set<pid_t> workers_;  // that have been seen
};

}  // namespace cppfcgi::test
