#include "tests/bench/contestants.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <stdexcept>

namespace cppfcgi::bench {
namespace {

using test::fill;

constexpr int workers = 4;
constexpr int application_workers = 2;

// What all contestants' httpds have in common: one configuration of the event MPM, no access log.
constexpr char base_configuration[] = R"(
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/httpd.pid
ErrorLog {folder}/error_log
LogLevel warn
Listen 127.0.0.1:{port}
ServerName 127.0.0.1
DocumentRoot {folder}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
StartServers 2
ServerLimit 2
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 128
MinSpareThreads 1
MaxSpareThreads 128
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
LimitRequestBody 0
<Directory />
  AllowOverride None
</Directory>
)";

constexpr char nginx_configuration[] = R"(
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error_log;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/fastcgi;
  proxy_temp_path {folder}/proxy;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{rest}
}
)";

using Values = std::map<std::string, std::string>;

// Builds one contestant in a folder of its own.
class Builder {
 public:
  Builder(const std::string& letter, const Place& place)
      : place_(place), folder_(place.folder / ("contestant-" + std::to_string(letter_number(letter)))) {
    std::filesystem::create_directory(folder_);
    std::filesystem::permissions(folder_, std::filesystem::perms::all);  // mod_fcgid makes its sockets as httpd's user
    made_.letter = letter;
    made_.port = test::free_port();
    values_ = {{"folder", folder_},
               {"modules", place.modules},
               {"build", place.build},
               {"port", std::to_string(made_.port)},
               {"bin", place.folder / "bin"},
               {"workers", std::to_string(workers)},
               {"application_workers", std::to_string(application_workers)},
               {"user", ::geteuid() == 0 ? "user www-data;" : ""}};
  }

  static int letter_number(const std::string& letter) {
    const auto& all = all_letters();
    return static_cast<int>(std::find(all.begin(), all.end(), letter) - all.begin());
  }

  Builder& name(const std::string& name) {
    made_.name = name;
    return *this;
  }
  Builder& tiny_only() {
    made_.is_tiny_only = true;
    return *this;
  }
  Builder& with_applications() {
    made_.has_applications = true;
    return *this;
  }

  // Four processes of this program that share one socket, as spawn-fcgi starts them.
  Builder& shared_socket(const std::string& program, const std::string& socket, int count = workers) {
    const Fd listener = test::listen_on(folder_ + "/" + socket);
    for (int i = 0; i < count; ++i) worker(program, listener.get());
    return *this;
  }

  // Four processes, each with a socket of its own: <socket>.0 ...
  Builder& own_sockets(const std::string& program, const std::string& socket) {
    for (int i = 0; i < workers; ++i) {
      const Fd listener = test::listen_on(folder_ + "/" + socket + "." + std::to_string(i));
      worker(program, listener.get());
    }
    return *this;
  }

  Builder& httpd(const std::string& rest) {
    std::string text = base_configuration + rest;
    if (::geteuid() == 0) text += "\nUser www-data\nGroup www-data\n";
    test::write_file(folder_ + "/httpd.conf", fill(text, values_));
    start({place_.httpd, "-D", "FOREGROUND", "-f", folder_ + "/httpd.conf"}, "127.0.0.1:" + values_["port"]);
    return *this;
  }

  // An NGINX; `address` is where the server of `rest` listens.
  Builder& nginx(const std::string& rest, const std::string& address) {
    test::write_file(folder_ + "/nginx.conf", fill(fill(nginx_configuration, {{"rest", rest}}), values_));
    start({"nginx", "-c", folder_ + "/nginx.conf", "-p", folder_, "-e", folder_ + "/error_log"},
          fill(address, values_));
    return *this;
  }

  Contestant made() { return std::move(made_); }

 private:
  void worker(const std::string& program, int listener) {
    const auto log = folder_ + "/worker_log";
    made_.processes.push_back(
        test::Peer({.command = {fill("{bin}/" + program, values_)}, .stdin_fd = listener, .stderr_file = log}, ""));
  }

  void start(const std::vector<std::string>& command, const std::string& address) {
    made_.processes.push_back(test::Peer({.command = command, .stderr_file = folder_ + "/output"}, address));
  }

  const Place& place_;
  std::string folder_;
  Values values_;
  Contestant made_;
};

// ---- the contestants ----

Contestant inside(Builder& b) {
  return b.name("inside httpd")
      .httpd(
          "LoadModule bench_module {build}/tests/bench/mod_bench.so\n"
          "<Location /b>\n SetHandler bench-inside\n</Location>\n")
      .made();
}

Contestant roundtrip(Builder& b) {
  return b.name("one round trip")
      .tiny_only()
      .own_sockets("null_worker", "null")
      .httpd(
          "LoadModule bench_module {build}/tests/bench/mod_bench.so\n"
          "BenchWorkers {folder}/null\n"
          "<Location /b>\n SetHandler bench-roundtrip\n</Location>\n")
      .made();
}

constexpr char mounted[] =
    "LoadModule cppfcgi_module {build}/mod_cppfcgi.so\n"
    "FastCgiServer {bin}/{program} -processes {workers} -mount /b\n";

// Directives for IIPImage at /iip and MapServer at /map.
std::string application_pools(const Place& place) {
  const auto pool = [](const std::string& program, const std::string& mount,
                       const std::vector<std::string>& environment) {
    auto line = "FastCgiServer " + program + " -processes {application_workers} -mount " + mount;
    for (const auto& entry : environment) line += " -initial-env " + entry;
    return line + "\n";
  };
  return pool(test::Applications::iipimage, "/iip", place.applications->iipimage_environment()) +
         pool(test::Applications::mapserver, "/map", place.applications->mapserver_environment());
}

