// What the operator wrote: FastCgiServer and the other directives, as values. Filled while httpd reads its
// configuration, read-only afterwards, so that any thread may read it. Lives in httpd's configuration pool (destroyed
// by its cleanup).
#pragma once

#include <http_config.h>
#include <httpd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "shared/pool_config.h"

extern "C" module AP_MODULE_DECLARE_DATA cppfcgi_module;

namespace cppfcgi {

// One FastCgiServer line: the pool that the manager keeps, and how httpd uses it.
struct PoolSettings {
  PoolConfig pool;
  std::uint64_t key = 0;                           // pool.key(), computed once the configuration is complete
  std::string mount;                               // "" or "/prefix" (no slash at its end; "/" for the root)
  std::chrono::milliseconds idle_timeout{30'000};  // without a byte from the worker: 504
  std::chrono::milliseconds claim_timeout{5'000};  // wait for a free worker: 503 (-appConnTimeout)
  std::uint32_t queue_limit = 0;  // requests that may wait; 0: ten times the pool's processes, at least 64
  bool flush = false;
  bool nph = false;
  std::vector<std::string> pass_headers;  // request headers that CGI otherwise withholds: "Authorization"
  std::string declared_at;                // "file:line", for messages
};

struct ServerConfig {
  std::vector<PoolSettings*> pools;  // of this virtual host, in the order of the file
};

// What belongs to the whole server.
struct GlobalConfig {
  std::string ipc_folder;       // FastCgiIpcDir; "" until post_config has chosen the default
  std::string manager_program;  // FastCgiManager; likewise
};

ServerConfig& server_config(const server_rec* server);
GlobalConfig& global_config(const server_rec* main_server);

// The pool declared for this program (a canonical absolute path) in this virtual host, else in the main server, else
// nullptr.
const PoolSettings* find_pool(const server_rec* server, const std::string& program);

// The pool whose -mount is the longest that leads this URL path, in this virtual host, else in the main server, else
// nullptr.
const PoolSettings* find_mount(const server_rec* server, const char* uri);

extern const command_rec directives[];
void* create_server_config(apr_pool_t* pool, server_rec* server);
void* merge_server_config(apr_pool_t* pool, void* base, void* added);

}  // namespace cppfcgi
