// PoolConfig: everything that the manager must know to keep one pool, and its form in JSON, which is the same in
// httpd's message to the manager and in the file of a manager that stands alone. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shared/result.h"

namespace cppfcgi {

// What a worker may use; the kernel sees to it (setrlimit(2)). nullopt: as much as the manager may.
struct WorkerLimits {
  std::optional<std::uint64_t> address_space_bytes;  // memory that is asked for beyond it is not given
  std::optional<std::uint64_t> open_files;
  std::optional<std::uint64_t> cpu_seconds;  // of its whole life; beyond it SIGXCPU, some seconds later SIGKILL
  std::optional<std::uint64_t> core_bytes;   // of a core dump; no_limit: any
  friend bool operator==(const WorkerLimits&, const WorkerLimits&) = default;
};
inline constexpr std::uint64_t no_limit = ~std::uint64_t{0};

struct PoolConfig {
  std::string name;                      // for logs: "/srv/a/app.fcgi", or with more where that is ambiguous
  std::string program;                   // absolute path
  std::vector<std::string> arguments;    // beyond argv[0]
  std::vector<std::string> environment;  // "NAME=value", the whole of it
  std::uint32_t processes = 1;           // that are always there; 0: none without demand
  std::uint32_t max_processes = 1;       // by demand; at least as many, and at least 1
  std::chrono::milliseconds idle_process_timeout{60'000};  // a worker beyond `processes` not needed for so long ends
  std::uint32_t scale_guard_memory_percent = 5;            // that must be available for a start by demand; 0: any
  std::uint32_t scale_guard_load = 20;                     // per processor, at most, for such a start; 0: any
  std::uint32_t listen_queue_depth = 100;
  int priority = 0;                    // nice value, 0 … 19
  std::string folder;                  // where its workers start; "": where the program lies
  std::optional<std::uint32_t> umask;  // of its workers, 0 … 0777; nullopt: the manager's
  WorkerLimits limits;
  std::chrono::milliseconds init_start_delay{0};    // between the first starts of the pool's workers
  std::chrono::milliseconds restart_delay{60'000};  // the longest pause between tries to start a worker that dies early
  std::chrono::milliseconds min_server_life{
      0};  // a worker that died younger than this died early; 0: only before it was ready
  std::chrono::milliseconds ready_timeout{1'000};  // a worker silent for this long counts as ready, capacity 1
  std::chrono::milliseconds stop_grace{2'000};     // from SIGTERM to SIGKILL
  std::chrono::milliseconds drain_grace{60'000};   // for a worker that is replaced to end what it works on
  std::uint64_t max_requests = 0;                  // then a worker is replaced; 0: never
  std::chrono::milliseconds max_lifetime{0};       // likewise
  std::uint64_t max_rss_bytes = 0;                 // likewise, of resident memory
  std::chrono::milliseconds probe_interval{0};     // an idle worker is asked for its capacity this often; 0: never
  bool follows_program = false;                    // when the program's file changes, it replaces the workers
  std::string
      deploy_check;       // path (and query) of a request that its first worker must answer with 2xx before; "": none
  std::string mount;      // where the application stands, for deploy_check: "" or "/prefix"
  std::uint32_t log = 0;  // where its lines go: 0 is the manager's own log, n the n-th of those sent along
  std::string scope;      // who shares it: "" for the whole server, else the virtual host's name and port
  // Where its workers all listen, on one socket (-port, -socket): an Address. "": each on one of its own.
  std::string listen;
  // An external application: where it listens; nobody starts its workers. Addresses, or what could not be resolved.
  // Empty: it is none.
  std::vector<std::string> endpoints;
  std::uint32_t max_connections = 256;  // to each of them

  bool is_external() const { return !endpoints.empty(); }
  // Each worker has a socket of its own, so that one knows who had a request.
  bool has_own_sockets() const { return endpoints.empty() && listen.empty(); }
  // What it takes of the rows for workers.
  std::uint32_t slot_count() const;

  // Identity: program, arguments, scope, the most workers, and where they listen, if not on sockets of their own. Two
  // configurations with the same key are the same pool, over a restart too. Never 0.
  std::uint64_t key() const;
  // What a worker is made of. The same: it may stay, whatever else has changed. Else it is replaced. Never 0.
  std::uint64_t worker_key() const;
  friend bool operator==(const PoolConfig&, const PoolConfig&) = default;
};

// What the pools of dynamic applications are made of, but for their programs, which the first requests name.
struct PoolTemplate {
  PoolConfig pool;                 // its program is empty; its name is what stands behind the program's in their names
  std::uint32_t max_workers = 50;  // of all its pools together
  std::uint32_t min_workers = 5;   // so many live on, used or not

  PoolConfig for_program(const std::string& program) const;
  // By which httpd's children name it. Templates with the same key make the same pools. Never 0.
  std::uint64_t key() const;
  friend bool operator==(const PoolTemplate&, const PoolTemplate&) = default;
};

struct Configuration {
  std::string socket_folder;  // the slots' sockets lie here
  std::vector<PoolConfig> pools;
  std::vector<PoolTemplate> templates;
  friend bool operator==(const Configuration&, const Configuration&) = default;
};

// Error: what in the text is wrong, with the member's path ("pools[1].priority: 20 is not in 0 … 19").
std::string to_json(const Configuration& configuration);
Result<Configuration> configuration_from_json(std::string_view text);

// An endpoint's connections fill several slots. They lie interleaved: slot i belongs to endpoint i modulo their number,
// so that who takes the least busy slot, the lowest first, takes them in turn.
std::uint32_t slots_of_endpoint(const PoolConfig& pool);
std::uint32_t capacity_of_slot(const PoolConfig& pool, std::uint32_t index);
inline constexpr std::uint32_t max_endpoints = 64;
inline constexpr std::uint32_t max_endpoint_connections = 4'096;

// Where a connection to slot `index` of a pool goes: an Address.
std::string slot_address(const PoolConfig& pool, const std::string& folder, std::uint64_t key, std::uint32_t index);

// Where slot `index` (0 … max_processes) of a pool listens: "<folder>/<16 hex digits>.<index>".
std::string socket_path(const std::string& folder, std::uint64_t key, std::uint32_t index);
// The link that leads to a dynamic pool's program, from which the next manager learns it: "<folder>/<16 hex>.program".
std::string program_link_path(const std::string& folder, std::uint64_t key);
inline constexpr std::size_t max_socket_path_bytes = 107;         // sockaddr_un::sun_path less its NUL
inline constexpr std::size_t socket_name_bytes = 1 + 16 + 1 + 4;  // what socket_path adds to the folder, at most

}  // namespace cppfcgi
