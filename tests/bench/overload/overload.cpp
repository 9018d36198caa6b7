// make bench-overload: 200 clients on four workers that take 100 ms for a request, which is five times what these can
// serve, and a visitor who wants a file meanwhile. mod_cppfcgi beside today's gateways, each with MaxRequestWorkers 128
// and as it comes otherwise; in turn, ROUNDS times (3), for SECONDS_PER seconds each (10). Clients ask again at once
// after a 200 and after 50 ms otherwise, whatever Retry-After says. Prints the table of docs/overload.md: medians of
// the rounds, but the sums of what failed.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iomanip>
#include <iostream>
#include <map>
#include <vector>

#include "tests/support/crowd.h"
#include "tests/support/peer.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::bench {
namespace {

using test::fill;

constexpr int workers = 4;
constexpr std::size_t clients = 200;

constexpr char httpd_configuration[] = R"(
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/httpd.pid
ErrorLog {folder}/error_log
LogLevel crit
Listen 127.0.0.1:{port}
ServerName 127.0.0.1
DocumentRoot {folder}/files
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
StartServers 4
ServerLimit 4
ThreadsPerChild 32
MaxRequestWorkers 128
MinSpareThreads 1
MaxSpareThreads 128
MaxKeepAliveRequests 0
{user}
)";

constexpr char cppfcgi_configuration[] = R"(
LoadModule cppfcgi_module {build}/mod_cppfcgi.so
FastCgiServer {program} -processes {workers} -mount /b
)";

constexpr char fcgid_configuration[] = R"(
LoadModule fcgid_module {modules}/mod_fcgid.so
FcgidIPCDir {folder}
FcgidProcessTableFile {folder}/fcgid_shm
FcgidIdleTimeout 0
FcgidCmdOptions {program} MinProcesses {workers} MaxProcesses {workers}
Alias /b {program}
<Location /b>
  SetHandler fcgid-script
  Options +ExecCGI
</Location>
)";

constexpr char proxy_configuration[] = R"(
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_fcgi_module {modules}/mod_proxy_fcgi.so
ProxyPass /b unix:{folder}/worker.sock|fcgi://localhost/b
)";

constexpr char nginx_configuration[] = R"(
daemon off;
worker_processes 2;
{nginx_user}
pid {folder}/nginx.pid;
error_log {folder}/error_log crit;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/fastcgi;
  proxy_temp_path {folder}/proxy;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {
    listen 127.0.0.1:{port};
    root {folder}/files;
    location /b {
      include /etc/nginx/fastcgi_params;
      fastcgi_pass unix:{folder}/worker.sock;
    }
  }
}
)";

struct Contestant {
  std::string name;
  int port = 0;
  std::vector<test::Peer> processes{};
};

std::string setting(const char* name, const std::string& standard) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : standard;
}

class Builder {
 public:
  Builder(const test::TempFolder& place, const std::string& build, int number)
      : folder_(place / std::to_string(number)) {
    namespace fs = std::filesystem;
    for (const std::string& folder : {folder_, folder_ + "/files"}) {
      fs::create_directory(folder);
      fs::permissions(folder, fs::perms::all);  // mod_fcgid makes its sockets as httpd's user
    }
    test::write_file(folder_ + "/files/file.txt", "a file\n");
    test::copy_program(build + "/samples/echo", folder_ + "/echo");
    const bool is_root = ::geteuid() == 0;
    made_.port = test::free_port();
    values_ = {{"folder", folder_},
               {"program", folder_ + "/echo"},
               {"build", build},
               {"port", std::to_string(made_.port)},
               {"modules", setting("HTTPD_MODULES", "/usr/lib/apache2/modules")},
               {"workers", std::to_string(workers)},
               {"user", is_root ? "User www-data\nGroup www-data" : ""},
               {"nginx_user", is_root ? "user www-data;" : ""}};
  }

  // Four processes that share one socket, as spawn-fcgi and supervisord start them.
  Builder& shared_socket() {
    const Fd listener = test::listen_on(folder_ + "/worker.sock");
    for (int i = 0; i < workers; ++i)
      made_.processes.push_back(test::Peer(
          {.command = {folder_ + "/echo"}, .stdin_fd = listener.get(), .stderr_file = folder_ + "/output"}, ""));
    return *this;
  }
  Contestant httpd(const std::string& name, const std::string& rest) {
    test::write_file(folder_ + "/httpd.conf", fill(httpd_configuration + rest, values_));
    return start(name, {setting("HTTPD", "/usr/sbin/apache2"), "-D", "FOREGROUND", "-f", folder_ + "/httpd.conf"});
  }
  Contestant nginx(const std::string& name) {
    test::write_file(folder_ + "/nginx.conf", fill(nginx_configuration, values_));
    return start(name, {"nginx", "-c", folder_ + "/nginx.conf", "-p", folder_, "-e", folder_ + "/error_log"});
  }

