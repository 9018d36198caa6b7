// What a worker tells the manager on its notify descriptor, a pipe: one byte when it is ready, and, where it crashes, a
// record of that. Both sides of it: NoteWriter is called in a signal handler, WorkerNoteReader takes what comes however
// it is cut. Pure. Nothing in a record is to be believed: a worker can write what it likes. Who logs it, escapes it.
//
//   R                             it is ready (any byte but C means that)
//   C⏎ key value⏎ key value⏎ … .⏎  a record; lines that the reader does not know are left out
//
// A whole record takes less than max_note_bytes, so that a pipe takes it at once, whoever reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cppfcgi {

inline constexpr std::size_t max_note_bytes = std::size_t{48} << 10;
inline constexpr std::size_t max_note_frames = 64;
inline constexpr std::size_t max_note_modules = 256;
inline constexpr std::size_t max_note_line_bytes = 5'000;  // room for the longest path

inline constexpr char ready_note = 'R';
inline constexpr char record_note = 'C';

// A file that is mapped executable, as the kernel tells it in /proc/self/maps.
struct MappedModule {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;  // in the file
  std::uint64_t inode = 0;
  std::string device;    // "08:01"
  std::string build_id;  // in hex; "": it has none
  std::string path;
  friend bool operator==(const MappedModule&, const MappedModule&) = default;
};

struct CrashRecord {
  // What has ended it: a signal, or, where that is 0, exit() called in a handler.
  std::uint64_t signal = 0;
  std::int64_t code = 0;  // si_code
  std::int64_t exit_status = 0;
  std::uint64_t address = 0;  // si_addr
  std::uint64_t pc = 0;
  std::uint64_t sp = 0;
  std::uint64_t sender = 0;  // the process that sent the signal; 0: the kernel
  std::uint64_t thread = 0;
  std::string thread_name;
  std::string exception;  // its type, where one that nobody caught has ended it
  std::string what;       // of that exception
  // The request in whose handler the thread was; a method without a value: in none.
  std::string request_id;
  std::string method;
  std::string uri;
  std::string client;
  std::vector<MappedModule> modules;
  std::vector<std::uint64_t> frames;  // innermost first; the first is pc, the others are return addresses
  bool is_whole = false;              // its end has come
  friend bool operator==(const CrashRecord&, const CrashRecord&) = default;
};

// The keys of its lines.
namespace note {
inline constexpr std::string_view signal = "signal", code = "code", exit = "exit", address = "address", pc = "pc",
                                  sp = "sp", sender = "sender", thread = "thread", thread_name = "thread-name",
                                  exception = "exception", what = "what", request_id = "request", method = "method",
                                  uri = "uri", client = "client", module = "module", frame = "frame";
}  // namespace note

// Lays lines out in memory that it is given; one that does not fit any more is left out. Allocates nothing and calls
// nothing: for signal handlers.
class NoteWriter {
 public:
  explicit NoteWriter(std::span<char> room) : room_(room) {}

  void begin();
  void number(std::string_view key, std::int64_t value);
  void address(std::string_view key, std::uint64_t value);
  void text(std::string_view key, std::string_view value);  // control characters become "?"
  struct Module {
    std::uint64_t start, end, offset, inode;
    std::string_view device, path;
    std::span<const unsigned char> build_id;
  };
  void module(const Module& module);
  void end();

  // For lines that people read.
  void words(std::string_view text);
  void hex(std::uint64_t value);
  void decimal(std::int64_t value);
  void end_line();

  std::string_view text() const { return {room_.data(), size_}; }
  void clear() { size_ = line_ = 0; }

 private:
  void put(char c);
  void digits(std::uint64_t value, unsigned base);

  std::span<char> room_;
  std::size_t size_ = 0;
  std::size_t line_ = 0;  // where the one that is being written begins
  bool is_cut_ = false;
};

// Takes what a worker writes, and never more than max_note_bytes of a record.
class WorkerNoteReader {
 public:
  void feed(std::string_view bytes);
  bool is_ready() const { return is_ready_; }
  // The last one that has begun; not whole where it broke off, and what came of it is there.
  const std::optional<CrashRecord>& record() const { return record_; }

 private:
  std::size_t take(std::string_view bytes);
  void take_line();

  bool is_ready_ = false;
  bool is_in_record_ = false;
  std::size_t taken_ = 0;  // of this record
  std::string line_;
  std::optional<CrashRecord> record_;
};

}  // namespace cppfcgi
