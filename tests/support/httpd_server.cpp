#include "tests/support/httpd_server.h"

#include <gtest/gtest.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <stdexcept>

namespace cppfcgi::test {

namespace fs = std::filesystem;

namespace {

constexpr const char* httpd_program = "/usr/sbin/apache2";
constexpr const char* httpd_modules = "/usr/lib/apache2/modules";
constexpr const char* run_as = "www-data";

bool is_root() { return ::geteuid() == 0; }

void make_folder(const std::string& path, bool for_httpd_children) {
  fs::create_directory(path);
  fs::permissions(path, fs::perms(0755));
  if (!for_httpd_children || !is_root()) return;
  const passwd* user = ::getpwnam(run_as);
  if (user == nullptr || ::chown(path.c_str(), user->pw_uid, user->pw_gid) != 0) {
    throw std::runtime_error("chown " + path + ": " + std::strerror(errno));
  }
}

// One certificate for all servers of this test program.
const std::string& certificate_folder() {
  static const TempFolder folder("cppfcgi-tls");
  if (!fs::exists(folder / "cert.pem")) {
    const RunResult made = run({"openssl",
                                "req",
                                "-x509",
                                "-newkey",
                                "ec",
                                "-pkeyopt",
                                "ec_paramgen_curve:prime256v1",
                                "-nodes",
                                "-days",
                                "2",
                                "-subj",
                                "/CN=localhost",
                                "-addext",
                                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                                "-addext",
                                "basicConstraints=critical,CA:FALSE",
                                "-keyout",
                                folder / "key.pem",
                                "-out",
                                folder / "cert.pem"});
    if (made.status != 0) throw std::runtime_error("openssl: " + made.output);
  }
  return folder.path();
}

std::string tuning_for(const std::string& mpm) {
  if (mpm == "prefork") return "StartServers 4\nMinSpareServers 4\nMaxSpareServers 100\nMaxRequestWorkers 100\n";
  return "StartServers 2\nThreadsPerChild 25\nMinSpareThreads 25\nMaxSpareThreads 400\nMaxRequestWorkers 400\n";
}

// "[time] [module:level] …" as httpd writes it; level "" where the line has another form.
std::string level_of(const std::string& line) {
  if (line.empty() || line[0] != '[') return "";
  const auto second = line.find("] [");
  if (second == std::string::npos) return "";
  const auto colon = line.find(':', second), end = line.find(']', second + 3);
  if (colon == std::string::npos || end == std::string::npos || colon > end) return "";
  return line.substr(colon + 1, end - colon - 1);
}

bool is_harmless(const std::string& line) {
  // httpd's own: what its mod_ssl says of itself, and its race of a stop with the end of a request.
  if (matches(line, "AH01882|AH01873|AH0309[23]: .*apr_pollset_add failure")) return true;
  static const std::set<std::string> quiet{"notice", "info",   "debug",  "trace1", "trace2", "trace3",
                                           "trace4", "trace5", "trace6", "trace7", "trace8"};
  // A child that crashed is told at level notice only.
  return quiet.contains(level_of(line)) && line.find("exit signal") == std::string::npos;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

std::vector<pid_t> pids_running(const std::string& program) {
  std::vector<std::pair<std::uint64_t, pid_t>> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || executable_of(pid) != program) continue;
    if (const auto id = process_id(pid); id && is_alive(*id)) found.emplace_back(id->start_time, pid);
  }
  std::sort(found.begin(), found.end());
  std::vector<pid_t> pids;
  for (const auto& [start, pid] : found) pids.push_back(pid);
  return pids;
}

}  // namespace

bool matches(const std::string& text, const std::string& pattern) {
  regex_t compiled;
  if (::regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0)
    throw std::runtime_error("bad pattern " + pattern);
  const bool found = ::regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
  ::regfree(&compiled);
  return found;
}

HttpdServer::HttpdServer(HttpdOptions options) : options_(std::move(options)), root_("cppfcgi-httpd") {
  for (const char* name : {"htdocs", "bin", "modules", "logs", "run"}) make_folder(root_ / name, false);
  for (const char* name : {"tmp", "cores"}) make_folder(root_ / name, true);
  if (!options_.has_cppfcgi) return;
  copy_program(product("mod_cppfcgi.so"), root_ / "modules/mod_cppfcgi.so");
  copy_program(product("cppfcgi-manager"), root_ / "modules/cppfcgi-manager");
}

