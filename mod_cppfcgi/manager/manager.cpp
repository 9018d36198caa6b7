#include "mod_cppfcgi/manager/manager.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mod_cppfcgi/manager/external_keeper.h"

namespace cppfcgi {
namespace {

constexpr Duration kill_takes_at_most{1'000};

Time clock_now() { return std::chrono::steady_clock::now(); }

}  // namespace

Manager::Manager(const Surroundings& surroundings)
    : around_(surroundings), dynamic_(surroundings), left_(surroundings.board.found()) {}

Result<void> Manager::configure(std::uint64_t number, const Configuration& configuration,
                                const std::vector<Log::File>& logs) {
  if (is_ending_) return Error{ESHUTDOWN, "the manager is ending"};
  if (!socket_folder_.empty() && configuration.socket_folder != socket_folder_ && !pools_.empty()) {
    return Error{EINVAL, fmt::format("the folder of the sockets cannot change from {} to {} without a restart",
                                     socket_folder_, configuration.socket_folder)};
  }
  if (auto prepared = prepare_folder(configuration.socket_folder); !prepared) return prepared;

  std::map<std::uint64_t, std::unique_ptr<Keeper>> added;
  std::map<std::uint64_t, const PoolConfig*> wanted;
  for (const PoolConfig& config : configuration.pools) {
    const std::uint64_t key = config.key();
    if (!wanted.emplace(key, &config).second || knows(key)) continue;
    auto keeper = open(config, configuration.socket_folder, log_of(config, logs));
    if (!keeper) return keeper.error();
    added.emplace(key, *std::move(keeper));
  }
  // Beyond this point nothing fails.
  for (auto& [key, entry] : pools_) {
    if (const auto config = wanted.find(key); config != wanted.end()) {
      if (!entry.keeper->has_config()) continue;  // taken over anew, above
      if (std::exchange(entry.removed_by, std::nullopt)) entry.keeper->restore();
      entry.keeper->reconfigure(*config->second, log_of(*config->second, logs));
    } else if (!entry.removed_by) {
      entry.removed_by = number;
    }
  }
  around_.log.notice("configuration {}: {} pools, {} of them kept", number, wanted.size(),
                     wanted.size() - added.size());
  for (auto& [key, keeper] : added) pools_.insert_or_assign(key, Entry{.keeper = std::move(keeper), .removed_by = {}});
  dynamic_.configure(number, configuration.templates, logs, socket_folder_);
  dynamic_.adopt(left_);
  keep_left_pools(number);
  around_.board.set_configuration(number);
  return {};
}

Result<void> Manager::prepare_folder(const std::string& folder) {
  if (mkdir(folder.c_str(), 0711) < 0 && errno != EEXIST) return posix_error("make the folder " + folder, errno);
  if (socket_folder_ != folder) remove_dead_sockets(folder);
  socket_folder_ = folder;
  return {};
}

bool Manager::knows(std::uint64_t key) const {
  const auto entry = pools_.find(key);
  return entry != pools_.end() && entry->second.keeper->has_config();
}

// Taken over where an earlier manager has left it, else new.
Result<std::unique_ptr<Keeper>> Manager::open(const PoolConfig& config, const std::string& folder,
                                              const Log::File& log) {
  if (const auto entry = pools_.find(config.key()); entry != pools_.end()) {  // left, and now it is known again
    return adopt(entry->second.keeper->abandon(), config, folder, log);
  }
  const auto left =
      std::find_if(left_.begin(), left_.end(), [&](const Board::Found& found) { return found.key == config.key(); });
  if (left == left_.end() && config.is_external()) return ExternalKeeper::open(around_, config, log);
  if (left == left_.end()) {
    auto keeper = PoolKeeper::open(around_, config, folder, log);
    if (!keeper) return keeper.error();
    return std::unique_ptr<Keeper>(*std::move(keeper));
  }
  const Board::Found found = *left;
  left_.erase(left);
  return adopt(found, config, folder, log);
}

std::unique_ptr<Keeper> Manager::adopt(const Board::Found& found, const PoolConfig& config, const std::string& folder,
                                       const Log::File& log) const {
  if (config.is_external()) return ExternalKeeper::adopt(around_, found, config, log);
  return PoolKeeper::adopt(around_, found, &config, folder, log);
}

// Pools of an earlier manager that the configuration does not know: processes of httpd that knew an earlier one may use
// them still.
void Manager::keep_left_pools(std::uint64_t number) {
  for (const Board::Found& found : std::exchange(left_, {})) {
    pools_.emplace(found.key, Entry{.keeper = PoolKeeper::adopt(around_, found, nullptr, socket_folder_, nullptr),
                                    .removed_by = number});
  }
}

void Manager::begin() {
  for (auto& [key, entry] : pools_) {
    if (entry.keeper->has_config()) entry.keeper->begin();
  }
  dynamic_.begin();
}

void Manager::generation_ended(std::uint64_t number) {
  for (auto& [key, entry] : pools_) {
    if (entry.removed_by && *entry.removed_by <= number) entry.keeper->remove();
  }
  dynamic_.generation_ended(number);
}

void Manager::shut_down() {
  if (is_ending_) return;
  is_ending_ = true;
  keep_left_pools(0);  // if no configuration has come yet
  Duration longest = dynamic_.shut_down();
  for (auto& [key, entry] : pools_) {
    longest = std::max(longest, entry.keeper->config().stop_grace);
    entry.keeper->shut_down();
  }
  last_moment_ = clock_now() + longest + kill_takes_at_most;
}

bool Manager::is_over() const {
  if (!is_ending_) return false;
  const bool all =
      std::all_of(pools_.begin(), pools_.end(), [](const auto& item) { return item.second.keeper->is_over(); });
  return (all && dynamic_.is_over()) || clock_now() >= last_moment_;
}

void Manager::clean_up() {
  pools_.clear();
  dynamic_.clear();
  // Only if it is empty, and ours to remove: httpd's parent may have made it.
  if (!socket_folder_.empty()) rmdir(socket_folder_.c_str());
}

void Manager::turn() {
  for (auto item = pools_.begin(); item != pools_.end();) {
    item->second.keeper->turn();
    const bool has_ended = !is_ending_ && item->second.removed_by && item->second.keeper->is_over();
    if (has_ended)
      around_.log.notice("pool {} has ended: no configuration knows it", item->second.keeper->config().name);
    item = has_ended ? pools_.erase(item) : std::next(item);
  }
  dynamic_.turn();
}

std::optional<Time> Manager::next_deadline() const {
  std::optional<Time> first = dynamic_.next_deadline();
  for (const auto& [key, entry] : pools_) {
    const auto due = entry.keeper->next_deadline();
    if (due && (!first || *due < *first)) first = due;
  }
  if (is_ending_ && (!first || last_moment_ < *first)) first = last_moment_;
  return first;
}

bool Manager::has_worker(pid_t pid) const {
  return dynamic_.has_worker(pid) || std::any_of(pools_.begin(), pools_.end(), [pid](const auto& item) {
           return item.second.keeper->has_worker(pid);
         });
}

bool Manager::reap_orphans() {
  siginfo_t ended{};
  while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0) {
    if (has_worker(ended.si_pid)) return true;  // its pidfd says so too, and its keeper wants to know how it ended
    waitid(P_PID, static_cast<id_t>(ended.si_pid), &ended, WEXITED | WNOHANG);
    ended = {};
  }
  return false;
}

void Manager::be_nudged() {
  for (auto& [key, entry] : pools_) entry.keeper->be_nudged();
  dynamic_.be_nudged();
}

}  // namespace cppfcgi
