// WorkerNoteReader under arbitrary bytes: the same comes out however they are cut, within its bounds, and what the log
// says of it is lines that forge nothing. The input's first two bytes choose the cuts.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "mod_cppfcgi/manager/crash_text.h"
#include "shared/worker_note.h"

namespace {

using namespace cppfcgi;

void require(bool holds) {
  if (!holds) std::abort();
}

void require_one_line(const std::string& text) {
  require(std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
}

void require_bounds(const CrashRecord& record) {
  require(record.frames.size() <= max_note_frames);
  require(record.modules.size() <= max_note_modules);
  for (const MappedModule& module : record.modules) require(module.start < module.end && module.path.starts_with('/'));
}

void require_harmless_text(const CrashRecord& record) {
  Frames frames = raw_frames(record);
  for (Frame& frame : frames) frame.function = record.what;  // any text there is
  require_one_line(cause(record, frames));
  for (const std::string& line : frame_lines(frames)) require_one_line(line);
  for (const std::string& line : detail_lines(record, "")) require_one_line(line);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t first = data[0] + 1u, second = data[1] + 1u;
  const std::string_view input(reinterpret_cast<const char*>(data + 2), size - 2);
  WorkerNoteReader whole, cut;
  whole.feed(input);
  bool is_first = true;
  for (std::string_view rest = input; !rest.empty(); is_first = !is_first) {
    const std::string_view piece = rest.substr(0, is_first ? first : second);
    cut.feed(piece);
    rest.remove_prefix(piece.size());
  }
  require(whole.is_ready() == cut.is_ready());
  require(whole.record() == cut.record());
  (void)decode_stacks(input);
  if (!whole.record()) return 0;
  require_bounds(*whole.record());
  require_harmless_text(*whole.record());
  return 0;
}
