// DynamicPools: the pools of programs that no directive names. One is opened when a child of httpd orders it, for the
// first request, and ended when nobody has used it for a while (PoolConfig::idle_process_timeout) and more live than
// are to (PoolTemplate::min_workers). A shell; owned by the manager.
//
// A request's way must not end where a pool does. httpd's children look a pool up in the directory and come to its row
// at any time later:
//
//   before it closes              it is in use, and does not close
//   while its worker ends         the first that waits nudges: the pool is restored, and starts another worker
//   when the row is free          the child finds another key there, or none, and orders the pool again; who came in
//                                 between is woken (claim_wait.cpp)
//
// Orders come from processes that are not trusted: they name a template and a program, and no more. What is opened runs
// as all workers do, and there are never more than the template says.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/pool_keeper.h"

namespace cppfcgi {

// A child of httpd wants a pool.
struct Order {
  std::uint64_t template_key = 0;
  std::string program;
  Fd answer;  // a socket: MessageKind::opened or not_opened goes there
};

class DynamicPools {
 public:
  explicit DynamicPools(const Surroundings& surroundings) : around_(surroundings) {}
  ~DynamicPools() { clear(); }
  DynamicPools(const DynamicPools&) = delete;
  DynamicPools& operator=(const DynamicPools&) = delete;

  // Other templates are in force. Pools that are made by none of them go on until generation_ended().
  void configure(std::uint64_t number, const std::vector<PoolTemplate>& templates, const std::vector<Log::File>& logs,
                 const std::string& socket_folder);
  // Takes those of an earlier manager out of `left`, by the link that leads to their program.
  void adopt(std::vector<Board::Found>& left);
  void begin();
  void generation_ended(std::uint64_t number);

  // Answers at once, or, while others must end first, within order_patience.
  void take(Order order);

  Duration shut_down();  // the longest time that a worker has for it
  bool is_over() const;
  void clear();

  void turn();
  std::optional<Time> next_deadline() const;
  void be_nudged();
  bool has_worker(pid_t pid) const;

 private:
  struct Template {
    PoolTemplate made;
    Log::File log;
    std::optional<std::uint64_t> removed_by;  // the number of the configuration
  };
  struct Entry {
    std::unique_ptr<PoolKeeper> keeper;
    std::string program;
    std::uint32_t min_workers = 0;  // of its template
    std::uint32_t max_workers = 0;  // likewise
    std::optional<std::uint64_t> removed_by;
    bool is_closing = false;    // nobody used it
    bool has_no_users = false;  // nobody can know it any more
    std::uint64_t uses = 0;     // at the last look
    Time last_used{};

    bool is_ending() const { return is_closing || has_no_users; }
  };
  using Pools = std::map<std::uint64_t, Entry>;  // by PoolConfig::key
  struct Waiting {
    Order order;
    Time until;
  };

  // nullopt: not yet, others must end first.
  std::optional<Result<void>> fulfil(const Order& order);
  std::optional<Result<void>> open(const Template& wanted, const PoolConfig& config);
  void fulfil_waiting(Time now);
  void reopen(Entry& entry);
  void close(Entry& entry, const std::string& why);
  void end_entries();
  Pools::iterator erase(Pools::iterator place);
  void look(Time now);
  void close_unused(Time now);
  template <class Function>
  void for_each_with_room(Function&& function);
  void make_room(const std::string& scope, Time now);
  Entry* longest_unused_that_may_end(Time now);
  Entry* longest_unused(const std::string& scope);
  std::uint32_t workers(const std::string& scope) const;
  std::map<std::string, std::uint32_t> lasting_workers() const;
  void plan_looks();

  Surroundings around_;
  std::string socket_folder_;
  std::map<std::uint64_t, Template> templates_;
  Pools pools_;
  std::deque<Waiting> waiting_;
  std::optional<Duration> look_every_;
  Time last_look_{};
  bool is_ending_ = false;
};

}  // namespace cppfcgi
