// The signals that end a worker, and a scope in which they are blocked so that the guard alone takes them. SIGPIPE is
// ignored there too: a worker whose log or web server is gone must not die of writing to it.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace cppfcgi {

inline sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGUSR1);
  return set;
}

class BlockedSignals {
 public:
  BlockedSignals() {
    const sigset_t ending = ending_signals();
    pthread_sigmask(SIG_BLOCK, &ending, &before_);
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, nullptr, &pipe_before_);
    if (pipe_before_.sa_handler == SIG_DFL) sigaction(SIGPIPE, &ignore, nullptr);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() {
    sigaction(SIGPIPE, &pipe_before_, nullptr);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t before_;
  struct sigaction pipe_before_ {};
};

}  // namespace cppfcgi
