#include "mod_cppfcgi/manager/lines.h"

#include <algorithm>

namespace cppfcgi {

void Lines::feed(std::string_view bytes, const Sink& sink) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, std::min(end, longest_bytes_ - line_.size()));
    line_ += piece;
    bytes.remove_prefix(piece.size());
    if (!bytes.empty() && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      pass_on(sink);
    } else if (line_.size() == longest_bytes_ && !bytes.empty()) {
      pass_on(sink);
    }
  }
}

void Lines::finish(const Sink& sink) {
  if (!line_.empty()) pass_on(sink);
}

void Lines::pass_on(const Sink& sink) {
  if (line_.ends_with('\r')) line_.pop_back();
  sink(escaped(line_));
  line_.clear();
}

std::string escaped(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\t') {
      out += "\\t";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace cppfcgi
