#include "mod_cppfcgi/httpd/configuration_check.h"

#include <dlfcn.h>
#include <http_config.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "mod_cppfcgi/httpd/config.h"
#include "mod_cppfcgi/httpd/identity.h"
#include "mod_cppfcgi/httpd/log.h"
#include "mod_cppfcgi/httpd/resolver.h"
#include "shared/address.h"
#include "shared/scoreboard.h"

// Where `make install` puts the manager; mk/install.mk knows better.
#ifndef CPPFCGI_MANAGER
#define CPPFCGI_MANAGER "/usr/local/lib/cppfcgi/cppfcgi-manager"
#endif

namespace cppfcgi {
namespace {

// Logs mistakes in httpd's own words, and remembers whether there was one. What nobody wrote (a default) is told at the
// first pool, which needs it.
class Mistakes {
 public:
  explicit Mistakes(const server_rec* main_server) {
    if (const auto pools = all_pools(main_server); !pools.empty()) first_ = pools.front();
  }
  void add(const std::string& directive, std::string file, std::uint32_t line, const std::string& what) {
    if (line == 0 && first_) file = first_->file, line = first_->line;
    const std::string at = line == 0 ? "" : "Syntax error on line " + std::to_string(line) + " of " + file + ": ";
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, nullptr, "%s%s: %s", at.c_str(), directive.c_str(),
                 what.c_str());
    found_ = true;
  }
  void add(const PoolSettings& settings, const std::string& what) {
    const char* directive = settings.pool.is_external() ? "FastCgiExternalServer" : "FastCgiServer";
    add(directive, settings.file, settings.line, settings.pool.program + ": " + what);
  }
  void add(const char* directive, const Setting& setting, const std::string& what) {
    add(directive, setting.file, setting.line, what);
  }
  bool found() const { return found_; }