 private:
  Contestant start(const std::string& name, const std::vector<std::string>& command) {
    made_.name = name;
    made_.processes.push_back(test::Peer({.command = command, .stderr_file = folder_ + "/output"},
                                         "127.0.0.1:" + std::to_string(made_.port)));
    return std::move(made_);
  }

  std::string folder_;
  std::map<std::string, std::string> values_;
  Contestant made_;
};

// What the rounds gave; times in milliseconds.
struct Results {
  std::vector<double> served_per_second, answered_p99, file_p50, file_p99, file_longest;
  std::map<std::string, std::size_t> refused;  // by status, or by what libcurl says
  std::size_t files_failed = 0;
};

void measure(const Contestant& contestant, std::chrono::seconds lasts, Results& results) {
  const std::string url = "http://127.0.0.1:" + std::to_string(contestant.port);
  test::Visitor visitor(url + "/file.txt");
  const auto begin = test::Clock::now();
  const auto answers = test::run_crowd({.url = url + "/b/sleep?ms=100", .clients = clients, .lasts = lasts});
  const std::vector<test::Answered> files = visitor.stop();
  std::vector<double> served;
  std::size_t in_time = 0;
  for (const test::Answered& answer : answers) {
    if (answer.status == 200) {
      served.push_back(answer.milliseconds());
      in_time += answer.at < begin + lasts;
    } else {
      ++results.refused[answer.status != 0 ? std::to_string(answer.status) : answer.error];
    }
  }
  results.served_per_second.push_back(static_cast<double>(in_time) / static_cast<double>(lasts.count()));
  results.answered_p99.push_back(test::percentile(served, 99));
  const std::vector<double> times = test::milliseconds_for_anyone(files);
  results.file_p50.push_back(test::percentile(times, 50));
  results.file_p99.push_back(test::percentile(times, 99));
  results.file_longest.push_back(test::percentile(times, 100));
  results.files_failed += files.size() - test::count_status(files, 200);
}

std::string failures(const Results& results) {
  std::string text;
  for (const auto& [kind, count] : results.refused)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " × " + kind;
  return text.empty() ? "none" : text;
}

void print(const std::vector<Contestant>& contestants, const std::vector<Results>& results) {
  const auto median = [](const std::vector<double>& values) { return test::percentile(values, 50); };
  std::cout << "| | served/s | served in, p99 | not served | file p50 | file p99 | longest | files failed |\n"
            << "|---|---|---|---|---|---|---|---|\n"
            << std::fixed;
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    const Results& of = results[i];
    std::cout << "| " << contestants[i].name << std::setprecision(1) << " | " << median(of.served_per_second) << " | "
              << std::setprecision(0) << median(of.answered_p99) << " ms | " << failures(of) << " | "
              << std::setprecision(1) << median(of.file_p50) << " ms | " << median(of.file_p99) << " ms | "
              << std::setprecision(0) << median(of.file_longest) << " ms | " << of.files_failed << " |\n";
  }
}

int run() {
  const int rounds = std::stoi(setting("ROUNDS", "3"));
  const std::chrono::seconds lasts(std::stoi(setting("SECONDS_PER", "10")));
  const std::string build = std::filesystem::absolute(setting("CPPFCGI_BUILD", "build")).string();
  const test::TempFolder place("cppfcgi-overload", true);
  std::vector<Contestant> contestants;
  const auto builder = [&] { return Builder(place, build, static_cast<int>(contestants.size())); };
  contestants.push_back(builder().httpd("mod_cppfcgi", cppfcgi_configuration));
  contestants.push_back(builder().httpd("mod_fcgid", fcgid_configuration));
  contestants.push_back(builder().shared_socket().httpd("mod_proxy_fcgi", proxy_configuration));
  contestants.push_back(builder().shared_socket().nginx("NGINX"));
  std::vector<Results> results(contestants.size());
  for (int round = 1; round <= rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      std::cerr << "round " << round << " of " << rounds << ": " << contestants[i].name << std::endl;
      measure(contestants[i], lasts, results[i]);
    }
  }
  print(contestants, results);
  return 0;
}

}  // namespace
}  // namespace cppfcgi::bench

int main() { return cppfcgi::bench::run(); }
