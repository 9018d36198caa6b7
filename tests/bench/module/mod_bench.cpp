// The two handlers that every bridge is measured against; an httpd module of the bench's own.
//
//   bench-inside      the application inside httpd: what costs nothing but httpd itself
//   bench-roundtrip   the least that any bridge can cost: the CGI variables, then one send and one recv on a
//   Unix-socket
//                     connection that each thread keeps to one of four processes that parse nothing
//                     (programs/null_worker.cpp)
//
// Both answer as programs/libfcgi_bench.c does. Only for measuring: the round trip knows nothing of lost workers.
#define AP_HAVE_DESIGNATED_INITIALIZER 1  // directives by their true types, as C++ wants them
#include <apr_strings.h>
#include <httpd.h>

#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <util_script.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

extern "C" __attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA bench_module;
APLOG_USE_MODULE(bench);

namespace {

constexpr char tiny_answer[] = "Hello, world\n";
constexpr unsigned workers = 4;

const char* worker_sockets = "";       // BenchWorkers: the sockets are <this>.0 … .3
std::atomic<unsigned> next_worker{0};  // threads go round the workers
thread_local int kept_connection = -1;

int inside(request_rec* r) {
  if (std::strcmp(r->handler, "bench-inside") != 0) return DECLINED;
  if (const int status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK); status != OK) return status;
  static std::array<char, 32'768> block;  // zeros, never written but by uploads that nobody reads again
  long long received = 0;
  if (ap_should_client_block(r)) {
    std::array<char, 32'768> upload;
    long got = 0;
    while ((got = ap_get_client_block(r, upload.data(), upload.size())) > 0) received += got;
    if (got < 0) return HTTP_BAD_REQUEST;
  }
  ap_set_content_type(r, "text/plain");
  if (received > 0) {
    ap_rprintf(r, "%lld\n", received);
  } else if (r->args != nullptr) {
    for (long long left = std::atoll(r->args); left > 0;) {
      const int size =
          left < static_cast<long long>(block.size()) ? static_cast<int>(left) : static_cast<int>(block.size());
      if (ap_rwrite(block.data(), size, r) < 0) return OK;
      left -= size;
    }
  } else {
    ap_rwrite(tiny_answer, sizeof tiny_answer - 1, r);
  }
  return OK;
}

int connect_to_worker() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  apr_snprintf(address.sun_path, sizeof address.sun_path, "%s.%u", worker_sockets, next_worker++ % workers);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

int roundtrip(request_rec* r) {
  if (std::strcmp(r->handler, "bench-roundtrip") != 0) return DECLINED;
  ap_add_common_vars(r);
  ap_add_cgi_vars(r);
  if (kept_connection < 0 && (kept_connection = connect_to_worker()) < 0) {
    ap_log_rerror(APLOG_MARK, APLOG_ERR, errno, r, "connect %s", worker_sockets);
    return HTTP_BAD_GATEWAY;
  }
  std::array<char, 4'096> answer;
  ssize_t size = ::send(kept_connection, r->the_request, std::strlen(r->the_request), MSG_NOSIGNAL);
  if (size > 0) size = ::recv(kept_connection, answer.data(), answer.size(), 0);
  if (size <= 0) {
    ::close(kept_connection);
    kept_connection = -1;
    return HTTP_BAD_GATEWAY;
  }
  ap_set_content_type(r, "text/plain");
  ap_rwrite(answer.data(), static_cast<int>(size), r);
  return OK;
}

const char* set_workers(cmd_parms*, void*, const char* prefix) {
  worker_sockets = prefix;
  return nullptr;
}

void register_hooks(apr_pool_t*) {
  ap_hook_handler(inside, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_handler(roundtrip, nullptr, nullptr, APR_HOOK_MIDDLE);
}

const command_rec directives[] = {
    AP_INIT_TAKE1("BenchWorkers", set_workers, nullptr, RSRC_CONF, "where the null workers listen"),
    {},
};

}  // namespace

module AP_MODULE_DECLARE_DATA bench_module = {
    STANDARD20_MODULE_STUFF, nullptr, nullptr, nullptr, nullptr, directives, register_hooks, AP_MODULE_FLAG_NONE,
};
