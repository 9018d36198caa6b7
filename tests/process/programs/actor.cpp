// A worker that does what its arguments say, one after the other, with plain system calls: for tests of the manager.
//   exit N                ends                       signal N           to itself
//   exit-while FILE N     ends if FILE exists        wait-for FILE      goes on when FILE exists
//   print TEXT            a line on stdout           complain TEXT      a line on stderr
//   mumble TEXT           on stderr, without an end  flood BYTES        so many bytes of lines on stderr
//   children N            starts N processes that stay     ignore-term  SIGTERM does nothing any more
//   notify                says that it is ready      report FILE        writes down what it was given
//   answer N              accepts, tells N as its FCGI_MAX_REQS and closes, for ever
//   answer-times N TIMES  the same, so many times
//   serve STATUS          the same with 1, and answers requests with this status, for ever
//   grow BYTES            takes and uses so much memory
//   refuse                accepts and closes at once, for ever
//   refuse-unread-once    accepts one connection and closes it without reading
//   accept-and-exit N     accepts one connection and ends
//   stay                  does nothing, for ever
//   spin                  uses up CPU, for ever
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

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

std::string capacity(const std::string& requests) {
  std::string content;
  append_pair(content, {"FCGI_MAX_REQS", requests});
  append_pair(content, {"FCGI_MAX_CONNS", "100"});
  std::string record;
  append_record(record, RecordType::get_values_result, 0, content);
  return record;
}

void answer_once(const std::string& requests) {
  const int connection = accept(0, nullptr, nullptr);
  if (connection < 0) _exit(99);
  char bytes[1024];
  while (read(connection, bytes, sizeof bytes) == static_cast<ssize_t>(sizeof bytes)) {
  }
  const std::string record = capacity(requests);
  if (write(connection, record.data(), record.size()) < 0) perror("write");
  close(connection);
}

[[noreturn]] void answer(const std::string& requests) {
  for (;;) answer_once(requests);
}

// One record tells which it is: a question, or a request, which is read up to its end.
[[noreturn]] void serve(const std::string& status) {
  for (;;) {
    const int connection = accept(0, nullptr, nullptr);
    if (connection < 0) _exit(99);
    RecordReader reader;
    std::string reply;
    std::array<std::byte, 4096> buffer;
    while (reply.empty()) {
      const ssize_t got = read(connection, buffer.data(), buffer.size());
      if (got <= 0) break;
      Bytes bytes = std::span(buffer).first(static_cast<std::size_t>(got));
      for (auto step = reader.next(bytes); step.kind == RecordReader::Kind::fragment; step = reader.next(bytes)) {
        if (step.header.is(RecordType::get_values)) reply = capacity("1");
        if (!step.header.is(RecordType::stdin_stream) || step.header.content_length > 0) continue;
        append_stream(reply, RecordType::stdout_stream, step.header.id, "Status: " + status + "\r\n\r\nx");
        append_end_request(reply, step.header.id, 0, ProtocolStatus::request_complete);
      }
    }
    if (write(connection, reply.data(), reply.size()) < 0) perror("write");
    close(connection);
  }
}

void grow(std::size_t bytes) {
  static std::vector<char> memory;
  memory.assign(bytes, 'x');
}

[[noreturn]] void refuse() {
  for (;;) {
    const int connection = accept(0, nullptr, nullptr);
    char bytes[1024];
    if (read(connection, bytes, sizeof bytes) < 0) perror("read");
    close(connection);
  }
}

[[noreturn]] void spin() {
  for (volatile unsigned long turns = 0;;) turns = turns + 1;
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
  const std::string fresh = file + "." + std::to_string(getpid());  // others may report as well
  std::ofstream out(fresh);
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
  const mode_t mask = umask(0);
  umask(mask);
  for (const auto& [name, resource] :
       {std::pair("as", RLIMIT_AS), {"nofile", RLIMIT_NOFILE}, {"cpu", RLIMIT_CPU}, {"core", RLIMIT_CORE}}) {
    rlimit limit{};
    getrlimit(resource, &limit);
    out << name << ' ' << static_cast<long long>(limit.rlim_cur) << ' ' << static_cast<long long>(limit.rlim_max)
        << '\n';
  }
  out << "folder " << std::filesystem::current_path().string() << '\n'
      << "nice " << getpriority(PRIO_PROCESS, 0) << '\n'
      << "files " << files.rlim_cur << '\n'
      << "umask " << std::oct << mask << std::dec << '\n'
      << "leads its session " << (getsid(0) == getpid()) << '\n';
  out.close();
  std::filesystem::rename(fresh, file);
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
    if (what == "answer-times") {
      const std::string requests = text();
      for (long left = number(); left > 0; --left) answer_once(requests);
    }
    if (what == "serve") serve(text());
    if (what == "grow") grow(static_cast<std::size_t>(number()));
    if (what == "refuse") refuse();
    if (what == "refuse-unread-once") refuse_unread_once();
    if (what == "accept-and-exit") {
      accept(0, nullptr, nullptr);
      _exit(static_cast<int>(number()));
    }
    if (what == "stay") stay();
    if (what == "spin") spin();
  }
  return 0;
}
