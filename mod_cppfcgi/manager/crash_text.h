// What the log says of a crash and of threads' stacks. Pure. Everything that comes from a worker is escaped here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shared/worker_note.h"

namespace cppfcgi {

// One call. A function that was inlined is a frame of its own, with the address of the one that it is in.
struct Frame {
  std::uint64_t address = 0;
  std::string function;  // demangled, with its parameters; "": unknown
  std::string file;
  std::uint64_t line = 0;
  std::string module;  // path of the program or library; "": in none
  std::uint64_t offset = 0;
  friend bool operator==(const Frame&, const Frame&) = default;
};
using Frames = std::vector<Frame>;  // innermost first

struct ThreadStack {
  std::int64_t id = 0;
  std::string name;
  std::string state;    // "running", "sleeping", "stopped" …
  std::string failure;  // why there are no frames, or not all; "": there are
  Frames frames;
  friend bool operator==(const ThreadStack&, const ThreadStack&) = default;
};

struct Stacks {
  std::vector<ThreadStack> threads;  // of a crash: the one that crashed
  std::string failure;               // why this is nothing, or not all; "": it is
  friend bool operator==(const Stacks&, const Stacks&) = default;
};

// The frames as far as the record itself knows them: modules and offsets.
Frames raw_frames(const CrashRecord& record);

// "Cart::total": the innermost function of the application rather than of the C and C++ libraries or ours, without its
// parameters; "": there is none.
std::string top_function(const Frames& frames);

// What goes behind "crashed: ": "SIGSEGV at 0x0 in Cart::total, request abc GET /cart", or
// "called exit(3) in request abc GET /cart".
std::string cause(const CrashRecord& record, const Frames& frames);

// "#0 0x55d0c0de Cart::total() at cart.cpp:42 (app.fcgi+0x1234)", a line for each; one for those of a recursion that
// are alike.
std::vector<std::string> frame_lines(const Frames& frames);

// What else is to be said of a crash, a line each: build id, thread and client; `usage` as it is, where it is not "".
std::vector<std::string> detail_lines(const CrashRecord& record, std::string_view usage);

// "thread 812 (app.fcgi, sleeping):" and its frames' lines, for each thread.
std::vector<std::string> stack_lines(const Stacks& stacks);

// Between the manager and the process that reads stacks for it: lines, one a thread or frame. What is decoded may lack
// its end (Stacks::failure says so).
std::string encode_thread(const ThreadStack& thread);  // without its frames
std::string encode_frame(const Frame& frame);
std::string encode_end(std::string_view failure);
Stacks decode_stacks(std::string_view text);

}  // namespace cppfcgi
