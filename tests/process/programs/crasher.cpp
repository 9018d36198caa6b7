// A worker that comes to grief as its request's query says:
//   segv overflow abort bus jump trap       dies of a signal of its own making, in Cart::total
//   uncaught                                a function that must not throw does
//   exit=N                                  calls exit()
//   together                                waits for a second such request in another thread, then both crash
//   child                                   a process that it has forked crashes; it goes on
//   helper                                  a thread of its own crashes
//   wait=MS                                 answers after that time
//   spin deadlock deaf stop                 runs for ever, waits for ever, waits with all signals blocked, stops itself
// With CRASHER_HANDLES=1 it has a handler for SIGSEGV of its own, which exits with 42.
#include <cppfcgi/worker.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

std::atomic<int> waiting{0};

[[gnu::noinline]] std::size_t overflow(std::size_t depth) {
  volatile char frame[4'096];
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : overflow(depth + 1) + static_cast<std::size_t>(frame[0]);
}

[[gnu::noinline]] void find_item() { throw std::runtime_error("no such\nitem"); }

[[gnu::noinline]] void must_not_throw() noexcept { find_item(); }

[[gnu::noinline, gnu::no_sanitize("undefined", "address")]] void touch_beyond_end() {
  char name[] = "/tmp/cppfcgi-crasher-XXXXXX";
  const int file = mkstemp(name);
  unlink(name);
  auto* const memory = static_cast<volatile char*>(mmap(nullptr, 4'096, PROT_READ, MAP_SHARED, file, 0));
  if (memory[0] == 0) abort();
}

[[gnu::noinline, gnu::no_sanitize("undefined", "address")]] void touch_nothing() {
  volatile int* nothing = nullptr;
  asm("" : "+r"(nothing));
  *nothing = 1;
}

[[gnu::noinline]] void jump_nowhere() {
  void (*volatile nowhere)() = nullptr;
  nowhere();
  asm volatile("");  // so that it is a call
}

class Cart {
 public:
  [[gnu::noinline]] int total(const std::string& how) {
    if (how == "segv" || how == "together" || how == "child") touch_nothing();
    if (how == "overflow") return static_cast<int>(overflow(1));
    if (how == "abort") abort();
    if (how == "bus") touch_beyond_end();
    if (how == "jump") jump_nowhere();
    if (how == "trap") __builtin_trap();
    if (how == "uncaught") must_not_throw();
    items_ = items_ + 1;
    return items_;
  }

 private:
  volatile int items_ = 0;
};

[[gnu::noinline]] void spin() {
  for (volatile unsigned long turns = 0;;) turns = turns + 1;
}

[[gnu::noinline]] void deadlock() {
  std::mutex lock;
  const std::lock_guard guard(lock);
  std::condition_variable never;
  std::unique_lock other(*std::make_unique<std::mutex>().release());
  never.wait(other, [] { return false; });
}

void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

void handle(const std::string& how) {
  pthread_setname_np(pthread_self(), how.substr(0, 15).c_str());
  Cart cart;
  if (how == "together") {
    ++waiting;
    while (waiting.load() < 2) std::this_thread::yield();
  }
  if (how.starts_with("exit=")) exit(std::stoi(how.substr(5)));
  // For as long as the test has asked: a slow application.
  if (how.starts_with("wait=")) std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(how.substr(5))));
  if (how == "child") {
    const pid_t child = fork();
    if (child == 0) cart.total("segv");
    waitpid(child, nullptr, 0);
  } else if (how == "helper") {
    std::thread([] { Cart().total("segv"); }).join();
  } else if (how == "spin") {
    spin();
  } else if (how == "deadlock") {
    deadlock();
  } else if (how == "deaf") {
    block_all_signals();
    deadlock();
  } else if (how == "stop") {
    raise(SIGSTOP);
  } else {
    cart.total(how);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (std::getenv("CRASHER_HANDLES") != nullptr) signal(SIGSEGV, [](int) { _exit(42); });
  return cppfcgi::serve(argc, argv, [](const cppfcgi::Request& request, cppfcgi::Response& response) {
    handle(std::string(request.query()));
    response << "fine\n";
  });
}
