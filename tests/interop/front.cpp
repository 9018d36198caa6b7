#include "tests/interop/front.h"

#include <unistd.h>

#include <filesystem>

namespace cppfcgi::test {
namespace {

std::string number(int value) { return std::to_string(value); }

// A worker that opens its own socket.
Peer listening_worker(const std::string& worker, const std::string& address, const std::string& log, int threads) {
  return Peer(
      {.command = {worker, "--listen", address, "--threads", number(threads)}, .stdout_file = log, .stderr_file = log},
      address);
}

constexpr char nginx_configuration[] = R"(
daemon off;
worker_processes 2;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx_log;
events { worker_connections 256; }
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/fastcgi;
  proxy_temp_path {folder}/proxy;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream workers {
    server unix:{folder}/worker.sock;
    {keepalive}
  }
  server {
    listen 127.0.0.1:{port};
    location / {
      include /etc/nginx/fastcgi_params;
      fastcgi_pass workers;
      fastcgi_keep_conn {keeps};
    }
  }
}
)";

// NGINX before whatever listens at worker.sock in the folder.
Peer nginx_before(const TempFolder& folder, int port, bool keeps) {
  const auto text = fill(nginx_configuration, {{"folder", folder.path()},
                                               {"port", number(port)},
                                               {"user", ::geteuid() == 0 ? "user root;" : ""},
                                               {"keepalive", keeps ? "keepalive 4;" : ""},
                                               {"keeps", keeps ? "on" : "off"}});
  write_file(folder / "nginx.conf", text);
  return Peer({.command = {"nginx", "-c", folder / "nginx.conf", "-p", folder.path(), "-e", folder / "nginx_log"},
               .stdout_file = folder / "nginx_log",
               .stderr_file = folder / "nginx_log"},
              "127.0.0.1:" + number(port));
}

class Nginx : public Front {
 public:
  explicit Nginx(const std::string& worker)
      : worker_(listening_worker(worker, folder_ / "worker.sock", folder_ / "worker_log", 8)),
        server_(nginx_before(folder_, port_, true)) {}

 private:
  Peer worker_;
  Peer server_;
};

constexpr char lighttpd_configuration[] = R"(
server.modules = ( "mod_fastcgi" )
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{folder}"
server.errorlog = "{folder}/log"
server.upload-dirs = ( "{folder}" )
fastcgi.server = ( "/" => ((
  "socket" => "{folder}/worker.sock",
  "bin-path" => "{worker} --threads 4",
  "min-procs" => 2,
  "max-procs" => 2,
  "check-local" => "disable"
)) )
)";

class Lighttpd : public Front {
 public:
  explicit Lighttpd(const std::string& worker) {
    write_file(folder_ / "lighttpd.conf",
               fill(lighttpd_configuration, {{"folder", folder_.path()}, {"port", number(port_)}, {"worker", worker}}));
    server_ = Peer({.command = {"lighttpd", "-D", "-f", folder_ / "lighttpd.conf"},
                    .stdout_file = folder_ / "output",
                    .stderr_file = folder_ / "output"},
                   "127.0.0.1:" + number(port_));
  }

 private:
  Peer server_;
};

constexpr char haproxy_configuration[] = R"(
global
  maxconn 200
  nbthread 1
defaults
  mode http
  timeout client 20s
  timeout server 20s
  timeout connect 5s
  http-reuse always
fcgi-app app
  docroot /srv
  option get-values
  option keep-conn
  option mpxs-conns
  option max-reqs 8
frontend http
  bind 127.0.0.1:{port}
  default_backend workers
backend workers
  use-fcgi-app app
  server worker {address} proto fcgi
)";

class Haproxy : public Front {
 public:
  explicit Haproxy(const std::string& worker) {
    const std::string address = "127.0.0.1:" + number(free_port());
    worker_ = listening_worker(worker, address, folder_ / "worker_log", 8);
    write_file(folder_ / "haproxy.cfg", fill(haproxy_configuration, {{"port", number(port_)}, {"address", address}}));
    server_ = Peer({.command = {"haproxy", "-db", "-f", folder_ / "haproxy.cfg"},
                    .stdout_file = folder_ / "output",
                    .stderr_file = folder_ / "output"},
                   "127.0.0.1:" + number(port_));
  }