HttpdServer::~HttpdServer() {
  try {
    if (pid_ != 0) stop();
    check_log();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "at the end of " << root() << ": " << error.what();
  }
  if (testing::Test::HasFailure()) {
    std::string log = error_log();
    if (log.size() > 6'000) log = "…" + log.substr(log.size() - 6'000);
    std::cerr << "---- " << root() << "/logs/error_log ----\n" << log << "----\n";
  }
}

std::string HttpdServer::url(const std::string& path) const {
  return std::string(options_.has_tls ? "https" : "http") + "://127.0.0.1:" + std::to_string(port_) + path;
}

std::string HttpdServer::install(const std::string& product_name, const std::string& name) {
  std::string path = root_ / ("bin/" + (name.empty() ? fs::path(product_name).filename().string() : name));
  copy_program(product(product_name), path);
  return path;
}

void HttpdServer::write(const std::string& name, const std::string& text) {
  write_file(root_ / name, text);
  fs::permissions(root_ / name, fs::perms(text.starts_with("#!") ? 0755 : 0644));
}

void HttpdServer::set_config(const std::string& config) {
  options_.config = config;
  if (port_ != 0) write_file(root_ / "httpd.conf", configuration());
}

std::string HttpdServer::replaced(std::string text) const {
  const char* build = std::getenv("CPPFCGI_BUILD");
  const std::map<std::string, std::string> words{{"@ROOT@", root()},
                                                 {"@PORT@", std::to_string(port_)},
                                                 {"@TLS_PORT@", std::to_string(tls_port_)},
                                                 {"@BUILD@", build == nullptr ? "" : build}};
  for (const auto& [word, value] : words) {
    for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + value.size())) {
      text.replace(at, word.size(), value);
    }
  }
  return text;
}

std::string HttpdServer::configuration() const {
  std::ostringstream out;
  out << "ServerRoot @ROOT@\nDefaultRuntimeDir @ROOT@/run\nPidFile @ROOT@/run/httpd.pid\nErrorLog "
         "@ROOT@/logs/error_log\n"
      << "LogLevel " << options_.log_level
      << "\nCoreDumpDirectory @ROOT@/cores\nServerName localhost\nListen 127.0.0.1:@PORT@\n"
      << "LoadModule mpm_" << options_.mpm << "_module " << httpd_modules << "/mod_mpm_" << options_.mpm << ".so\n"
      << (options_.mpm_tuning.empty() ? tuning_for(options_.mpm) : options_.mpm_tuning + "\n");
  if (is_root()) out << "User " << run_as << "\nGroup " << run_as << "\n";
  std::vector<std::string> modules{"authz_core", "alias", "dir"};
  modules.insert(modules.end(), options_.modules.begin(), options_.modules.end());
  if (options_.has_tls) modules.emplace_back("ssl");
  if (options_.has_http2) modules.emplace_back("http2");
  for (const std::string& name : modules)
    out << "LoadModule " << name << "_module " << httpd_modules << "/mod_" << name << ".so\n";
  if (options_.has_cppfcgi) out << "LoadModule cppfcgi_module @ROOT@/modules/mod_cppfcgi.so\n";
  out << "DocumentRoot @ROOT@/htdocs\nTimeout 30\nMaxKeepAliveRequests 0\nGracefulShutdownTimeout 10\n"
      << "<Directory @ROOT@/htdocs>\n  Require all granted\n</Directory>\n"
      << "<Directory @ROOT@/bin>\n  Require all granted\n</Directory>\n";
  if (options_.has_tls) {
    out << "SSLSessionCache none\nSSLEngine on\nSSLCertificateFile " << certificate_folder()
        << "/cert.pem\nSSLCertificateKeyFile " << certificate_folder() << "/key.pem\n";
  }
  if (options_.has_http2) out << "Protocols " << (options_.has_tls ? "h2" : "h2c") << " http/1.1\n";
  out << options_.config << "\n";
  return replaced(out.str());
}

