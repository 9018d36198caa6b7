#include "mod_cppfcgi/manager/dynamic_pools.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>

#include "mod_cppfcgi/manager/program_path.h"
#include "shared/control.h"

namespace cppfcgi {
namespace {

constexpr Duration order_patience{2'000};   // until there is room
constexpr Duration room_after{500};         // unused for so long, a pool makes room for another
constexpr Duration ask_for_room_after{50};  // while an order waits
constexpr Duration shortest_look{25};
constexpr int looks_in_patience = 4;
constexpr std::size_t max_waiting_orders = 64;

Time clock_now() { return std::chrono::steady_clock::now(); }

void answer(const Order& order, const Result<void>& result) {
  Message message{.kind = MessageKind::opened};
  if (!result) {
    message.kind = MessageKind::not_opened;
    message.number = static_cast<std::uint64_t>(result.error().code);
    message.text = result.error().what.substr(0, max_message_text_bytes);
  }
  // Whoever is not there any more, or does not read, needs no answer.
  [[maybe_unused]] const auto sent = send_message(order.answer.get(), message);
}

std::optional<std::string> program_from_link(const std::string& path) {
  std::array<char, PATH_MAX> target;
  const ssize_t bytes = readlink(path.c_str(), target.data(), target.size());
  if (bytes <= 0) return std::nullopt;
  return std::string(target.data(), static_cast<std::size_t>(bytes));
}

// All of them: of pools that no manager took over, too.
void remove_links(const std::string& folder) {
  constexpr std::string_view ending = ".program";
  std::error_code failure;
  std::vector<std::filesystem::path> links;
  for (const auto& file : std::filesystem::directory_iterator(folder, failure)) {
    if (file.is_symlink(failure) && file.path().extension() == ending) links.push_back(file.path());
  }
  for (const auto& link : links) unlink(link.c_str());
}

}  // namespace

// ---- configurations ----

void DynamicPools::configure(std::uint64_t number, const std::vector<PoolTemplate>& templates,
                             const std::vector<Log::File>& logs, const std::string& socket_folder) {
  socket_folder_ = socket_folder;
  for (auto& [key, known] : templates_) known.removed_by = known.removed_by.value_or(number);
  std::vector<const Template*> in_force;
  for (const PoolTemplate& made : templates) {
    Template& known = templates_[made.key()];
    known = {.made = made, .log = log_of(made.pool, logs), .removed_by = {}};
    in_force.push_back(&known);
  }
  for (auto& [key, entry] : pools_) {
    const auto makes_it = [wanted = key, &program = entry.program](const Template* known) {
      return known->made.for_program(program).key() == wanted;
    };
    const auto maker = std::find_if(in_force.begin(), in_force.end(), makes_it);
    if (maker == in_force.end()) {
      entry.removed_by = entry.removed_by.value_or(number);
      continue;
    }
    entry.removed_by.reset();
    if (std::exchange(entry.has_no_users, false)) entry.keeper->restore();
    entry.min_workers = (*maker)->made.min_workers;
    entry.max_workers = (*maker)->made.max_workers;
    entry.keeper->reconfigure((*maker)->made.for_program(entry.program), (*maker)->log);
  }
}

void DynamicPools::adopt(std::vector<Board::Found>& left) {
  for (const auto& [template_key, known] : templates_) {
    if (known.removed_by) continue;
    std::erase_if(left, [&, &known = known](const Board::Found& found) {
      const auto program = program_from_link(program_link_path(socket_folder_, found.key));
      if (!program) return false;
      // The link says no more than the key does.
      const PoolConfig config = known.made.for_program(*program);
      if (config.key() != found.key) return false;
      Entry entry{.keeper = PoolKeeper::adopt(around_, found, &config, socket_folder_, known.log), .program = *program};
      entry.min_workers = known.made.min_workers;
      entry.max_workers = known.made.max_workers;
      entry.last_used = clock_now();
      entry.uses = entry.keeper->uses();
      pools_.emplace(found.key, std::move(entry));
      return true;
    });
  }
}

void DynamicPools::begin() {
  for (auto& [key, entry] : pools_) entry.keeper->begin();
}

void DynamicPools::generation_ended(std::uint64_t number) {
  std::erase_if(templates_,
                [number](const auto& item) { return item.second.removed_by && *item.second.removed_by <= number; });
  for (auto& [key, entry] : pools_) {
    if (!entry.removed_by || *entry.removed_by > number) continue;
    entry.has_no_users = true;
    entry.keeper->remove();
  }
}

// ---- orders ----

void DynamicPools::take(Order order) {
  const auto result = fulfil(order);
  if (result) return answer(order, *result);
  if (waiting_.size() == max_waiting_orders) {
    return answer(order, Error{EAGAIN, "too many applications wait for room (FastCgiConfig -maxProcesses)"});
  }
  waiting_.push_back({std::move(order), clock_now() + order_patience});
}

std::optional<Result<void>> DynamicPools::fulfil(const Order& order) {
  if (is_ending_) return Error{ESHUTDOWN, "the manager is ending"};
  if (socket_folder_.empty()) return std::nullopt;  // this manager is so new that it has no configuration yet
  const auto wanted = templates_.find(order.template_key);
  if (wanted == templates_.end()) return Error{EAGAIN, "the manager does not know this FastCgiConfig (any more)"};
  const PoolConfig config = wanted->second.made.for_program(order.program);
  if (const auto known = pools_.find(config.key()); known != pools_.end()) {
    if (known->second.has_no_users) return std::nullopt;  // of an earlier configuration, about to be gone
    reopen(known->second);
    return Result<void>();
  }
  if (auto fine = check_program(order.program); !fine) return fine;
  return open(wanted->second, config);
}

std::optional<Result<void>> DynamicPools::open(const Template& wanted, const PoolConfig& config) {
  const Time now = clock_now();
  if (workers(config.scope) >= wanted.made.max_workers) {
    make_room(config.scope, now);
    return std::nullopt;
  }
  auto keeper = PoolKeeper::open(around_, config, socket_folder_, wanted.log);
  if (!keeper) return keeper.error();
  const std::string link = program_link_path(socket_folder_, config.key());
  unlink(link.c_str());
  if (symlink(config.program.c_str(), link.c_str()) < 0) {
    around_.log.warn("pool {}: {}; another manager would not know it", config.name,
                     posix_error("make the link " + link, errno).what);
  }
  Entry entry{.keeper = *std::move(keeper), .program = config.program};
  entry.min_workers = wanted.made.min_workers;
  entry.max_workers = wanted.made.max_workers;
  entry.removed_by = wanted.removed_by;
  entry.last_used = now;
  entry.uses = entry.keeper->uses();
  Entry& added = pools_.insert_or_assign(config.key(), std::move(entry)).first->second;
  around_.log.on(wanted.log).notice("pool {}: opened, since a request for it has come", config.name);
  added.keeper->begin();
  return Result<void>();
}

void DynamicPools::fulfil_waiting(Time now) {
  for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
    auto result = fulfil(waiting->order);
    if (!result && now >= waiting->until) {
      result = Error{EAGAIN,
                     "as many workers of dynamic applications live as may, and all are in use (FastCgiConfig "
                     "-maxProcesses)"};
    }
    if (result) answer(waiting->order, *result);
    waiting = result ? waiting_.erase(waiting) : std::next(waiting);
  }
}

// ---- ends ----

void DynamicPools::close(Entry& entry, const std::string& why) {
  around_.log.notice("pool {}: {}: ending it", entry.keeper->config().name, why);
  entry.is_closing = true;
  entry.keeper->remove();
}

void DynamicPools::reopen(Entry& entry) {
  entry.last_used = clock_now();
  if (!std::exchange(entry.is_closing, false)) return;
  around_.log.notice("pool {}: wanted again", entry.keeper->config().name);
  entry.keeper->restore();
}

void DynamicPools::end_entries() {
  for (auto place = pools_.begin(); place != pools_.end();) {
    Entry& entry = place->second;
    if (entry.is_closing && !entry.has_no_users && entry.keeper->has_waiting()) reopen(entry);
    const bool has_ended = !is_ending_ && entry.is_ending() && entry.keeper->is_over();
    place = has_ended ? erase(place) : std::next(place);
  }
}

DynamicPools::Pools::iterator DynamicPools::erase(Pools::iterator place) {
  const std::uint32_t row = place->second.keeper->row();
  around_.log.notice("pool {} has ended", place->second.keeper->config().name);
  unlink(program_link_path(socket_folder_, place->first).c_str());
  const auto next = pools_.erase(place);
  // Who queued up in the last moment finds out that the row is free.
  around_.claims.wake_waiting(row);
  return next;
}

// Takes note of who has been used since the last look.
void DynamicPools::look(Time now) {
  last_look_ = now;
  for (auto& [key, entry] : pools_) {
    const std::uint64_t uses = entry.keeper->uses();
    if (std::exchange(entry.uses, uses) != uses || entry.keeper->is_in_use()) entry.last_used = now;
  }
}

void DynamicPools::close_unused(Time now) {
  plan_looks();
  if (!look_every_ || now < last_look_ + *look_every_) return;
  look(now);
  while (Entry* entry = longest_unused_that_may_end(now)) {
    close(*entry, "no request has come for " + text_of(entry->keeper->config().idle_process_timeout) +
                      " (FastCgiConfig -killInterval)");
  }
}

DynamicPools::Entry* DynamicPools::longest_unused_that_may_end(Time now) {
  auto counts = lasting_workers();
  Entry* found = nullptr;
  for (auto& [key, entry] : pools_) {
    const PoolConfig& config = entry.keeper->config();
    const bool is_due = !entry.is_ending() && now - entry.last_used >= config.idle_process_timeout;
    if (!is_due || counts[config.scope] <= entry.min_workers) continue;
    if (found == nullptr || entry.last_used < found->last_used) found = &entry;
  }
  return found;
}

void DynamicPools::make_room(const std::string& scope, Time now) {
  const bool is_any_closing = std::any_of(pools_.begin(), pools_.end(), [&](const auto& item) {
    return item.second.is_ending() && item.second.keeper->config().scope == scope;
  });
  if (is_any_closing) return;
  look(now);
  Entry* entry = longest_unused(scope);
  if (entry != nullptr && now - entry->last_used >= room_after)
    close(*entry, "unused, and another application needs its place (FastCgiConfig -maxProcesses)");
}

DynamicPools::Entry* DynamicPools::longest_unused(const std::string& scope) {
  Entry* found = nullptr;
  for (auto& [key, entry] : pools_) {
    if (entry.is_ending() || entry.keeper->config().scope != scope) continue;
    if (found == nullptr || entry.last_used < found->last_used) found = &entry;
  }
  return found;
}

// A pool that has none at the moment is about to start one.
std::uint32_t DynamicPools::workers(const std::string& scope) const {
  std::uint32_t count = 0;
  for (const auto& [key, entry] : pools_) {
    if (entry.keeper->config().scope == scope) count += std::max(entry.keeper->workers(), std::uint32_t{1});
  }
  return count;
}

// Of pools that do not end, by scope.
std::map<std::string, std::uint32_t> DynamicPools::lasting_workers() const {
  std::map<std::string, std::uint32_t> counts;
  for (const auto& [key, entry] : pools_) {
    if (!entry.is_ending()) counts[entry.keeper->config().scope] += std::max(entry.keeper->workers(), std::uint32_t{1});
  }
  return counts;
}

// How often the counters of use are looked at: not at all while nothing could be closed.
void DynamicPools::plan_looks() {
  look_every_.reset();
  auto counts = lasting_workers();
  for (const auto& [key, entry] : pools_) {
    if (entry.is_ending() || counts[entry.keeper->config().scope] <= entry.min_workers) continue;
    const Duration every = std::max(entry.keeper->config().idle_process_timeout / looks_in_patience, shortest_look);
    look_every_ = look_every_ ? std::min(*look_every_, every) : every;
  }
}

// ---- the manager's turns ----

Duration DynamicPools::shut_down() {
  is_ending_ = true;
  fulfil_waiting(Time::max());
  Duration longest{0};
  for (auto& [key, entry] : pools_) {
    longest = std::max(longest, entry.keeper->config().stop_grace);
    entry.keeper->shut_down();
  }
  return longest;
}

bool DynamicPools::is_over() const {
  return std::all_of(pools_.begin(), pools_.end(), [](const auto& item) { return item.second.keeper->is_over(); });
}

void DynamicPools::clear() {
  pools_.clear();
  remove_links(socket_folder_);
}

// What lets each start workers, which all of a scope share.
template <class Function>
void DynamicPools::for_each_with_room(Function&& function) {
  std::map<std::string, std::uint32_t> counts;
  for (const auto& [key, entry] : pools_)
    counts[entry.keeper->config().scope] += std::max(entry.keeper->workers(), std::uint32_t{1});
  for (auto& [key, entry] : pools_) {
    std::uint32_t& count = counts[entry.keeper->config().scope];
    const std::uint32_t before = std::max(entry.keeper->workers(), std::uint32_t{1});
    entry.keeper->set_room(entry.max_workers > count ? entry.max_workers - count : 0);
    function(*entry.keeper);
    count += std::max(entry.keeper->workers(), std::uint32_t{1}) - before;
  }
}

void DynamicPools::turn() {
  for_each_with_room([](PoolKeeper& keeper) { keeper.turn(); });
  end_entries();
  if (is_ending_) return;
  const Time now = clock_now();
  close_unused(now);
  fulfil_waiting(now);
}

std::optional<Time> DynamicPools::next_deadline() const {
  std::optional<Time> first;
  const auto consider = [&first](std::optional<Time> time) {
    if (time) first = first ? std::min(*first, *time) : *time;
  };
  for (const auto& [key, entry] : pools_) consider(entry.keeper->next_deadline());
  if (is_ending_) return first;
  if (look_every_) consider(last_look_ + *look_every_);
  if (!waiting_.empty()) consider(clock_now() + ask_for_room_after);
  return first;
}

void DynamicPools::be_nudged() {
  for_each_with_room([](PoolKeeper& keeper) { keeper.be_nudged(); });
}

bool DynamicPools::has_worker(pid_t pid) const {
  return std::any_of(pools_.begin(), pools_.end(),
                     [pid](const auto& item) { return item.second.keeper->has_worker(pid); });
}

}  // namespace cppfcgi
