#include "tests/chaos/rivals.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <stdexcept>

#include "tests/chaos/site.h"

namespace cppfcgi::test {
namespace {

constexpr char httpd_configuration[] = R"(
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/httpd.pid
ErrorLog {folder}/error_log
Listen 127.0.0.1:{port}
ServerName localhost
DocumentRoot {folder}
CoreDumpDirectory {folder}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
StartServers 4
ThreadsPerChild 25
MinSpareThreads 50
MaxSpareThreads 400
MaxRequestWorkers 400
MaxKeepAliveRequests 0
{user}
)";

constexpr char fcgid_configuration[] = R"(
LoadModule fcgid_module {modules}/mod_fcgid.so
FcgidIPCDir {folder}
FcgidProcessTableFile {folder}/fcgid_shm
FcgidCmdOptions {program} MinProcesses 4 MaxProcesses 4 InitialEnv COUNTED={counted} InitialEnv STARTED={started} InitialEnv START_MS=50
FcgidMaxRequestLen 1073741824
Alias /chaos {program}
<Location /chaos>
  SetHandler fcgid-script
  Options +ExecCGI
</Location>
)";

constexpr char proxy_configuration[] = R"(
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_fcgi_module {modules}/mod_proxy_fcgi.so
ProxyPass /chaos unix:{folder}/worker.sock|fcgi://localhost/chaos
)";

constexpr char nginx_configuration[] = R"(
daemon off;
worker_processes 2;
{nginx_user}
pid {folder}/nginx.pid;
error_log {folder}/error_log;
events { worker_connections 512; }
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/fastcgi;
  proxy_temp_path {folder}/proxy;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {
    listen 127.0.0.1:{port};
    location / {
      include /etc/nginx/fastcgi_params;
      fastcgi_pass unix:{folder}/worker.sock;
    }
  }
}
)";

// As Debian's users write it, but for what a test needs: all in one folder.
constexpr char supervisor_configuration[] = R"(
[supervisord]
nodaemon=true
{supervisor_user}
logfile={folder}/supervisord_log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[fcgi-program:worker]
command={program}
environment=COUNTED="{counted}",STARTED="{started}",START_MS="50"
socket=unix://{folder}/worker.sock
socket_mode=0777
numprocs=4
process_name=%(program_name)s_%(process_num)d
autorestart=true
)";

class Fcgid : public Rival {
 public:
  Fcgid() : Rival("mod_fcgid") {
    write_file(files_ / "httpd.conf", filled(std::string(httpd_configuration) + fcgid_configuration));
    server_ = Peer({.command = {"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", files_ / "httpd.conf"},
                    .stderr_file = files_ / "output"},
                   "127.0.0.1:" + std::to_string(port_));
  }
  // The child of httpd's that is the workers' parent.
  pid_t manager() const override {
    for (const pid_t child : children_of(parent())) {
      const auto family = children_of(child);
      if (std::any_of(family.begin(), family.end(),
                      [&](pid_t pid) { return executable_of(pid).starts_with(program_); }))
        return child;
    }
    return 0;
  }
  void use_new_program() override {}  // it notices
  void reload() override { ::kill(parent(), SIGUSR1); }
};

class Supervised : public Rival {
 public:
  explicit Supervised(const std::string& name) : Rival(name) {
    write_file(files_ / "supervisord.conf", filled(supervisor_configuration));
    supervisor_ = Peer({.command = {"supervisord", "-n", "-c", files_ / "supervisord.conf"},
                        .stdout_file = files_ / "output",
                        .stderr_file = files_ / "output",
                        .folder = files_.path()},
                       files_ / "worker.sock");
  }
  pid_t manager() const override { return supervisor_.process().pid(); }
  void use_new_program() override { ::kill(manager(), SIGHUP); }  // starts all anew

 private:
  Peer supervisor_;
};

class ProxyFcgi : public Supervised {
 public:
  ProxyFcgi() : Supervised("mod_proxy_fcgi + supervisord") {
    write_file(files_ / "httpd.conf", filled(std::string(httpd_configuration) + proxy_configuration));
    server_ = Peer({.command = {"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", files_ / "httpd.conf"},
                    .stderr_file = files_ / "output"},
                   "127.0.0.1:" + std::to_string(port_));
  }
  void reload() override { ::kill(parent(), SIGUSR1); }
};

class Nginx : public Supervised {
 public:
  Nginx() : Supervised("NGINX + supervisord") {
    write_file(files_ / "nginx.conf", filled(nginx_configuration));
    server_ = Peer({.command = {"nginx", "-c", files_ / "nginx.conf", "-p", files_.path(), "-e", files_ / "error_log"},
                    .stdout_file = files_ / "output",
                    .stderr_file = files_ / "output"},
                   "127.0.0.1:" + std::to_string(port_));
  }
  void reload() override { ::kill(parent(), SIGHUP); }
};

}  // namespace

Rival::Rival(const std::string& name) : name_(name), port_(free_port()), program_(files_ / "answerer") { deploy(); }

// They leave processes behind when they were treated badly.
Rival::~Rival() {
  server_.stop();
  wait_until([this] {
    for (const pid_t worker : workers()) ::kill(worker, SIGKILL);
    for (const pid_t orphan : adopted_orphans()) ::kill(orphan, SIGKILL);
    return workers().empty();
  });
}

std::vector<pid_t> Rival::workers() const { return pids_of(program_); }

std::vector<pid_t> Rival::children() const {
  std::vector<pid_t> children = children_of(parent());
  const std::string server = executable_of(parent());
  std::erase_if(children, [&](pid_t child) { return executable_of(child) != server || child == manager(); });
  return children;
}

void Rival::deploy() const { replace_program(program_, read_file(product("tests/chaos/programs/answerer"))); }
void Rival::deploy_broken() const { replace_program(program_, read_file(product("tests/chaos/programs/broken"))); }

std::string Rival::filled(const std::string& text) const {
  const bool is_root = ::geteuid() == 0;
  return fill(text, {{"folder", files_.path()},
                     {"modules", "/usr/lib/apache2/modules"},
                     {"port", std::to_string(port_)},
                     {"program", program_},
                     {"counted", files_ / "counted"},
                     {"started", files_ / "started"},
                     {"user", is_root ? "User www-data\nGroup www-data" : ""},
                     {"nginx_user", is_root ? "user root;" : ""},
                     {"supervisor_user", is_root ? "user=root" : ""}});
}

std::vector<std::string> rival_names() { return {"fcgid", "proxy_fcgi", "nginx"}; }

std::unique_ptr<Rival> start_rival(const std::string& name) {
  if (name == "fcgid") return std::make_unique<Fcgid>();
  if (name == "proxy_fcgi") return std::make_unique<ProxyFcgi>();
  if (name == "nginx") return std::make_unique<Nginx>();
  throw std::runtime_error("no rival is called " + name);
}

}  // namespace cppfcgi::test
