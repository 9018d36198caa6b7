// Site: an httpd with one pool of programs/answerer.cpp at /chaos, and what can be done to it: all the chaos suite's
// faults begin here. It knows its workers from outside, by /proc, and looks into the scoreboard through httpd's parent.
#pragma once

#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "shared/claims.h"
#include "shared/memory.h"
#include "tests/chaos/posts.h"
#include "tests/chaos/traffic.h"
#include "tests/support/httpd_server.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::test {

using Random = std::mt19937_64;

// Under which httpd, and asked how.
struct Setting {
  std::string mpm = "event";
  bool is_http2 = false;
  std::string name() const { return mpm + (is_http2 ? "_http2" : "_http1"); }
};
inline void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name(); }

// All processes that run this program, its file replaced or not, the oldest first.
std::vector<pid_t> pids_of(const std::string& program);

// Puts this text there by rename, for all to execute.
void replace_program(const std::string& path, const std::string& text);

// Counts the living workers all the time.
class Census {
 public:
  explicit Census(const std::string& program);
  ~Census();
  Census(const Census&) = delete;
  Census& operator=(const Census&) = delete;
  std::size_t most() const { return most_; }
  std::size_t least() const { return least_; }
  void begin_anew();

 private:
  const std::string program_;
  std::atomic<std::size_t> most_{0};
  std::atomic<std::size_t> least_{~std::size_t{0}};
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

class Site {
 public:
  static constexpr unsigned processes = 4;

  // Returns when all workers are ready.
  explicit Site(const Setting& setting, const std::string& pool_options = "", bool has_small_disk = false);
  ~Site();
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  HttpdServer& httpd() { return httpd_; }
  const std::string& program() const { return program_; }
  // The steady load of the suite, with these questions (or mixed ones).
  TrafficPlan plan(std::function<Question(std::size_t)> ask) const;
  TrafficPlan plan(std::uint64_t seed) const;

  // ---- processes ----
  std::vector<pid_t> workers() const;  // that live, the oldest first
  std::vector<pid_t> ready_workers();  // as the manager publishes them
  std::vector<pid_t> idle_workers();   // of those, the ones that no claim is on
  // So many workers are ready, and no other process of the program lives.
  bool is_complete();
  [[nodiscard]] bool becomes_complete(Milliseconds within);
  bool shares_no_worker_with(const std::vector<pid_t>& others) const;
  pid_t manager() const;                            // 0: there is none, or there are several
  bool has_manager_other_than(pid_t former) const;  // and it is at work
  std::optional<pid_t> kill_manager();              // each: whom; nullopt: there was none
  std::optional<pid_t> kill_httpd_child(Random& random);
  std::size_t starts() const;  // of workers, broken ones included, so far

  // ---- the program and the configuration ----
  void deploy();         // the next version, by rename
  void deploy_broken();  // one that ends at once
  std::string version() const { return std::to_string(version_); }
  void change_configuration();  // and graceful: the workers' environment is another

  // ---- resources ----
  void scribble_on_load(Random& random);  // random bytes, all over it
  void wipe_load();                       // as it was at the start
  bool has_small_disk() const { return has_small_disk_; }
  void fill_disk();
  void free_disk();

  // ---- what POSTs left ----
  // Waits a while for the lines that explain losses: a worker's end is told when its successor is ready.
  PostBreaches breaches(const Outcomes& outcomes) const;

 private:
  std::string configuration() const;
  int open_memory(const char* name) const;
  void map_scoreboard();

  const Setting setting_;
  const std::string pool_options_;
  const TempFolder files_{"cppfcgi-chaos", true};
  HttpdServer httpd_;
  const std::string program_;
  bool has_small_disk_ = false;
  int version_ = 0;
  int change_ = 0;
  Mapping directory_view_;
  Mapping load_view_;
  std::unique_ptr<Claims> claims_;
  std::uint64_t poison_seed_ = 0;
};

}  // namespace cppfcgi::test
