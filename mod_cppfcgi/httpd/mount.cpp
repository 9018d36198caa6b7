#include "mod_cppfcgi/httpd/mount.h"

#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "mod_cppfcgi/httpd/config.h"

namespace cppfcgi {
namespace {

// What mount_find noted, on the request.
struct Mounted {
  const PoolSettings* settings = nullptr;
  bool is_taken = false;
};

Mounted* mounted(const request_rec* request) {
  return static_cast<Mounted*>(ap_get_module_config(request->request_config, &cppfcgi_module));
}

std::size_t prefix_bytes(const PoolSettings& settings) { return settings.mount == "/" ? 0 : settings.mount.size(); }

int take(request_rec* request, Mounted& mount) {
  request->filename =
      apr_pstrmemdup(request->pool, mount.settings->pool.program.data(), mount.settings->pool.program.size());
  request->path_info = apr_pstrdup(request->pool, request->uri + prefix_bytes(*mount.settings));
  request->handler = handler_name.data();
  // mod_dir asks by a subrequest whether there is a file before it takes DirectoryIndex /app/index.
  if (request->main) request->finfo.filetype = APR_REG;
  mount.is_taken = true;
  return OK;
}

// mod_alias has taken the request. Its prefix is known for Alias; AliasMatch says none, is explicit, and wins.
bool alias_wins(request_rec* request, const PoolSettings& settings) {
  std::string_view prefix = ap_context_prefix(request);
  if (prefix.empty()) return true;
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  return prefix.size() > prefix_bytes(settings);
}

}  // namespace

int mount_find(request_rec* request) {
  if (!request->uri || request->uri[0] != '/') return DECLINED;
  const PoolSettings* settings = find_mount(request->server, request->uri);
  if (!settings) return DECLINED;
  auto* mount = new (apr_palloc(request->pool, sizeof(Mounted))) Mounted{settings};
  ap_set_module_config(request->request_config, &cppfcgi_module, mount);
  return DECLINED;
}

int mount_translate(request_rec* request) {
  Mounted* mount = mounted(request);
  return mount ? take(request, *mount) : DECLINED;
}

int mount_map_to_storage(request_rec* request) {
  Mounted* mount = mounted(request);
  if (!mount) return DECLINED;
  if (!mount->is_taken) {
    if (alias_wins(request, *mount->settings)) return DECLINED;
    take(request, *mount);
  }
  // httpd's core answers TRACE here, as TraceEnable says.
  return request->method_number == M_TRACE ? DECLINED : OK;
}

int mount_check_type(request_rec* request) { return is_mounted(request) ? OK : DECLINED; }

bool is_mounted(const request_rec* request) {
  const Mounted* mount = mounted(request);
  return mount && mount->is_taken;
}

namespace {

const PoolSettings* find_name_of_no_file(request_rec* request) {
  if (request->finfo.filetype != APR_NOFILE || !request->path_info) return nullptr;
  const std::string_view rest = request->path_info;
  for (std::size_t at = rest.find('/'); at != rest.npos; at = rest.find('/', at + 1)) {
    const std::size_t end = std::min(rest.find('/', at + 1), rest.size());
    const std::string name = std::string(request->filename).append(rest.substr(0, end));
    const PoolSettings* settings = find_pool(request->server, name);
    if (settings == nullptr || !settings->pool.is_external()) continue;
    request->filename = apr_pstrmemdup(request->pool, name.data(), name.size());
    request->path_info += end;
    return settings;
  }
  return nullptr;
}

}  // namespace

const PoolSettings* pool_of(request_rec* request) {
  if (is_mounted(request)) return mounted(request)->settings;
  if (!request->filename) return nullptr;
  const PoolSettings* settings = find_pool(request->server, request->filename);
  return settings ? settings : find_name_of_no_file(request);
}

}  // namespace cppfcgi
