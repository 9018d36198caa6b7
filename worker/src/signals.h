// The signals that end a worker, and a scope in which they are blocked so that the guard alone takes them. SIGPIPE is
// ignored there too: a worker whose log or web server is gone must not die of writing to it.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstddef>
#include <iterator>

namespace cppfcgi {

inline sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGUSR1);
  return set;
}

// Runs in threads that the application started before serve(), which have the signal unblocked: they block it in
// themselves and pass it on, until it comes to the guard.
inline void pass_on(int number, siginfo_t*, void* context) {
  sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, number);
  kill(getpid(), number);
}

class BlockedSignals {
 public:
  BlockedSignals() {
    const sigset_t ending = ending_signals();
    pthread_sigmask(SIG_BLOCK, &ending, &mask_before_);
    struct sigaction pass {};
    pass.sa_sigaction = pass_on;
    pass.sa_flags = SA_SIGINFO | SA_RESTART;
    for (std::size_t i = 0; i < std::size(numbers); ++i) sigaction(numbers[i], &pass, &before_[i]);
    sigaction(SIGPIPE, nullptr, &pipe_before_);
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    if (pipe_before_.sa_handler == SIG_DFL) sigaction(SIGPIPE, &ignore, nullptr);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() {
    sigaction(SIGPIPE, &pipe_before_, nullptr);
    for (std::size_t i = 0; i < std::size(numbers); ++i) sigaction(numbers[i], &before_[i], nullptr);
    pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
  }

 private:
  static constexpr int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
  sigset_t mask_before_;
  struct sigaction before_[std::size(numbers)]{};
  struct sigaction pipe_before_ {};
};

}  // namespace cppfcgi
