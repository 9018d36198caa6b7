#include "mod_cppfcgi/httpd/config.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_main.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "mod_cppfcgi/httpd/barrier.h"
#include "mod_cppfcgi/httpd/option_values.h"
#include "mod_cppfcgi/httpd/options.h"

namespace cppfcgi {
namespace {

// An object on httpd's pool, destroyed with it.
template <class T>
T* make_on_pool(apr_pool_t* pool) {
  T* object = new (apr_palloc(pool, sizeof(T))) T;
  apr_pool_cleanup_register(
      pool, object,
      [](void* data) -> apr_status_t {
        static_cast<T*>(data)->~T();
        return APR_SUCCESS;
      },
      apr_pool_cleanup_null);
  return object;
}

const char* on_pool(const cmd_parms* command, const std::string& text) {
  return apr_pstrmemdup(command->pool, text.data(), text.size());
}

std::string mistake(const cmd_parms* command, const std::string& what) {
  return std::string(command->cmd->name) + ": " + what;
}

// Runs a directive's function, which returns what is wrong or "".
template <class Function>
const char* directive(cmd_parms* command, Function&& function) noexcept {
  return barrier(command->server, command->cmd->name, static_cast<const char*>("failed; see above"),
                 [&]() -> const char* {
                   const std::string wrong = function();
                   return wrong.empty() ? nullptr : on_pool(command, mistake(command, wrong));
                 });
}

std::optional<std::string> httpd_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

// As httpd itself does for CGI.
std::string default_path() { return "PATH=" + httpd_variable("PATH").value_or("/usr/local/bin:/usr/bin:/bin"); }

const PoolSettings* with_program(const ServerConfig& config, std::string_view program) {
  const auto found = std::find_if(config.pools.begin(), config.pools.end(),
                                  [&](const auto& settings) { return settings->pool.program == program; });
  return found == config.pools.end() ? nullptr : found->get();
}

const PoolSettings* with_mount(const ServerConfig& config, std::string_view mount) {
  const auto found = std::find_if(config.pools.begin(), config.pools.end(),
                                  [&](const auto& settings) { return settings->mount == mount; });
  return found == config.pools.end() ? nullptr : found->get();
}

// "/app" leads "/app" and "/app/x", not "/application"; "/" leads all but "*".
bool leads(std::string_view mount, std::string_view uri) {
  if (mount == "/") return uri.starts_with('/');
  return uri.starts_with(mount) && (uri.size() == mount.size() || uri[mount.size()] == '/');
}

const PoolSettings* longest_mount(const ServerConfig& config, std::string_view uri) {
  const PoolSettings* longest = nullptr;
  for (const auto& settings : config.pools) {
    if (settings->mount.empty() || !leads(settings->mount, uri)) continue;
    if (!longest || settings->mount.size() > longest->mount.size()) longest = settings.get();
  }
  return longest;
}

// ap_getword_conf takes an open quote to the line's end for a word, with all the options in it.
bool has_open_quote(const char* word) {
  const char quote = *word;
  if (quote != '"' && quote != '\'') return false;
  while (*++word != '\0' && *word != quote)
    if (*word == '\\' && (word[1] == quote || word[1] == '\\')) ++word;
  return *word == '\0';
}

enum class PoolKind : std::uint8_t { own, external };  // FastCgiServer, FastCgiExternalServer

// How a line of the directive goes.
std::string form_of(const cmd_parms* command, PoolKind kind) {
  return std::string(command->cmd->name) + (kind == PoolKind::external
                                                ? " name -host host:port | -socket file [-option [value]] ..."
                                                : " program [-option [value]] ...");
}

// httpd's own splitting (TAKE_ARGV) ends at 64 words, which a long environment exceeds. Returns what is wrong.
std::string split(cmd_parms* command, const char* line, std::vector<std::string>& words) {
  if (const char* wrong = ap_check_cmd_context(command, NOT_IN_DIR_LOC_FILE)) return wrong;
  while (*line != '\0') {
    if (has_open_quote(line)) return std::string(line) + ": a quote without its end; accepted: \"two words\"";
    words.emplace_back(ap_getword_conf(command->pool, &line));
  }
  for (const std::string& word : words)
    if (!is_utf8(word)) return "\"" + word + "\" is not UTF-8; accepted: UTF-8";
  return {};
}

std::string read_pool(cmd_parms* command, const char* line, PoolKind kind) {
  std::vector<std::string> words;
  if (auto wrong = split(command, line, words); !wrong.empty()) return wrong;
  const std::string what = kind == PoolKind::external ? "name" : "program";
  if (words.empty()) return "the " + what + " is missing; accepted: " + form_of(command, kind);
  if (words[0].empty() || words[0].starts_with('-'))
    return "\"" + words[0] + "\" is not a " + what + "; accepted: " + form_of(command, kind);

  const char* program = ap_server_root_relative(command->pool, words[0].c_str());
  if (!program) return words[0] + ": not a valid path";
  auto settings = std::make_unique<PoolSettings>();
  settings->pool.program = settings->pool.name = program;
  settings->pool.environment = {default_path()};
  settings->file = command->directive->filename;
  settings->line = static_cast<std::uint32_t>(command->directive->line_num);
  const auto parse = kind == PoolKind::external ? parse_external_options : parse_options;
  const auto parsed = parse(*settings, {words.begin() + 1, words.end()}, httpd_variable);
  if (!parsed) return settings->pool.program + ": " + parsed.error().what;
  if (std::string& folder = settings->pool.folder; !folder.empty()) {
    const char* absolute = ap_server_root_relative(command->pool, folder.c_str());
    if (!absolute) return settings->pool.program + ": -chdir " + folder + ": not a valid path";
    folder = absolute;
  }

  ServerConfig& config = server_config(command->server);
  const char* host = command->server->is_virtual ? "this virtual host" : "the main server";
  if (const PoolSettings* first = with_program(config, settings->pool.program))
    return settings->pool.program + ": already declared for " + host + ", at " + first->declared_at();
  if (const PoolSettings* first = settings->mount.empty() ? nullptr : with_mount(config, settings->mount))
    return settings->pool.program + ": -mount " + settings->mount + ": already taken in " + host + " by " +
           first->pool.program + ", at " + first->declared_at();
  config.pools.push_back(std::move(settings));
  return {};
}

std::unique_ptr<DynamicSettings> default_dynamic() {
  auto settings = std::make_unique<DynamicSettings>();
  settings->common.pool.environment = {default_path()};
  return settings;
}

// Several lines add up, as in mod_fastcgi.
std::string read_dynamic(cmd_parms* command, const char* line) {
  std::vector<std::string> words;
  if (auto wrong = split(command, line, words); !wrong.empty()) return wrong;
  if (words.empty()) return "its options are missing; accepted: -option [value] ..., such as -maxProcesses 20";
  std::unique_ptr<DynamicSettings>& settings = server_config(command->server).dynamic;
  if (!settings) settings = default_dynamic();
  settings->file = settings->common.file = command->directive->filename;
  settings->line = settings->common.line = static_cast<std::uint32_t>(command->directive->line_num);
  const auto parsed = parse_dynamic_options(*settings, words, httpd_variable);
  return parsed ? std::string() : parsed.error().what;
}

std::string read_setting(cmd_parms* command, Setting GlobalConfig::*member, const char* path) {
  const std::unique_ptr<GlobalConfig>& global = server_config(command->server).global;
  if (!global || ap_check_cmd_context(command, NOT_IN_DIR_LOC_FILE))
    return "accepted for the whole server only: write it outside <VirtualHost> and other sections";
  Setting& setting = (*global).*member;
  if (!is_utf8(path)) return "\"" + std::string(path) + "\" is not UTF-8; accepted: UTF-8";
  if (setting.is_given()) return "already given, at " + setting.file + ':' + std::to_string(setting.line);
  const char* absolute = *path ? ap_server_root_relative(command->pool, path) : nullptr;
  if (!absolute) return "\"" + std::string(path) + "\" is not a valid path";
  setting = {absolute, command->directive->filename, static_cast<std::uint32_t>(command->directive->line_num)};
  return {};
}

const char* take_pool(cmd_parms* command, void*, const char* line) noexcept {
  return directive(command, [&] { return read_pool(command, line, PoolKind::own); });
}

const char* take_external(cmd_parms* command, void*, const char* line) noexcept {
  return directive(command, [&] { return read_pool(command, line, PoolKind::external); });
}

const char* take_dynamic(cmd_parms* command, void*, const char* line) noexcept {
  return directive(command, [&] { return read_dynamic(command, line); });
}

const char* take_ipc_folder(cmd_parms* command, void*, const char* path) noexcept {
  return directive(command, [&] { return read_setting(command, &GlobalConfig::ipc_folder, path); });
}

const char* take_manager(cmd_parms* command, void*, const char* path) noexcept {
  return directive(command, [&] { return read_setting(command, &GlobalConfig::manager_program, path); });
}

// mod_fastcgi's other directives, so that an old configuration is told what to do about them.
const char* take_later(cmd_parms* command, void*, const char*) noexcept {
  return directive(command, [&] {
    return std::string("not yet available in this version: remove it") +
           static_cast<const char*>(command->cmd->cmd_data);
  });
}

// httpd calls each with the arguments that its kind says; C++ sees them as one type without any.
template <class Function>
cmd_func command(Function* function) {
  return reinterpret_cast<cmd_func>(reinterpret_cast<void (*)()>(function));
}

void* with_advice(const char* advice) { return const_cast<char*>(advice); }

}  // namespace

const command_rec directives[] = {
    AP_INIT_RAW_ARGS(
        "FastCgiServer", command(take_pool), nullptr, RSRC_CONF,
        "a program, and options: -processes n, -mount /prefix, -initial-env NAME=value, -idle-timeout time, ..."),
    AP_INIT_TAKE1("FastCgiIpcDir", command(take_ipc_folder), nullptr, RSRC_CONF, "the folder for the workers' sockets"),
    AP_INIT_TAKE1("FastCgiManager", command(take_manager), nullptr, RSRC_CONF, "the program cppfcgi-manager"),
    AP_INIT_RAW_ARGS("FastCgiExternalServer", command(take_external), nullptr, RSRC_CONF,
                     "a name, -host host:port or -socket file, and options: -mount /prefix, -idle-timeout time, ..."),
    AP_INIT_RAW_ARGS("FastCgiConfig", command(take_dynamic), nullptr, RSRC_CONF,
                     "options for applications without a FastCgiServer line: -maxProcesses n, -killInterval time, ..."),
    // mod_fastcgi's old names
    AP_INIT_RAW_ARGS("AppClass", command(take_pool), nullptr, RSRC_CONF, "the same as FastCgiServer"),
    AP_INIT_RAW_ARGS("ExternalAppClass", command(take_external), nullptr, RSRC_CONF,
                     "the same as FastCgiExternalServer"),
    AP_INIT_RAW_ARGS("FCGIConfig", command(take_dynamic), nullptr, RSRC_CONF, "the same as FastCgiConfig"),
    AP_INIT_RAW_ARGS("FastCgiWrapper", command(take_later), with_advice("; workers run as httpd's User and Group"),
                     OR_ALL | RSRC_CONF, ""),
    AP_INIT_RAW_ARGS("FastCgiSuexec", command(take_later), with_advice("; workers run as httpd's User and Group"),
                     OR_ALL | RSRC_CONF, ""),
    AP_INIT_RAW_ARGS("FastCgiAccessChecker", command(take_later), with_advice("; use httpd's own Require"),
                     OR_ALL | RSRC_CONF, ""),
    AP_INIT_RAW_ARGS("FastCgiAccessCheckerAuthoritative", command(take_later), with_advice("; use httpd's own Require"),
                     OR_ALL | RSRC_CONF, ""),
    AP_INIT_RAW_ARGS("FastCgiAuthenticator", command(take_later), with_advice("; use httpd's own AuthBasicProvider"),
                     OR_ALL | RSRC_CONF, ""),
    AP_INIT_RAW_ARGS("FastCgiAuthenticatorAuthoritative", command(take_later),
                     with_advice("; use httpd's own AuthBasicProvider"), OR_ALL | RSRC_CONF, ""),
    AP_INIT_RAW_ARGS("FastCgiAuthorizer", command(take_later), with_advice("; use httpd's own Require"),
                     OR_ALL | RSRC_CONF, ""),
    AP_INIT_RAW_ARGS("FastCgiAuthorizerAuthoritative", command(take_later), with_advice("; use httpd's own Require"),
                     OR_ALL | RSRC_CONF, ""),
    {},
};

void* create_server_config(apr_pool_t* pool, server_rec* server) {
  return barrier(nullptr, "the configuration", static_cast<void*>(nullptr), [&]() -> void* {
    auto* config = make_on_pool<ServerConfig>(pool);
    if (!server->is_virtual) {
      config->global = std::make_unique<GlobalConfig>();
      config->dynamic = default_dynamic();
    }
    return config;
  });
}

// find_pool and find_mount ask the main server themselves; a virtual host has what was written in it.
void* merge_server_config(apr_pool_t*, void*, void* added) { return added; }

ServerConfig& server_config(const server_rec* server) {
  return *static_cast<ServerConfig*>(ap_get_module_config(server->module_config, &cppfcgi_module));
}

GlobalConfig& global_config() { return *server_config(ap_server_conf).global; }

void for_each_pool(const server_rec* main_server, const std::function<void(const server_rec*, PoolSettings&)>& visit) {
  for (const server_rec* server = main_server; server; server = server->next) {
    // A virtual host without a directive of ours shares the main server's object.
    if (server != main_server && &server_config(server) == &server_config(main_server)) continue;
    for (const auto& settings : server_config(server).pools) visit(server, *settings);
  }
}

std::vector<const PoolSettings*> all_pools(const server_rec* main_server) {
  std::vector<const PoolSettings*> pools;
  for_each_pool(main_server, [&](const server_rec*, PoolSettings& settings) { pools.push_back(&settings); });
  return pools;
}

void for_each_dynamic(const server_rec* main_server,
                      const std::function<void(const server_rec*, DynamicSettings&)>& visit) {
  for (const server_rec* server = main_server; server; server = server->next) {
    if (server != main_server && &server_config(server) == &server_config(main_server)) continue;
    if (server_config(server).dynamic) visit(server, *server_config(server).dynamic);
  }
}

const DynamicSettings& dynamic_settings(const server_rec* server) {
  const auto& own = server_config(server).dynamic;
  return own ? *own : *server_config(ap_server_conf).dynamic;
}

const PoolSettings* find_pool(const server_rec* server, std::string_view program) {
  if (const PoolSettings* own = with_program(server_config(server), program)) return own;
  return server->is_virtual ? with_program(server_config(ap_server_conf), program) : nullptr;
}

const PoolSettings* find_mount(const server_rec* server, std::string_view uri) {
  if (const PoolSettings* own = longest_mount(server_config(server), uri)) return own;
  return server->is_virtual ? longest_mount(server_config(ap_server_conf), uri) : nullptr;
}

}  // namespace cppfcgi
