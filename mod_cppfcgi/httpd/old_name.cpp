#include "mod_cppfcgi/httpd/old_name.h"

#include <httpd.h>

// after httpd.h, on which it leans
#include <http_config.h>
#include <http_log.h>

#include "mod_cppfcgi/httpd/log.h"

namespace cppfcgi {
namespace {

constexpr const char* file_name = "mod_fastcgi.c";

module old_module = {MODULE_MAGIC_NUMBER_MAJOR,
                     MODULE_MAGIC_NUMBER_MINOR,
                     -1,
                     file_name,
                     nullptr,
                     nullptr,
                     MODULE_MAGIC_COOKIE,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     AP_MODULE_FLAG_NONE};

apr_status_t forget_old_name(void*) {
  ap_remove_module(&old_module);
  return APR_SUCCESS;
}

}  // namespace

void answer_to_old_name(apr_pool_t* pool) {
  if (ap_find_linked_module(file_name) != nullptr) return;
  if (const char* wrong = ap_add_module(&old_module, pool, "fastcgi_module")) {
    ap_log_perror(APLOG_MARK, APLOG_WARNING, 0, pool, "<IfModule %s> sections are left out: %s", file_name, wrong);
    return;
  }
  apr_pool_cleanup_register(pool, nullptr, forget_old_name, apr_pool_cleanup_null);
}

}  // namespace cppfcgi