std::vector<std::string> HttpdServer::command(const std::vector<std::string>& more) const {
  std::vector<std::string> words{httpd_program, "-d", root(), "-f", root_ / "httpd.conf"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Spawn HttpdServer::spawn(const std::vector<std::string>& more) const {
  Spawn spawn{
      .command = command(more),
      .environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + (root_ / "tmp")},
      .has_clean_environment = true,
      .stdout_file = root_ / "logs/stderr",
      .stderr_file = root_ / "logs/stderr",
      .folder = root_ / "run"};
  spawn.environment.insert(spawn.environment.end(), options_.environment.begin(), options_.environment.end());
  if (const char* preload = std::getenv("CPPFCGI_HTTPD_PRELOAD")) spawn.preload = preload;
  return spawn;
}

std::size_t HttpdServer::times_ready() const { return count_log("resuming normal operations"); }

bool HttpdServer::launch() {
  port_ = free_port();
  tls_port_ = free_port();
  write_file(root_ / "httpd.conf", configuration());
  const std::size_t before = times_ready();
  process_ = Process(spawn({options_.is_detached ? "-kstart" : "-DFOREGROUND"}));
  wait_until([&] { return times_ready() > before || (!options_.is_detached && !process_.is_running()); },
             Milliseconds(20'000));
  if (times_ready() > before) {
    pid_ = std::atoi(read_file(root_ / "run/httpd.pid").c_str());
    remember_processes();
    return pid_ > 0;
  }
  process_.kill();
  return false;
}

void HttpdServer::start() {
  for (int attempt = 0; attempt < 5; ++attempt) {
    if (launch()) return;
    // Somebody else took the port since we looked: not the test's fault.
    if (!matches(read_file(root_ / "logs/stderr") + error_log(), "AH00072|Address already in use")) break;
    write_file(root_ / "logs/stderr", "");
    write_file(root_ / "logs/error_log", "");
    log_read_ = 0;
  }
  throw std::runtime_error("httpd does not start: " + read_file(root_ / "logs/stderr") + error_log());
}

void HttpdServer::reload(int signal) {
  const std::size_t before = times_ready();
  remember_processes();
  ::kill(pid_, signal);
  if (!wait_until([&] { return times_ready() > before; }, Milliseconds(20'000))) {
    throw std::runtime_error("httpd does not come back after signal " + std::to_string(signal));
  }
  remember_processes();
}

void HttpdServer::graceful() { reload(SIGUSR1); }
void HttpdServer::restart() { reload(SIGHUP); }

void HttpdServer::finish(int signal) {
  remember_processes();
  const auto parent = process_id(pid_);
  // Its event MPM now and then crashes, all by itself, when it is stopped while it closes a client's connection.
  const std::vector<pid_t> children = httpd_children();
  wait_until([&] { return !has_connections_to_close(port_) && std::ranges::all_of(children, is_at_rest); },
             Milliseconds(500));
  if (parent) ::kill(pid_, signal);
  const bool ended =
      wait_until([&] { return !process_.is_running() && (!parent || !is_alive(*parent)); }, Milliseconds(25'000));
  if (!ended) {
    ADD_FAILURE() << "httpd does not end on signal " << signal;
    ::kill(pid_, SIGKILL);
  }
  process_.kill();
  pid_ = 0;
  check_left_behind();
  check_log();
}

void HttpdServer::stop() { finish(SIGTERM); }
void HttpdServer::graceful_stop() { finish(SIGWINCH); }

void HttpdServer::kill_9() {
  remember_processes();
  const std::vector<pid_t> children = httpd_children();
  ::kill(pid_, SIGKILL);
  for (const pid_t child : children) ::kill(child, SIGKILL);
  process_.kill();
  pid_ = 0;
  fs::remove(root_ / "run/httpd.pid");  // a killed server cannot do so
  check_left_behind();
  check_log();
}

RunResult HttpdServer::configtest() {
  if (port_ == 0) port_ = free_port();
  if (tls_port_ == 0) tls_port_ = free_port();
  write_file(root_ / "httpd.conf", configuration());
  return run(command({"-t"}), Milliseconds(20'000), {"TMPDIR=" + (root_ / "tmp")});
}

std::string HttpdServer::error_log() const { return read_file(root_ / "logs/error_log"); }

void HttpdServer::expect_log(const std::string& pattern) { patterns_.push_back({pattern, true}); }
void HttpdServer::allow_log(const std::string& pattern) { patterns_.push_back({pattern, false}); }

bool HttpdServer::wait_for_log(const std::string& pattern, Milliseconds within) {
  return wait_until([&] { return count_log(pattern) > 0; }, within);
}

std::size_t HttpdServer::count_log(const std::string& pattern) const {
  const std::vector<std::string> lines = lines_of(error_log());
  return static_cast<std::size_t>(
      std::count_if(lines.begin(), lines.end(), [&](const std::string& line) { return matches(line, pattern); }));
}

bool HttpdServer::is_expected(const std::string& line) {
  bool expected = false;
  for (Pattern& pattern : patterns_) {
    if (!matches(line, pattern.text)) continue;
    pattern.has_come = expected = true;
  }
  return expected;
}

void HttpdServer::check_log() {
  const std::string fresh = error_log().substr(log_read_);
  log_read_ += fresh.size();
  for (const std::string& line : lines_of(fresh)) {
    if (!is_expected(line) && !is_harmless(line)) ADD_FAILURE() << "unexpected in the error log: " << line;
  }
  const std::string before_the_log = read_file(root_ / "logs/stderr");
  for (const std::string& line : lines_of(before_the_log)) {
    if (!is_expected(line) && !is_harmless(line)) ADD_FAILURE() << "unexpected on httpd's stderr: " << line;
  }
  if (!before_the_log.empty()) write_file(root_ / "logs/stderr", "");
  for (const Pattern& pattern : patterns_) {
    EXPECT_TRUE(pattern.has_come || !pattern.is_wanted) << "missing in the error log: " << pattern.text;
  }
  patterns_.clear();
}

std::vector<pid_t> HttpdServer::httpd_children() const {
  std::vector<pid_t> children = children_of(pid_);
  std::erase_if(children, [](pid_t child) { return executable_of(child) != httpd_program; });
  return children;
}

std::vector<pid_t> HttpdServer::processes_of(const std::string& program) const {
  return pids_running(root_ / ("bin/" + program));
}
std::vector<pid_t> HttpdServer::managers() const { return pids_running(root_ / "modules/cppfcgi-manager"); }

void HttpdServer::remember_processes() {
  for (const pid_t pid : descendants_of(pid_)) {
    if (const auto id = process_id(pid)) seen_.insert(*id);
  }
}

void HttpdServer::check_left_behind() {
  auto left = [&] {
    std::set<pid_t> pids;
    for (const ProcessId& process : seen_) {
      if (is_alive(process)) pids.insert(process.pid);
    }
    for (const pid_t pid : adopted_orphans()) pids.insert(pid);
    return pids;
  };
  wait_until([&] { return left().empty(); }, Milliseconds(10'000));
  for (const pid_t pid : left()) {
    ADD_FAILURE() << "a process was left behind: " << command_line(pid);
    ::kill(pid, SIGKILL);
  }
  for (const auto& entry : fs::recursive_directory_iterator(root())) {
    const fs::path within = fs::relative(entry.path(), root());
    const std::string top = within.begin()->string();
    const bool is_left = entry.is_socket() ||
                         (entry.is_regular_file() && (top == "tmp" || top == "run" || top == "cores")) ||
                         entry.path().filename().string().starts_with("core.");
    if (is_left) ADD_FAILURE() << "a file was left behind: " << within;
  }
  for (const auto& entry : fs::directory_iterator("/dev/shm")) {
    if (entry.path().string().find("cppfcgi") != std::string::npos)
      ADD_FAILURE() << "shared memory was left behind: " << entry.path();
  }
  std::set<pid_t> creators;
  for (const ProcessId& process : seen_) creators.insert(process.pid);
  std::istringstream segments(read_file("/proc/sysvipc/shm"));
  std::string line;
  for (std::getline(segments, line); std::getline(segments, line);) {
    std::istringstream fields(line);
    std::string key, id, mode, size;
    pid_t creator = 0;
    fields >> key >> id >> mode >> size >> creator;
    if (creators.contains(creator)) ADD_FAILURE() << "System V shared memory was left behind: " << line;
  }
  seen_.clear();
}

}  // namespace cppfcgi::test
