// HttpdServer: a private, real httpd for one test or one suite. Own folder, own port on 127.0.0.1, own configuration;
// whatever it leaves behind or says unasked fails the test: a line in the error log at level warn or above, a crash, a
// core file, a process, a socket, a temporary file, a piece of shared memory. Everything has a deadline. Many may run
// at the same time.
//
//   HttpdServer httpd({.config = "FastCgiServer @ROOT@/bin/hello -mount /"});
//   httpd.install("samples/hello");
//   httpd.start();
//   ... requests to 127.0.0.1:httpd.port() ...
//   httpd.expect_log("worker .* died");       // otherwise the line would fail the test
//
// In the configuration @ROOT@, @PORT@, @TLS_PORT@ and @BUILD@ are replaced. What may be asked for lies in:
//   @ROOT@/htdocs   DocumentRoot, all may read      @ROOT@/bin   programs (install), all may read and execute; outside
//   DocumentRoot
//   @ROOT@/modules  our module and manager          @ROOT@/logs  error_log                 @ROOT@/run  pid file,
//   default IPC folder
#pragma once

#include <regex.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_folder.h"
#include "tests/support/wait.h"

namespace cppfcgi::test {

struct HttpdOptions {
  std::string mpm = "event";         // or worker, prefork
  std::vector<std::string> modules;  // beyond authz_core, alias, dir: "proxy_fcgi", "fcgid", …
  bool has_cppfcgi = true;           // load our module
  bool has_tls = false;              // port() speaks TLS, with a certificate of its own for localhost and 127.0.0.1
  bool has_http2 = false;            // h2 (with TLS) or h2c beside HTTP/1.1
  bool is_detached = false;          // as `apachectl start` does; else in the foreground
  std::string log_level = "info";
  std::string mpm_tuning;                // instead of the rig's
  std::string config;                    // appended
  std::vector<std::string> environment;  // "NAME=value"; httpd's is otherwise empty but for PATH and TMPDIR
};

class HttpdServer {
 public:
  explicit HttpdServer(HttpdOptions options);
  ~HttpdServer();  // stops it and fails the test for what was left or said
  HttpdServer(const HttpdServer&) = delete;
  HttpdServer& operator=(const HttpdServer&) = delete;

  const std::string& root() const { return root_.path(); }
  int port() const { return port_; }
  std::string url(const std::string& path) const;  // "http://127.0.0.1:<port>/path", https with TLS
  pid_t pid() const { return pid_; }               // httpd's parent

  // Copies a product ("samples/hello", "tests/httpd/programs/scripted") to @ROOT@/bin/<name>; "" : its own name.
  // Returns the path.
  std::string install(const std::string& product_name, const std::string& name = "");
  void write(const std::string& name, const std::string& text);  // below @ROOT@, for all to read
  void set_config(const std::string& config);                    // for the next start, restart or graceful

  // Each waits until httpd says that it is done. They throw where it does not get there in time.
  void start();
  void graceful();       // SIGUSR1
  void restart();        // SIGHUP
  void stop();           // SIGTERM, then all that it left behind is checked
  void graceful_stop();  // SIGWINCH; the same
  void kill_9();         // the parent, then its httpd children, as if the machine's out-of-memory killer had met them

  RunResult configtest();

  std::string error_log() const;
  // Lines that match this (extended regular expression, anywhere in the line) may come; expect_log: at least one must.
  void expect_log(const std::string& pattern);
  void allow_log(const std::string& pattern);
  bool wait_for_log(const std::string& pattern, Milliseconds within = Milliseconds(10'000));
  std::size_t count_log(const std::string& pattern) const;
  // Fails the test for each unexpected line since the last call. stop() and the destructor call it; where a suite
  // shares a server, let each test's TearDown do so too. Forgets what was expected.
  void check_log();

  std::vector<pid_t> httpd_children() const;
  std::vector<pid_t> processes_of(
      const std::string& program) const;  // all that run @ROOT@/bin/<program>, the oldest first
  std::vector<pid_t> managers() const;    // all that run @ROOT@/modules/cppfcgi-manager

 private:
  struct Pattern {
    std::string text;
    bool is_wanted = false;
    bool has_come = false;
  };
  std::string configuration() const;
  std::string replaced(std::string text) const;
  std::vector<std::string> command(const std::vector<std::string>& more) const;
  Spawn spawn(const std::vector<std::string>& more) const;
  bool launch();
  void finish(int signal);
  void reload(int signal);
  void remember_processes();
  void check_left_behind();
  bool is_expected(const std::string& line);
  std::size_t times_ready() const;

  HttpdOptions options_;
  TempFolder root_;
  int port_ = 0;
  int tls_port_ = 0;
  pid_t pid_ = 0;
  Process process_;
  std::set<ProcessId> seen_;  // httpd's descendants, whenever we looked
  std::vector<Pattern> patterns_;
  std::size_t log_read_ = 0;
};

// True where the extended regular expression occurs in the text. (POSIX: std::regex overflows the stack on long lines.)
bool matches(const std::string& text, const std::string& pattern);

}  // namespace cppfcgi::test
