#include "mod_cppfcgi/manager/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cppfcgi {
namespace {

constexpr unsigned long exiting_flag = 0x4;       // the kernel's PF_EXITING, in field 9 of stat
constexpr unsigned process_group_flag = 1U << 2;  // PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9

}  // namespace

std::optional<ProcessStat> read_process(pid_t pid) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const Fd file(open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  char text[1024];
  const ssize_t got = read(file.get(), text, sizeof text - 1);
  if (got <= 0) return std::nullopt;
  text[got] = '\0';
  // Field 2 is the program's name, which may contain anything: what follows its last bracket is field 3.
  const char* field = std::strrchr(text, ')');
  if (field == nullptr) return std::nullopt;
  ProcessStat stat;
  int number = 2;
  for (field = std::strchr(field, ' '); field != nullptr; field = std::strchr(field + 1, ' ')) {
    ++number;
    if (number == 3) stat.is_ending = field[1] == 'Z' || field[1] == 'X';
    if (number == 9 && (std::strtoul(field + 1, nullptr, 10) & exiting_flag) != 0) stat.is_ending = true;
    if (number == 22) {
      stat.start_time = std::strtoull(field + 1, nullptr, 10);
      return stat;
    }
  }
  return std::nullopt;
}

std::uint64_t resident_bytes(pid_t pid) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/statm", pid);
  const Fd file(open(path, O_RDONLY | O_CLOEXEC));
  char text[128];
  const ssize_t got = file ? read(file.get(), text, sizeof text - 1) : -1;
  if (got <= 0) return 0;
  text[got] = '\0';
  const char* second = std::strchr(text, ' ');  // pages: of address space, resident, …
  return second == nullptr ? 0 : std::strtoull(second, nullptr, 10) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

Fd open_pidfd(pid_t pid) { return Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

bool has_ended(const Fd& pidfd) {
  pollfd item{.fd = pidfd.get(), .events = POLLIN};
  return poll(&item, 1, 0) == 1;
}

bool is_alive(pid_t pid) {
  const Fd pidfd = open_pidfd(pid);
  return pidfd && !has_ended(pidfd);
}

void send_signal(const Fd& pidfd, int signal) { syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0); }

void send_group_signal(const Fd& pidfd, int signal, std::optional<pid_t> unreaped_leader) {
  if (syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, process_group_flag) == 0) return;
  // An older kernel. As long as its leader has not been reaped, nobody else can have the group's number.
  if (unreaped_leader && *unreaped_leader > 1) kill(-*unreaped_leader, signal);
}

}  // namespace cppfcgi
