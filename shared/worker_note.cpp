#include "shared/worker_note.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace cppfcgi {
namespace {

constexpr std::string_view end_line_text = ".";

template <class Number>
Number parse(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) {
    text.remove_prefix(2);
    base = 16;
  }
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() ? value : Number{};
}

std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

// "start end offset device inode build-id path"; nullopt: not of this form.
std::optional<MappedModule> parse_module(std::string_view text) {
  MappedModule module;
  module.start = parse<std::uint64_t>(take_word(text));
  module.end = parse<std::uint64_t>(take_word(text));
  module.offset = parse<std::uint64_t>(take_word(text));
  module.device = take_word(text);
  module.inode = parse<std::uint64_t>(take_word(text));
  module.build_id = take_word(text);
  if (module.build_id == "-") module.build_id.clear();
  module.path = text;
  if (module.start >= module.end || !text.starts_with('/')) return std::nullopt;
  return module;
}

struct Fields {
  std::array<std::pair<std::string_view, std::uint64_t CrashRecord::*>, 6> numbers{{
      {note::signal, &CrashRecord::signal},
      {note::address, &CrashRecord::address},
      {note::pc, &CrashRecord::pc},
      {note::sp, &CrashRecord::sp},
      {note::sender, &CrashRecord::sender},
      {note::thread, &CrashRecord::thread},
  }};
  std::array<std::pair<std::string_view, std::int64_t CrashRecord::*>, 2> integers{{
      {note::code, &CrashRecord::code},
      {note::exit, &CrashRecord::exit_status},
  }};
  std::array<std::pair<std::string_view, std::string CrashRecord::*>, 7> texts{{
      {note::thread_name, &CrashRecord::thread_name},
      {note::exception, &CrashRecord::exception},
      {note::what, &CrashRecord::what},
      {note::request_id, &CrashRecord::request_id},
      {note::method, &CrashRecord::method},
      {note::uri, &CrashRecord::uri},
      {note::client, &CrashRecord::client},
  }};
};
constexpr Fields fields;

void set_field(CrashRecord& record, std::string_view key, std::string_view value) {
  for (const auto& [name, member] : fields.numbers) {
    if (name == key) record.*member = parse<std::uint64_t>(value);
  }
  for (const auto& [name, member] : fields.integers) {
    if (name == key) record.*member = parse<std::int64_t>(value);
  }
  for (const auto& [name, member] : fields.texts) {
    if (name == key) record.*member = value;
  }
  if (key == note::frame && record.frames.size() < max_note_frames)
    record.frames.push_back(parse<std::uint64_t>(value));
  if (key == note::module && record.modules.size() < max_note_modules) {
    if (auto module = parse_module(value)) record.modules.push_back(*std::move(module));
  }
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

// ---- writing ----

void NoteWriter::put(char c) {
  if (size_ < room_.size()) {
    room_[size_++] = c;
  } else {
    is_cut_ = true;
  }
}

void NoteWriter::words(std::string_view text) {
  for (const char c : text) put(is_control(c) ? '?' : c);
}

void NoteWriter::digits(std::uint64_t value, unsigned base) {
  std::array<char, 20> reversed;
  std::size_t count = 0;
  do {
    reversed[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (count > 0) put(reversed[--count]);
}

void NoteWriter::hex(std::uint64_t value) {
  words("0x");
  digits(value, 16);
}

void NoteWriter::decimal(std::int64_t value) {
  if (value < 0) put('-');
  digits(value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value), 10);
}

void NoteWriter::end_line() {
  put('\n');
  if (is_cut_) size_ = line_;
  is_cut_ = false;
  line_ = size_;
}

void NoteWriter::begin() {
  put(record_note);
  end_line();
}

void NoteWriter::number(std::string_view key, std::int64_t value) {
  words(key);
  put(' ');
  decimal(value);
  end_line();
}

void NoteWriter::address(std::string_view key, std::uint64_t value) {
  words(key);
  put(' ');
  hex(value);
  end_line();
}

void NoteWriter::text(std::string_view key, std::string_view value) {
  words(key);
  put(' ');
  words(value);
  end_line();
}

void NoteWriter::module(const Module& module) {
  words(note::module);
  for (const std::uint64_t value : {module.start, module.end, module.offset}) {
    put(' ');
    hex(value);
  }
  put(' ');
  words(module.device);
  put(' ');
  digits(module.inode, 10);
  put(' ');
  for (const unsigned char byte : module.build_id) {
    put("0123456789abcdef"[byte >> 4]);
    put("0123456789abcdef"[byte & 15]);
  }
  if (module.build_id.empty()) put('-');
  put(' ');
  words(module.path);
  end_line();
}

void NoteWriter::end() {
  words(end_line_text);
  end_line();
}

// ---- reading ----

void WorkerNoteReader::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (is_in_record_) {
      bytes.remove_prefix(take(bytes));
      continue;
    }
    if (bytes.front() == record_note) {
      is_in_record_ = true;
      taken_ = 0;
      line_.clear();
      record_.emplace();
    } else {
      is_ready_ = true;
    }
    bytes.remove_prefix(1);
  }
}

// As much as there is of one line; how much that was.
std::size_t WorkerNoteReader::take(std::string_view bytes) {
  const std::size_t end = bytes.find('\n');
  const std::string_view piece = bytes.substr(0, end);
  const std::size_t used = piece.size() + (end == std::string_view::npos ? 0 : 1);
  const std::size_t room = max_note_bytes - std::min(max_note_bytes, taken_);
  taken_ += std::min(used, max_note_bytes);
  if (used > room) return bytes.size();  // and all that still comes: this is none of ours
  line_ += piece.substr(0, max_note_line_bytes - std::min(max_note_line_bytes, line_.size()));
  if (end != std::string_view::npos) take_line();
  return used;
}

void WorkerNoteReader::take_line() {
  if (line_ == end_line_text) {
    record_->is_whole = true;
    is_in_record_ = false;
  } else {
    std::string_view value = line_;
    const std::string_view key = take_word(value);
    set_field(*record_, key, value);
  }
  line_.clear();
}

}  // namespace cppfcgi