 private:
  const PoolSettings* first_ = nullptr;
  bool found_ = false;
};

// The virtual host's name, port and addresses: the same in every reading of an unchanged configuration.
std::string scope_of(const server_rec* server) {
  if (!server->is_virtual) return {};
  std::string scope =
      std::string(server->server_hostname ? server->server_hostname : "") + ':' + std::to_string(server->port) + " (";
  for (const server_addr_rec* address = server->addrs; address; address = address->next) {
    if (address != server->addrs) scope += ' ';
    scope += std::string(address->virthost ? address->virthost : "") + ':' + std::to_string(address->host_port);
  }
  return scope + ')';
}

void complete_pools(const server_rec* main_server) {
  std::map<std::string, int> hosts_with_scope;
  std::map<const server_rec*, std::string> scopes;
  const auto scope_for = [&](const server_rec* server) {
    const auto [place, is_new] = scopes.emplace(server, scope_of(server));
    std::string& scope = place->second;
    if (!is_new) return scope;
    // httpd allows two hosts of one name and address; the second is never reached, yet its pools are its own.
    if (const int number = ++hosts_with_scope[scope]; number > 1) scope += " #" + std::to_string(number);
    return scope;
  };
  for_each_pool(main_server, [&](const server_rec* server, PoolSettings& settings) {
    settings.pool.scope = scope_for(server);
    settings.pool.mount = settings.mount;
    settings.pool.name = settings.pool.program;
    if (server->is_virtual && server->server_hostname)
      settings.pool.name += std::string(" of ") + server->server_hostname;
    settings.key = settings.pool.key();
  });
  for_each_dynamic(main_server, [&](const server_rec* server, DynamicSettings& settings) {
    const bool is_hosts = server->is_virtual && server->server_hostname;
    settings.complete(scope_for(server), is_hosts ? server->server_hostname : "");
  });
}

// "name" lies in FastCgiIpcDir. A path that is too long for a socket is a mistake.
void complete_socket(std::string& socket, const std::string& folder, const PoolSettings& settings, Mistakes& mistakes) {
  if (!socket.starts_with('/')) socket = folder + '/' + socket;
  if (socket.size() > max_socket_path_bytes)
    mistakes.add(settings, "-socket " + socket + ": too long for a socket's path; accepted: at most " +
                               std::to_string(max_socket_path_bytes) + " bytes");
}

// Where external applications listen, and the pools that share one socket. A name that is not known just now is left as
// it is: a running server goes on without that endpoint.
void complete_addresses(const server_rec* main_server, const GlobalConfig& global, Mistakes& mistakes,
                        Mistakes& names) {
  std::map<std::string, const PoolSettings*> taken;
  for_each_pool(main_server, [&](const server_rec*, PoolSettings& settings) {
    for (std::string& endpoint : settings.pool.endpoints) {
      const auto is_host = endpoint.find('/') == std::string::npos && split_host_port(endpoint);
      if (!is_host) {
        complete_socket(endpoint, global.ipc_folder.value, settings, mistakes);
      } else if (auto address = resolve(endpoint)) {
        endpoint = *std::move(address);
      } else {
        names.add(settings, "-host " + endpoint + ": " + address.error().what + "; accepted: host:port");
      }
    }
    std::string& listen = settings.pool.listen;
    if (listen.empty()) return;
    const bool is_port = Address::from(listen) && !listen.starts_with('/');
    if (!is_port) complete_socket(listen, global.ipc_folder.value, settings, mistakes);
    const auto [first, is_new] = taken.emplace(listen, &settings);
    if (!is_new)
      mistakes.add(settings, std::string(is_port ? "-port " : "-socket ") + listen + ": already taken by " +
                                 first->second->pool.program + ", at " + first->second->declared_at());
  });
}

// The manager makes the socket, as User.
void check_socket_folders(const server_rec* main_server, const GlobalConfig& global, const Identity& identity,
                          Mistakes& mistakes) {
  for (const PoolSettings* settings : all_pools(main_server)) {
    const std::string& path = settings->pool.listen;
    const std::string folder = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
    if (!path.starts_with('/') || folder == global.ipc_folder.value) continue;
    const auto answers = check_access(identity, {{folder, Need::write_folder}});
    if (!answers) return mistakes.add("FastCgiServer", "", 0, answers.error().what);
    if (!answers->front().empty())
      mistakes.add(*settings, "-socket " + path + ": User " + identity.user + " may not write there: " +
                                  answers->front() + "; accepted: a file in a folder that this user may write");
  }
}

// The option that says how much room the pool takes, and how much.
std::string size_text(const PoolConfig& pool) {
  if (pool.is_external())
    return "-max-connections " + std::to_string(pool.max_connections) + ": counts as a process for each " +
           std::to_string(max_capacity) + " of an endpoint, and";
  const std::string option = pool.max_processes > pool.processes ? "-max-processes " : "-processes ";
  return option + std::to_string(pool.max_processes) + ':';
}

void check_totals(const server_rec* main_server, Mistakes& mistakes) {
  std::uint32_t pools = 0, processes = 0;
  for_each_pool(main_server, [&](const server_rec*, PoolSettings& settings) {
    if (++pools == max_pools + 1)
      mistakes.add(settings, "one FastCgiServer too many; accepted: at most " + std::to_string(max_pools));
    const bool fitted = processes <= max_workers;
    processes += settings.pool.slot_count();
    if (fitted && processes > max_workers)
      mistakes.add(settings, size_text(settings.pool) + " brings the total of all pools to " +
                                 std::to_string(processes) + "; accepted: at most " + std::to_string(max_workers) +
                                 " together");
  });
}

// Of what httpd itself may not exceed, its workers cannot be given more.
void check_limits(const server_rec* main_server, Mistakes& mistakes) {
  for (const PoolSettings* settings : all_pools(main_server)) {
    const WorkerLimits& limits = settings->pool.limits;
    const auto check = [&](const char* option, __rlimit_resource resource, std::optional<std::uint64_t> wanted) {
      rlimit ours{};
      if (!wanted || getrlimit(resource, &ours) < 0 || ours.rlim_max == RLIM_INFINITY || *wanted <= ours.rlim_max)
        return;
      mistakes.add(*settings, std::string(option) + ": above the hard limit of httpd itself; accepted: at most " +
                                  std::to_string(ours.rlim_max));
    };
    check("-rlimit-as", RLIMIT_AS, limits.address_space_bytes);
    check("-rlimit-core", RLIMIT_CORE, limits.core_bytes);
    check("-rlimit-cpu", RLIMIT_CPU, limits.cpu_seconds);
    check("-rlimit-nofile", RLIMIT_NOFILE, limits.open_files);
  }
}

void check_folders(const server_rec* main_server, const Identity& identity, Mistakes& mistakes) {
  std::vector<const PoolSettings*> asked;
  std::vector<AccessQuestion> questions;
  for (const PoolSettings* settings : all_pools(main_server)) {
    if (settings->pool.folder.empty()) continue;
    asked.push_back(settings);
    questions.push_back({settings->pool.folder, Need::enter_folder});
  }
  const auto answers = check_access(identity, questions);
  if (!answers) return mistakes.add("FastCgiServer", "", 0, answers.error().what);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    if ((*answers)[i].empty()) continue;
    mistakes.add(*asked[i], "-chdir " + asked[i]->pool.folder + ": User " + identity.user + " may not go there: " +
                                (*answers)[i] + "; accepted: a folder that is there and open to this user");
  }
}

constexpr const char* accepted_program = "; accepted: the path of an executable file";

// "" if the program is there and a regular file; whether User may execute it is asked later.
std::string program_mistake(const std::string& program) {
  struct stat status {};
  if (stat(program.c_str(), &status) < 0) return posix_error("no such program", errno).what;
  if (S_ISDIR(status.st_mode)) return "is a folder";
  if (!S_ISREG(status.st_mode)) return "is not a regular file";
  return {};
}

void check_programs(const server_rec* main_server, const Identity& identity, Mistakes& mistakes) {
  std::vector<const PoolSettings*> asked;
  std::vector<AccessQuestion> questions;
  for (const PoolSettings* settings : all_pools(main_server)) {
    if (settings->pool.is_external()) continue;
    if (const std::string wrong = program_mistake(settings->pool.program); !wrong.empty()) {
      mistakes.add(*settings, wrong + accepted_program);
      continue;
    }
    asked.push_back(settings);
    questions.push_back({settings->pool.program, Need::execute_file});
  }
  const auto answers = check_access(identity, questions);
  if (!answers) return mistakes.add("FastCgiServer", "", 0, answers.error().what);
  for (std::size_t i = 0; i < asked.size(); ++i)
    if (!(*answers)[i].empty())
      mistakes.add(*asked[i], "User " + identity.user + " may not execute it: " + (*answers)[i] + accepted_program);
}

