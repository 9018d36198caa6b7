// What the operator wrote: FastCgiServer, FastCgiConfig and the other directives, as values. Filled while httpd reads
// its configuration, read-only afterwards, so that any thread may read it. Lives in httpd's configuration pool
// (destroyed by its cleanup).
#pragma once

#include <httpd.h>

// after httpd.h, on which it leans
#include <http_config.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mod_cppfcgi/httpd/manager_link.h"
#include "mod_cppfcgi/httpd/pool_settings.h"

extern "C" __attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA cppfcgi_module;

namespace cppfcgi {

struct ChildState;

// A directive's value and where it stands. line 0: nobody wrote it.
struct Setting {
  std::string value;
  std::string file;
  std::uint32_t line = 0;
  bool is_given() const { return line != 0; }
};

// What belongs to the whole server; kept with the main server.
struct GlobalConfig {
  Setting ipc_folder;           // FastCgiIpcDir, or its default once the configuration is checked
  Setting manager_program;      // FastCgiManager; likewise
  LinkState link;               // manager_link.cpp's alone
  ChildState* child = nullptr;  // child_state.cpp's alone: in an httpd child, what its requests share
};

struct ServerConfig {
  std::vector<std::unique_ptr<PoolSettings>> pools;  // of this virtual host, in the order of the file
  std::unique_ptr<DynamicSettings> dynamic;  // its FastCgiConfig; in the main server, else nullptr, always there
  std::unique_ptr<GlobalConfig> global;      // in the main server, else nullptr
};

ServerConfig& server_config(const server_rec* server);
GlobalConfig& global_config();  // of the configuration that is in force (httpd's ap_server_conf)

// Every pool of the configuration, main server's first.
void for_each_pool(const server_rec* main_server, const std::function<void(const server_rec*, PoolSettings&)>& visit);
std::vector<const PoolSettings*> all_pools(const server_rec* main_server);

// Every FastCgiConfig, main server's first.
void for_each_dynamic(const server_rec* main_server,
                      const std::function<void(const server_rec*, DynamicSettings&)>& visit);
// What holds for programs without a FastCgiServer: the virtual host's, else the main server's.
const DynamicSettings& dynamic_settings(const server_rec* server);

// The pool declared for this program (a canonical absolute path) in this virtual host, else in the main server, else
// nullptr.
const PoolSettings* find_pool(const server_rec* server, std::string_view program);

// The pool whose -mount is the longest that leads this URL path, in this virtual host, else in the main server, else
// nullptr.
const PoolSettings* find_mount(const server_rec* server, std::string_view uri);

extern const command_rec directives[];
void* create_server_config(apr_pool_t* pool, server_rec* server);
void* merge_server_config(apr_pool_t* pool, void* base, void* added);

}  // namespace cppfcgi
