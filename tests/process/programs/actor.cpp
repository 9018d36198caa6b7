// A worker that does what its arguments say, one after the other, with plain system calls: for tests of the manager.
//   exit N                ends                       signal N           to itself
//   exit-while FILE N     ends if FILE exists        wait-for FILE      goes on when FILE exists
//   print TEXT            a line on stdout           complain TEXT      a line on stderr
//   mumble TEXT           on stderr, without an end  flood BYTES        so many bytes of lines on stderr
//   children N            starts N processes that stay     ignore-term  SIGTERM does nothing any more
//   notify                says that it is ready      report FILE        writes down what it was given
//   answer N              accepts, tells N as its FCGI_MAX_REQS and closes, for ever
//   refuse                accepts and closes at once, for ever
//   refuse-unread-once    accepts one connection and closes it without reading
//   accept-and-exit N     accepts one connection and ends
//   stay                  does nothing, for ever
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "shared/params.h"
#include "shared/record.h"

namespace {

using namespace cppfcgi;

[[noreturn]] void stay() {
  for (;;) pause();
}

void wait_for(const std::string& file) {
  while (access(file.c_str(), F_OK) != 0) poll(nullptr, 0, 2);
}

[[noreturn]] void answer(const std::string& requests) {
  for (;;) {
    const int connection = accept(0, nullptr, nullptr);
    if (connection < 0) _exit(99);
    char bytes[1024];
    while (read(connection, bytes, sizeof bytes) == static_cast<ssize_t>(sizeof bytes)) {
    }
    std::string content;
    append_pair(content, {"FCGI_MAX_REQS", requests});
    append_pair(content, {"FCGI_MAX_CONNS", "100"});
    std::string record;
    append_record(record, RecordType::get_values_result, 0, content);
    if (write(connection, record.data(), record.size()) < 0) perror("write");
    close(connection);
  }
}

[[noreturn]] void refuse() {
  for (;;) {
    const int connection = accept(0, nullptr, nullptr);
    char bytes[1024];
    if (read(connection, bytes, sizeof bytes) < 0) perror("read");
    close(connection);
  }
}

void refuse_unread_once() { close(accept(0, nullptr, nullptr)); }

void start_children(int count) {
  for (int i = 0; i < count; ++i) {
    if (fork() == 0) stay();
  }
}

void flood(long bytes) {
  const std::string line = std::string(99, 'x') + "\n";
  for (; bytes > 0; bytes -= 100) {
    if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
  }
}

void report(const std::string& file, char** argv) {
  std::string descriptors;
  for (int fd = 0; fd < 1'024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) descriptors += "descriptor " + std::to_string(fd) + "\n";
  }
  std::ofstream out(file + ".new");
  out << descriptors;
  for (char** argument = argv; *argument != nullptr; ++argument) out << "argument " << *argument << '\n';
  for (char** variable = environ; *variable != nullptr; ++variable) out << "variable " << *variable << '\n';
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, nullptr, &blocked);
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (sigismember(&blocked, signal) == 1) out << "blocked " << signal << '\n';
    if (signal == SIGPIPE) continue;  // our own doing
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) out << "ignored " << signal << '\n';
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  out << "folder " << std::filesystem::current_path().string() << '\n'
      << "nice " << getpriority(PRIO_PROCESS, 0) << '\n'
      << "files " << files.rlim_cur << '\n'
      << "leads its session " << (getsid(0) == getpid()) << '\n';
  out.close();
  std::filesystem::rename(file + ".new", file);
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // as any worker must: who asks may go away before the answer
  int at = 1;
  auto text = [&]() -> std::string { return at < argc ? argv[at++] : ""; };
  auto number = [&] { return std::atol(text().c_str()); };
  while (at < argc) {
    const std::string what = text();
    if (what == "exit") _exit(static_cast<int>(number()));
    if (what == "signal") raise(static_cast<int>(number()));
    if (what == "exit-while") {
      const bool ends = access(text().c_str(), F_OK) == 0;
      const int status = static_cast<int>(number());
      if (ends) _exit(status);
    }
    if (what == "wait-for") wait_for(text());
    if (what == "print") dprintf(STDOUT_FILENO, "%s\n", text().c_str());
    if (what == "complain") dprintf(STDERR_FILENO, "%s\n", text().c_str());
    if (what == "mumble") dprintf(STDERR_FILENO, "%s", text().c_str());
    if (what == "flood") flood(number());
    if (what == "children") start_children(static_cast<int>(number()));
    if (what == "ignore-term") signal(SIGTERM, SIG_IGN);
    if (what == "notify" && write(std::atoi(getenv("CPPFCGI_NOTIFY_FD")), "r", 1) != 1) perror("notify");
    if (what == "report") report(text(), argv);
    if (what == "answer") answer(text());
    if (what == "refuse") refuse();
    if (what == "refuse-unread-once") refuse_unread_once();
    if (what == "accept-and-exit") {
      accept(0, nullptr, nullptr);
      _exit(static_cast<int>(number()));
    }
    if (what == "stay") stay();
  }
  return 0;
}
