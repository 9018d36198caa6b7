// AnswerHead under any bytes: the verdict does not depend on how they are cut, and what it lets through is harmless.
#include <cstdlib>
#include <string>

#include "mod_cppfcgi/core/answer_head.h"

namespace {

using cppfcgi::AnswerHead;
using cppfcgi::Bytes;

struct Seen {
  AnswerHead::Step step = AnswerHead::Step::need_more;
  std::string text;
  std::string body;
  friend bool operator==(const Seen&, const Seen&) = default;
};

void require(bool holds) {
  if (!holds) std::abort();
}

void check_field(const AnswerHead::Field& field) {
  require(!field.name.empty());
  for (const char c : field.name) require(c > ' ' && c < 0x7f && c != ':');
  for (const char c : field.value) require(c == '\t' || static_cast<unsigned char>(c) >= ' ');
  require(!cppfcgi::equal_in_any_case(field.name, "transfer-encoding"));
  require(!cppfcgi::equal_in_any_case(field.name, "connection"));
}

// In pieces of this size; 0: whole.
Seen parse(std::string_view input, std::size_t piece) {
  AnswerHead head(4'096);
  Seen seen;
  while (!input.empty() && seen.step == AnswerHead::Step::need_more) {
    const std::string_view part = piece == 0 ? input : input.substr(0, piece);
    Bytes bytes = cppfcgi::as_bytes(part);
    seen.step = head.take(bytes);
    input.remove_prefix(part.size() - (seen.step == AnswerHead::Step::complete ? bytes.size() : 0));
  }
  if (seen.step == AnswerHead::Step::broken) seen.text = head.why();
  if (seen.step != AnswerHead::Step::complete) return seen;
  require(head.status() >= 200 && head.status() <= 599);
  seen.text = std::to_string(head.status()) + std::string(head.reason());
  for (std::size_t i = 0; i < head.field_count(); ++i) {
    check_field(head.field(i));
    seen.text.append("|").append(head.field(i).name).append(":").append(head.field(i).value);
  }
  seen.body = input;
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const Seen whole = parse(input, 0);
  require(parse(input, 1) == whole);
  require(parse(input, 7) == whole);
  return 0;
}
