// CrashRecorder: writes down how the worker dies, in the moment in which it does: a signal (a stack overflow included),
// an exception that nobody catches, exit() inside a handler. The record goes to the manager by the notify descriptor
// (shared/worker_note.h), or, where there is none, to stderr in short. Then the process dies as it would have died:
// of the same signal, with the same core. A signal that has a handler of the application's own keeps that.
//
// What runs in a signal handler here allocates nothing, takes no lock and calls async-signal-safe functions only;
// _Unwind_Backtrace is one of them once it has run (glibc 2.35 and gcc 12 find frames without a lock). What could fault
// itself comes later in the record than what cannot; a fault in the recorder ends the process.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string_view>

#include "shared/worker_note.h"

namespace cppfcgi {

class Request;

// The request in whose handler this thread is; null: none.
extern constinit thread_local const Request* request_under_way [[gnu::tls_model("initial-exec")]];

class RequestUnderWay {
 public:
  explicit RequestUnderWay(const Request& request) { request_under_way = &request; }
  RequestUnderWay(const RequestUnderWay&) = delete;
  RequestUnderWay& operator=(const RequestUnderWay&) = delete;
  ~RequestUnderWay() { request_under_way = nullptr; }
};

// A stack for signal handlers in the calling thread, as long as it lives there, unless the thread has one.
class AlternateStack {
 public:
  AlternateStack();
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;
  ~AlternateStack();

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

class CrashRecorder {
 public:
  // Watches from now on. `notify` is borrowed; -1: there is none. One at a time in a process.
  explicit CrashRecorder(int notify);
  CrashRecorder(const CrashRecorder&) = delete;
  CrashRecorder& operator=(const CrashRecorder&) = delete;
  ~CrashRecorder();

 private:
  static constexpr std::array signals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
  static constexpr std::size_t most_modules = 128;

  using Module = NoteWriter::Module;  // what it points to lies in names_, or in the module

  static void on_signal(int signal, siginfo_t* info, void* context);
  static void on_exit_called(int status, void*);
  [[noreturn]] static void on_terminate();

  bool has_manager() const { return notify_ >= 0; }
  void watch();
  void note_exception();
  void record_signal(const siginfo_t& info, ucontext_t& context);
  void record_exit(int status);
  void write_signal(const siginfo_t& info, const ucontext_t& context);
  void write_thread();
  void write_exception();
  void write_request(const Request& request);
  void write_frames(ucontext_t& context);
  void write_frame(std::size_t number, std::uint64_t address);
  void find_modules();
  void take_mapping(std::string_view line);
  std::string_view keep_name(std::string_view name);
  const Module* find_module(std::uint64_t address) const;
  void flush();

  const int notify_;
  const int pid_;
  std::array<struct sigaction, signals.size()> before_{};
  std::terminate_handler terminate_before_ = nullptr;
  std::atomic<bool> is_recording_{false};
  std::atomic<bool> has_recorded_exit_{false};
  std::atomic<bool> has_exception_{false};
  bool is_lost_ = false;  // what is written reaches nobody
  std::array<char, 256> exception_type_{};
  std::array<char, 512> exception_what_{};

  std::array<Module, most_modules> modules_{};
  std::size_t module_count_ = 0;
  std::array<char, std::size_t{24} << 10> names_{};  // their devices and paths
  std::size_t names_bytes_ = 0;
  std::span<const unsigned char> image_;  // the mapping of a file's beginning that was seen last
  std::uint64_t image_inode_ = 0;
  std::array<char, 8'192> maps_{};  // more than the longest line of it
  std::array<char, 8'192> text_{};
  NoteWriter writer_{text_};
};

}  // namespace cppfcgi
