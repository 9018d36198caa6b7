#include "mod_cppfcgi/manager/crash_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstring>

#include "mod_cppfcgi/manager/lines.h"

namespace cppfcgi {
namespace {

constexpr std::uint64_t overflow_reach = std::uint64_t{64} << 10;  // how far from its stack pointer a frame may touch
constexpr std::size_t longest_function = 400;

// Libraries in which an application's mistake shows, but does not lie.
constexpr std::array<std::string_view, 12> common_libraries = {
    "libc.so",       "libstdc++.so", "libgcc_s.so", "libm.so",    "libpthread.so", "ld-linux",
    "libcppfcgi.so", "libasan.so",   "libubsan.so", "libtsan.so", "liblsan.so",    "libc++"};
constexpr std::array<std::string_view, 10> common_functions = {
    "std::",           "__gnu_cxx::", "__cxxabiv1::", "__cxa_",        "operator new",
    "operator delete", "cppfcgi::",   "_start",       "__libc_start_", "__sanitizer"};

template <std::size_t count>
bool starts_with_any(std::string_view text, const std::array<std::string_view, count>& beginnings) {
  return std::any_of(beginnings.begin(), beginnings.end(),
                     [text](std::string_view beginning) { return text.starts_with(beginning); });
}

std::string hex(std::uint64_t value) {
  std::array<char, 16> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr;
  return "0x" + std::string(digits.data(), end);
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// The bracket that closes the one at `at`; the end where none does.
std::size_t closing(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  for (; at < text.size(); ++at) {
    if (text[at] == '(') ++depth;
    if (text[at] == ')' && --depth == 0) return at;
  }
  return text.size();
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// As its author would write it: without what the compiler appends to parts of a function that it keeps elsewhere.
std::string readable(std::string_view function) {
  std::string text(function.substr(0, function.find(" [clone ")));
  replace_all(text, "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >", "std::string");
  return text.substr(0, longest_function);
}

// Parameters, wherever they stand: "main::{lambda(int)#1}::operator()(int) const" is "main::{lambda#1}::operator()".
std::string without_parameters(std::string_view function) {
  static constexpr std::string_view unnamed = "(anonymous namespace)";
  std::string name;
  for (std::size_t at = 0; at < function.size(); ++at) {
    const std::string_view rest = function.substr(at);
    if (rest.starts_with(unnamed)) {
      name += unnamed;
      at += unnamed.size() - 1;
    } else if (rest.starts_with("()") && name.ends_with("operator")) {
      name += "()";
      ++at;
    } else if (rest.front() == '(') {
      at = closing(function, at);
    } else {
      name += rest.front();
    }
  }
  if (name.ends_with(" const")) name.resize(name.size() - 6);
  return name;
}

// A template's instance is demangled with its return type in front.
std::string_view without_return_type(std::string_view name) {
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < name.size(); ++at) {
    if (name[at] == '<' || name[at] == '(' || name[at] == '{') ++depth;
    if (name[at] == '>' || name[at] == ')' || name[at] == '}') --depth;
    if (name[at] == ' ' && depth == 0 && !name.substr(begin, at - begin).ends_with("operator")) begin = at + 1;
  }
  return name.substr(begin);
}

std::string short_name(std::string_view function) {
  const std::string name = without_parameters(readable(function));
  return std::string(without_return_type(name));
}

bool is_of_application(const Frame& frame) {
  if (frame.function.empty() || starts_with_any(file_name(frame.module), common_libraries)) return false;
  return !starts_with_any(short_name(frame.function), common_functions);
}

std::string signal_name(std::uint64_t signal) {
  const char* const name = signal < 128 ? sigabbrev_np(static_cast<int>(signal)) : nullptr;
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

bool is_stack_overflow(const CrashRecord& record) {
  if (record.signal != SIGSEGV || record.code <= 0 || record.code == SI_KERNEL || record.sp == 0) return false;
  const std::uint64_t distance = record.address > record.sp ? record.address - record.sp : record.sp - record.address;
  return distance < overflow_reach;
}

// Where the signal's cause lies, or from whom it came.
std::string origin_of(const CrashRecord& record) {
  if (record.code == SI_USER && record.sender != 0) return " sent by pid " + std::to_string(record.sender);
  if (record.code <= 0) return "";
  if (record.signal == SIGSEGV && record.code == SI_KERNEL) return " at an address that cannot be";
  return " at " + hex(record.address) + (is_stack_overflow(record) ? " (stack overflow)" : "");
}

// "app.fcgi+0x1234", or the bare address where it is in no file.
std::string place_of(const Frame& frame) {
  if (frame.module.empty()) return hex(frame.address);
  return escaped(file_name(frame.module)) + "+" + hex(frame.offset);
}

std::string request_of(const CrashRecord& record) {
  if (record.method.empty() && record.uri.empty() && record.request_id.empty()) return "";
  std::string text = "request";
  for (const std::string& word : {record.request_id, record.method, record.uri}) {
    if (!word.empty()) text += " " + escaped(word);
  }
  return text;
}

std::string frame_text(const Frame& frame) {
  std::string text = hex(frame.address);
  if (!frame.function.empty()) text += " " + escaped(readable(frame.function));
  if (!frame.file.empty()) text += " at " + escaped(file_name(frame.file)) + ":" + std::to_string(frame.line);
  if (!frame.module.empty()) text += " (" + place_of(frame) + ")";
  return text;
}

std::string with_tabs(std::initializer_list<std::string_view> fields) {
  std::string line;
  for (const std::string_view field : fields) {
    if (!line.empty()) line += '\t';
    line += escaped(field);
  }
  return line + '\n';
}

std::string_view take_field(std::string_view& line) {
  const std::string_view field = line.substr(0, line.find('\t'));
  line.remove_prefix(std::min(line.size(), field.size() + 1));
  return field;
}

template <class Number>
Number take_number(std::string_view& line) {
  const std::string_view field = take_field(line);
  Number number{};
  std::from_chars(field.data(), field.data() + field.size(), number);
  return number;
}

Frame decode_frame(std::string_view line) {
  Frame frame;
  frame.address = take_number<std::uint64_t>(line);
  frame.offset = take_number<std::uint64_t>(line);
  frame.line = take_number<std::uint64_t>(line);
  frame.function = take_field(line);
  frame.file = take_field(line);
  frame.module = take_field(line);
  return frame;
}

ThreadStack decode_thread(std::string_view line) {
  ThreadStack thread;
  thread.id = take_number<std::int64_t>(line);
  thread.name = take_field(line);
  thread.state = take_field(line);
  thread.failure = take_field(line);
  return thread;
}

}  // namespace

Frames raw_frames(const CrashRecord& record) {
  Frames frames;
  for (const std::uint64_t address : record.frames) {
    Frame frame{.address = address};
    const auto module = std::find_if(
        record.modules.begin(), record.modules.end(),
        [address](const MappedModule& candidate) { return candidate.start <= address && address < candidate.end; });
    if (module != record.modules.end()) {
      frame.module = module->path;
      frame.offset = address - module->start + module->offset;
    }
    frames.push_back(std::move(frame));
  }
  return frames;
}

std::string top_function(const Frames& frames) {
  const auto top = std::find_if(frames.begin(), frames.end(), is_of_application);
  return top == frames.end() ? "" : escaped(short_name(top->function));
}

std::string cause(const CrashRecord& record, const Frames& frames) {
  const std::string request = request_of(record);
  if (record.signal == 0) {
    return "called exit(" + std::to_string(record.exit_status) + ")" + (request.empty() ? "" : " in " + request);
  }
  std::string text = signal_name(record.signal) + origin_of(record);
  if (const std::string top = top_function(frames); !top.empty()) {
    text += " in " + top;
  } else if (!frames.empty() && !frames.front().module.empty()) {
    text += " in " + place_of(frames.front());
  }
  if (!record.exception.empty()) {
    text += " (nobody caught " + escaped(record.exception) + ": " + escaped(record.what) + ")";
  }
  if (!request.empty()) text += ", " + request;
  return text;
}

std::vector<std::string> frame_lines(const Frames& frames) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < frames.size();) {
    std::size_t end = i + 1;
    while (end < frames.size() && frames[end] == frames[i]) ++end;
    std::string line = "#" + std::to_string(i) + " " + frame_text(frames[i]);
    if (end - i > 1) line += ", " + std::to_string(end - i) + " times";
    lines.push_back(std::move(line));
    i = end;
  }
  return lines;
}

std::vector<std::string> detail_lines(const CrashRecord& record, std::string_view usage) {
  std::vector<std::string> lines;
  if (!record.client.empty()) lines.push_back("the request's client: " + escaped(record.client));
  if (record.thread != 0) {
    lines.push_back("in thread " + std::to_string(record.thread) + " (" + escaped(record.thread_name) + ")");
  }
  if (!record.modules.empty() && !record.modules.front().build_id.empty()) {
    const MappedModule& program = record.modules.front();
    lines.push_back("build id of " + escaped(file_name(program.path)) + ": " + escaped(program.build_id));
  }
  if (!record.is_whole) lines.emplace_back("its record broke off");
  if (!usage.empty()) lines.emplace_back(usage);
  return lines;
}

std::vector<std::string> stack_lines(const Stacks& stacks) {
  std::vector<std::string> lines;
  for (const ThreadStack& thread : stacks.threads) {
    const std::string head =
        "thread " + std::to_string(thread.id) + " (" + escaped(thread.name) + ", " + escaped(thread.state) + ")";
    lines.push_back(head + (thread.failure.empty() ? ":" : ": " + escaped(thread.failure)));
    for (std::string& line : frame_lines(thread.frames)) lines.push_back(std::move(line));
  }
  if (!stacks.failure.empty()) lines.push_back("stacks: " + escaped(stacks.failure));
  return lines;
}

std::string encode_thread(const ThreadStack& thread) {
  return with_tabs({"thread", std::to_string(thread.id), thread.name, thread.state, thread.failure});
}

std::string encode_frame(const Frame& frame) {
  return with_tabs({"frame", std::to_string(frame.address), std::to_string(frame.offset), std::to_string(frame.line),
                    frame.function, frame.file, frame.module});
}

std::string encode_end(std::string_view failure) { return with_tabs({"end", failure}); }

Stacks decode_stacks(std::string_view text) {
  Stacks stacks;
  stacks.failure = "the reading of stacks broke off";
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const std::string_view kind = take_field(line);
    if (kind == "thread") stacks.threads.push_back(decode_thread(line));
    if (kind == "frame" && !stacks.threads.empty()) stacks.threads.back().frames.push_back(decode_frame(line));
    if (kind == "end") stacks.failure = take_field(line);
  }
  return stacks;
}

}  // namespace cppfcgi