std::string application_classes(const Place& place) {
  const auto pool = [](const std::string& program, const std::string& mount,
                       const std::vector<std::string>& environment) {
    auto line =
        "Alias " + mount + " " + program + "\nFcgidCmdOptions " + program + " MaxProcesses {application_workers}";
    for (const auto& entry : environment) line += " InitialEnv " + entry;
    return line + "\n";
  };
  return pool(test::Applications::iipimage, "/iip", place.applications->iipimage_environment()) +
         pool(test::Applications::mapserver, "/map", place.applications->mapserver_environment());
}

Contestant cppfcgi_own(Builder& b) {
  return b.name("mod_cppfcgi, our worker").httpd(fill(mounted, {{"program", "cppfcgi_bench"}})).made();
}

Contestant cppfcgi_aliased(Builder& b) {
  return b.name("the same, Alias and SetHandler")
      .tiny_only()
      .httpd(
          "LoadModule cppfcgi_module {build}/mod_cppfcgi.so\n"
          "FastCgiServer {bin}/cppfcgi_bench -processes {workers}\n"
          "Alias /b {bin}/cppfcgi_bench\n"
          "<Location /b>\n SetHandler fastcgi-script\n</Location>\n")
      .made();
}

Contestant cppfcgi_libfcgi(Builder& b, const Place& place) {
  b.name("mod_cppfcgi, libfcgi");
  auto configuration = fill(mounted, {{"program", "libfcgi_bench"}});
  if (place.applications != nullptr) configuration += application_pools(place);
  return b.with_applications().httpd(configuration).made();
}

Contestant fcgid(Builder& b, const Place& place) {
  b.name("mod_fcgid, libfcgi");
  std::string configuration =
      "LoadModule fcgid_module {modules}/mod_fcgid.so\n"
      "FcgidIPCDir {folder}\n"
      "FcgidProcessTableFile {folder}/fcgid_shm\n"
      "FcgidIdleTimeout 0\n"
      "FcgidMaxRequestLen 1073741824\n"
      "FcgidCmdOptions {bin}/libfcgi_bench MaxProcesses {workers} MinProcesses {workers}\n"
      "Alias /b {bin}/libfcgi_bench\n"
      "<LocationMatch \"^/(b|iip|map)\">\n SetHandler fcgid-script\n Options +ExecCGI\n</LocationMatch>\n";
  if (place.applications != nullptr) configuration += application_classes(place);
  return b.with_applications().httpd(configuration).made();
}

Contestant proxy_fcgi(Builder& b, const std::string& reuse) {
  return b.shared_socket("libfcgi_bench", "libfcgi")
      .httpd(
          "LoadModule proxy_module {modules}/mod_proxy.so\n"
          "LoadModule proxy_fcgi_module {modules}/mod_proxy_fcgi.so\n"
          "ProxyPass /b unix:{folder}/libfcgi|fcgi://localhost/b enablereuse=" +
          reuse + "\n")
      .made();
}

Contestant nginx_libfcgi(Builder& b) {
  return b.name("NGINX kept, libfcgi")
      .shared_socket("libfcgi_bench", "libfcgi")
      .nginx(
          "  upstream workers { server unix:{folder}/libfcgi; keepalive {workers}; }\n"
          "  server {\n    listen 127.0.0.1:{port};\n    location /b {\n"
          "      include /etc/nginx/fastcgi_params;\n      fastcgi_pass workers;\n      fastcgi_keep_conn on;\n    }\n "
          " }\n",
          "127.0.0.1:{port}")
      .made();
}

Contestant cgid(Builder& b) {
  return b.name("mod_cgid")
      .httpd(
          "LoadModule cgid_module {modules}/mod_cgid.so\n"
          "ScriptSock {folder}/cgid\n"
          "ScriptAlias /b {bin}/libfcgi_bench\n"
          "<Location /b>\n Options +ExecCGI\n</Location>\n")
      .made();
}

Contestant proxy_http(Builder& b) {
  return b.name("mod_proxy_http, NGINX")
      .tiny_only()
      .nginx(
          "  server {\n    listen unix:{folder}/nginx;\n    default_type text/plain;\n"
          "    location / { return 200 \"Hello, world\\n\"; }\n  }\n",
          "{folder}/nginx")
      .httpd(
          "LoadModule proxy_module {modules}/mod_proxy.so\n"
          "LoadModule proxy_http_module {modules}/mod_proxy_http.so\n"
          "ProxyPass /b unix:{folder}/nginx|http://localhost/b\n")
      .made();
}

}  // namespace

const std::vector<std::string>& all_letters() {
  static const std::vector<std::string> letters = {"a", "a'", "b", "b'", "c", "d", "e", "e'", "f", "g", "h"};
  return letters;
}

Contestant start_contestant(const std::string& letter, const Place& place) {
  Builder builder(letter, place);
  if (letter == "a") return inside(builder);
  if (letter == "a'") return roundtrip(builder);
  if (letter == "b") return cppfcgi_own(builder);
  if (letter == "b'") return cppfcgi_aliased(builder);
  if (letter == "c") return cppfcgi_libfcgi(builder, place);
  if (letter == "d") return fcgid(builder, place);
  if (letter == "e") return proxy_fcgi(builder.name("mod_proxy_fcgi, libfcgi"), "off");
  if (letter == "e'") return proxy_fcgi(builder.name("the same, enablereuse"), "on");
  if (letter == "f") return nginx_libfcgi(builder);
  if (letter == "g") return cgid(builder);
  if (letter == "h") return proxy_http(builder);
  throw std::runtime_error("no contestant is called " + letter);
}

}  // namespace cppfcgi::bench
