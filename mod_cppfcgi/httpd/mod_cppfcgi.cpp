// The module record and its hooks: which function runs when. Each goes through barrier(); none holds any logic.
#include <ap_mpm.h>
#include <http_config.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mpm_common.h>

#include "mod_cppfcgi/httpd/barrier.h"
#include "mod_cppfcgi/httpd/client_output.h"
#include "mod_cppfcgi/httpd/config.h"
#include "mod_cppfcgi/httpd/configuration_check.h"
#include "mod_cppfcgi/httpd/handler.h"
#include "mod_cppfcgi/httpd/manager_link.h"
#include "mod_cppfcgi/httpd/mount.h"
#include "mod_cppfcgi/httpd/old_name.h"

namespace cppfcgi {
namespace {

int on_check_config(apr_pool_t* pconf, apr_pool_t*, apr_pool_t*, server_rec* main_server) noexcept {
  return barrier(main_server, "the check of the configuration", HTTP_INTERNAL_SERVER_ERROR,
                 [&] { return check_configuration(pconf, main_server); });
}

int on_post_config(apr_pool_t* pconf, apr_pool_t*, apr_pool_t*, server_rec* main_server) noexcept {
  // httpd reads its configuration twice before it starts, and once or twice for a test: the manager is for the real
  // run.
  if (ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_NORMAL ||
      ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
    return OK;
  return barrier(main_server, "the start of the manager", HTTP_INTERNAL_SERVER_ERROR,
                 [&] { return link_post_config(pconf, main_server); });
}

void on_child_init(apr_pool_t* pchild, server_rec* main_server) noexcept {
  barrier(main_server, "the start of a child", [&] {
    link_child_init(pchild, main_server);
    handler_child_init(pchild, main_server);
  });
}

void on_child_status(server_rec* main_server, pid_t pid, ap_generation_t generation, int,
                     mpm_child_status status) noexcept {
  barrier(main_server, "the end of a child", [&] {
    if (status == MPM_CHILD_STARTED) link_child_started(generation);
    if (status == MPM_CHILD_EXITED) link_child_ended(main_server, pid, generation);
  });
}

int on_monitor(apr_pool_t*, server_rec* main_server) noexcept {
  barrier(main_server, "the look after the manager", [&] { link_monitor(main_server); });
  return DECLINED;
}

int on_find_mount(request_rec* request) noexcept {
  return barrier(request->server, "-mount", HTTP_INTERNAL_SERVER_ERROR, [&] { return mount_find(request); });
}

int on_translate_name(request_rec* request) noexcept {
  return barrier(request->server, "-mount", HTTP_INTERNAL_SERVER_ERROR, [&] { return mount_translate(request); });
}

int on_map_to_storage(request_rec* request) noexcept {
  return barrier(request->server, "-mount", HTTP_INTERNAL_SERVER_ERROR, [&] { return mount_map_to_storage(request); });
}

int on_type_checker(request_rec* request) noexcept {
  return barrier(request->server, "-mount", HTTP_INTERNAL_SERVER_ERROR, [&] { return mount_check_type(request); });
}

int on_fixups(request_rec* request) noexcept {
  return barrier(request->server, "the choice of the handler", HTTP_INTERNAL_SERVER_ERROR,
                 [&] { return take_declared_program(request); });
}

int on_handler(request_rec* request) noexcept {
  if (!request->handler || std::string_view(request->handler) != handler_name) return DECLINED;
  return barrier(request->server, "the request", HTTP_INTERNAL_SERVER_ERROR, [&] { return handle_request(request); });
}

void register_hooks(apr_pool_t* pool) noexcept {
  static constexpr const char* rewriting[] = {"mod_rewrite.c", "mod_proxy.c", nullptr};
  static constexpr const char* alias[] = {"mod_alias.c", nullptr};
  static constexpr const char* whole_trees[] = {"mod_userdir.c", "mod_vhost_alias.c", nullptr};

  ap_hook_check_config(on_check_config, nullptr, nullptr, APR_HOOK_MIDDLE);
  // Last, so that no daemon which another module forks here inherits the manager's first descriptors.
  ap_hook_post_config(on_post_config, nullptr, nullptr, APR_HOOK_REALLY_LAST);
  ap_hook_child_init(on_child_init, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_child_status(on_child_status, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_monitor(on_monitor, nullptr, nullptr, APR_HOOK_MIDDLE);

  // mount.h tells why there are two.
  ap_hook_translate_name(on_find_mount, rewriting, nullptr, APR_HOOK_FIRST);
  ap_hook_translate_name(on_translate_name, alias, whole_trees, APR_HOOK_MIDDLE);
  ap_hook_map_to_storage(on_map_to_storage, nullptr, nullptr, APR_HOOK_FIRST);
  ap_hook_type_checker(on_type_checker, nullptr, nullptr, APR_HOOK_REALLY_FIRST);
  ap_hook_fixups(on_fixups, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_handler(on_handler, nullptr, nullptr, APR_HOOK_MIDDLE);
  client_output_register();
  answer_to_old_name(pool);
}

}  // namespace
}  // namespace cppfcgi

extern "C" {
__attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA cppfcgi_module = {
    MODULE_MAGIC_NUMBER_MAJOR,
    MODULE_MAGIC_NUMBER_MINOR,
    -1,
    "mod_cppfcgi.c",  // as <IfModule> and other modules know it, whatever the language
    nullptr,
    nullptr,
    MODULE_MAGIC_COOKIE,
    nullptr,
    nullptr,
    nullptr,
    cppfcgi::create_server_config,
    cppfcgi::merge_server_config,
    cppfcgi::directives,
    cppfcgi::register_hooks,
    AP_MODULE_FLAG_NONE};
}