void check_ipc_folder(GlobalConfig& global, const Identity& identity, Mistakes& mistakes) {
  const std::string& folder = global.ipc_folder.value;
  const std::size_t added = std::string("/4194304").size() + socket_name_bytes;
  if (folder.size() + added > max_socket_path_bytes)
    return mistakes.add("FastCgiIpcDir", global.ipc_folder,
                        folder + ": too long for a socket's path; accepted: at most " +
                            std::to_string(max_socket_path_bytes - added) + " bytes");

  const std::string parent = folder.substr(0, std::max<std::size_t>(folder.rfind('/'), 1));
  struct stat status {};
  const bool exists = stat(folder.c_str(), &status) == 0;
  if (exists && !S_ISDIR(status.st_mode))
    return mistakes.add("FastCgiIpcDir", global.ipc_folder, folder + ": not a folder");
  if (!exists && stat(parent.c_str(), &status) < 0)
    return mistakes.add("FastCgiIpcDir", global.ipc_folder,
                        folder + ": cannot be created, since " + posix_error(parent, errno).what);
  // Root creates the folder where it is missing, and User must reach it; anybody else must be allowed to create it.
  const std::string& asked = exists ? folder : parent;
  const Need need = !exists && geteuid() == 0 ? Need::enter_folder : Need::write_folder;
  const auto answers = check_access(identity, {{asked, need}});
  if (!answers) return mistakes.add("FastCgiIpcDir", global.ipc_folder, answers.error().what);
  if (!answers->front().empty())
    mistakes.add("FastCgiIpcDir", global.ipc_folder,
                 folder + ": User " + identity.user + " may not write there: " + answers->front() +
                     "; accepted: a folder that this user may write, or one that does not exist yet");
}

std::string beside_the_module() {
  Dl_info module_file{};
  if (dladdr(&cppfcgi_module, &module_file) == 0 || !module_file.dli_fname) return {};
  const std::string path = module_file.dli_fname;
  const std::size_t slash = path.rfind('/');
  return slash == path.npos ? std::string() : path.substr(0, slash) + "/cppfcgi-manager";
}

// What is wrong with it, or "".
std::string manager_mistake(const std::string& program, const Identity& identity) {
  if (std::string wrong = program_mistake(program); !wrong.empty()) return program + ": " + wrong;
  const auto answers = check_access(identity, {{program, Need::execute_file}});
  if (!answers) return answers.error().what;
  return answers->front().empty() ? std::string()
                                  : "User " + identity.user + " may not execute it: " + answers->front();
}

void check_manager(GlobalConfig& global, const Identity& identity, Mistakes& mistakes) {
  Setting& setting = global.manager_program;
  if (setting.is_given()) {
    const std::string wrong = manager_mistake(setting.value, identity);
    if (!wrong.empty())
      mistakes.add("FastCgiManager", setting, wrong + "; accepted: the path of the program cppfcgi-manager");
    return;
  }
  std::string wrong;
  for (const std::string& program : {beside_the_module(), std::string(CPPFCGI_MANAGER)}) {
    if (program.empty()) continue;
    const std::string mistake = manager_mistake(program, identity);
    if (mistake.empty()) {
      setting.value = program;
      return;
    }
    wrong += (wrong.empty() ? "" : "; ") + mistake;
  }
  mistakes.add("FastCgiServer", "", 0,
               "needs the program cppfcgi-manager: " + wrong + "; name another place with FastCgiManager");
}

}  // namespace

int check_configuration(apr_pool_t* pconf, server_rec* main_server) {
  Mistakes mistakes(main_server);
  Mistakes files(main_server);
  GlobalConfig& global = *server_config(main_server).global;
  if (!global.ipc_folder.is_given()) global.ipc_folder.value = ap_runtime_dir_relative(pconf, "cppfcgi");
  complete_addresses(main_server, global, mistakes, files);
  complete_pools(main_server);
  check_totals(main_server, mistakes);
  check_limits(main_server, mistakes);

  // Dynamic applications need no directive: there is always work for a manager.
  const auto identity = worker_identity();
  if (!identity) {
    files.add("FastCgiServer", "", 0, identity.error().what);
  } else {
    check_programs(main_server, *identity, files);
    check_folders(main_server, *identity, files);
    check_ipc_folder(global, *identity, files);
    check_socket_folders(main_server, global, *identity, files);
    check_manager(global, *identity, files);
  }
  // A running server keeps running: a program that is being replaced at this moment must not end it. The manager has
  // the workers that it has, and tries again.
  const bool is_fatal = mistakes.found() || (files.found() && !link_is_running());
  return is_fatal ? HTTP_INTERNAL_SERVER_ERROR : OK;
}

}  // namespace cppfcgi
