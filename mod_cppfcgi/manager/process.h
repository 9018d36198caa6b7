// What /proc tells of a process, and its pidfd. A shell; decides nothing.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "shared/fd.h"

namespace cppfcgi {

struct ProcessStat {
  bool is_ending = false;        // exiting, or a zombie: its descriptors may be closed already
  std::uint64_t start_time = 0;  // in ticks since boot; with the pid it names one process for good
};

std::optional<ProcessStat> read_process(pid_t pid);  // nullopt: there is none

std::uint64_t resident_bytes(pid_t pid);  // of memory; 0: there is none

Fd open_pidfd(pid_t pid);  // empty: there is no such process
bool has_ended(const Fd& pidfd);
bool is_alive(pid_t pid);  // a zombie is not

// To a process, and to the process group that it leads, without ever meaning another that got its number.
void send_signal(const Fd& pidfd, int signal);
void send_group_signal(const Fd& pidfd, int signal, std::optional<pid_t> unreaped_leader);

}  // namespace cppfcgi