 private:
  Peer worker_;
  Peer server_;
};

class ProxyFcgi : public Front {
 public:
  explicit ProxyFcgi(const std::string& worker) {
    const std::string address = "127.0.0.1:" + number(free_port());
    worker_ = listening_worker(worker, address, folder_ / "worker_log", 8);
    httpd_.set_config("ProxyPass / fcgi://" + address + "/ enablereuse=on");
    httpd_.start();
    port_ = httpd_.port();
  }

 private:
  Peer worker_;
  HttpdServer httpd_{{.modules = {"proxy", "proxy_fcgi"}, .has_cppfcgi = false}};
};

class Fcgid : public Front {
 public:
  explicit Fcgid(const std::string& worker) {
    copy_program(worker, httpd_.root() + "/bin/worker");
    httpd_.start();
    httpd_.allow_log(fcgid_log);
    port_ = httpd_.port();
  }

 private:
  HttpdServer httpd_{fcgid_options(folder_,
                                   "FcgidCmdOptions @ROOT@/bin/worker MinProcesses 2 MaxProcesses 4\n"
                                   "FcgidMaxRequestLen 1073741824\nAlias / @ROOT@/bin/worker/\n"
                                   "<Location />\n  SetHandler fcgid-script\n  Options +ExecCGI\n</Location>\n")};
};

constexpr char supervisor_configuration[] = R"(
[supervisord]
nodaemon=true
{user}
logfile={folder}/supervisord_log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[fcgi-program:worker]
command={worker}
socket=unix://{folder}/worker.sock
numprocs=2
process_name=%(program_name)s_%(process_num)d
autorestart=true
startsecs=0
)";

// Connections are not kept: NGINX would repeat a request that killed the worker at a kept one's other end.
class Supervised : public Front {
 public:
  explicit Supervised(const std::string& worker) {
    write_file(folder_ / "supervisord.conf",
               fill(supervisor_configuration,
                    {{"folder", folder_.path()}, {"worker", worker}, {"user", ::geteuid() == 0 ? "user=root" : ""}}));
    supervisor_ = Peer({.command = {"supervisord", "-n", "-c", folder_ / "supervisord.conf"},
                        .stdout_file = folder_ / "output",
                        .stderr_file = folder_ / "output",
                        .folder = folder_.path()},
                       folder_ / "worker.sock");
    server_ = nginx_before(folder_, port_, false);
  }

 private:
  Peer supervisor_;
  Peer server_;
};

}  // namespace

static std::string fcgid_folder(const TempFolder& folder) {
  std::string own = folder / "fcgid";
  std::filesystem::create_directory(own);
  std::filesystem::permissions(own, std::filesystem::perms::all);  // its processes make their sockets as httpd's user
  return own;
}

HttpdOptions fcgid_options(const TempFolder& folder, const std::string& config) {
  auto own = fcgid_folder(folder);
  return {.modules = {"fcgid"},
          .has_cppfcgi = false,
          .config = "FcgidIPCDir " + own + "\nFcgidProcessTableFile " + own +
                    "/table\nFcgidIdleTimeout 0\nCoreDumpDirectory " + own + "\n" + config,
          .environment = {"TMPDIR=" + own}};  // it may leave files there
}

std::unique_ptr<Front> nginx(const std::string& worker) { return std::make_unique<Nginx>(worker); }
std::unique_ptr<Front> lighttpd(const std::string& worker) { return std::make_unique<Lighttpd>(worker); }
std::unique_ptr<Front> haproxy(const std::string& worker) { return std::make_unique<Haproxy>(worker); }
std::unique_ptr<Front> proxy_fcgi(const std::string& worker) { return std::make_unique<ProxyFcgi>(worker); }
std::unique_ptr<Front> fcgid(const std::string& worker) { return std::make_unique<Fcgid>(worker); }
std::unique_ptr<Front> supervised(const std::string& worker) { return std::make_unique<Supervised>(worker); }

}  // namespace cppfcgi::test
