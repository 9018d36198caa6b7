#include "mod_cppfcgi/core/answer_head.h"

#include <algorithm>
#include <array>
#include <utility>

namespace cppfcgi {
namespace {

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_blank(char c) { return c == ' ' || c == '\t'; }

constexpr std::array<bool, 256> token_characters = [] {
  std::array<bool, 256> table{};
  for (const char c :
       std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();

bool is_token(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return token_characters[static_cast<unsigned char>(c)]; });
}

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

bool is_connection_field(std::string_view name) {
  constexpr std::string_view names[] = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"};
  constexpr std::string_view proxy = "proxy-";
  return equal_in_any_case(name.substr(0, proxy.size()), proxy) ||
         std::any_of(std::begin(names), std::end(names), [&](auto known) { return equal_in_any_case(name, known); });
}

// Does a list like "close, X-Hop" name this field?
bool lists(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    if (equal_in_any_case(trim(list.substr(0, comma)), name)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

bool equal_in_any_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

AnswerHead::Step AnswerHead::fail(const char* why) {
  why_ = why;
  return step_ = Step::broken;
}

AnswerHead::Step AnswerHead::take(Bytes& bytes) {
  while (step_ == Step::need_more && !bytes.empty()) {
    const std::string_view text = as_text(bytes);
    const std::size_t end = text.find('\n');
    const std::size_t taken = end == std::string_view::npos ? text.size() : end + 1;
    taken_bytes_ += taken;
    bytes = bytes.subspan(taken);
    // Before anything else about this line, so that the verdict does not depend on how the bytes were cut.
    if (taken_bytes_ > limit_bytes_) return fail("its header is larger than the limit");
    if (end == std::string_view::npos) {
      line_ += text;
    } else if (line_.empty()) {
      end_line(text.substr(0, end));
    } else {
      line_ += text.substr(0, end);
      end_line(line_);
      line_.clear();
    }
  }
  return step_;
}

AnswerHead::Step AnswerHead::end_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) return end_block();
  if (has_control_character(line)) return fail("its header holds a control character");
  const bool is_first = std::exchange(is_first_line_, false);
  if (is_blank(line.front())) return fold(line);
  if (is_first && line.starts_with("HTTP/1.")) {
    const std::size_t blank = line.find(' ');
    return set_status(blank == std::string_view::npos ? std::string_view{} : line.substr(blank));
  }
  return add_field(line);
}

AnswerHead::Step AnswerHead::add_field(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return fail("its header holds a line without a colon");
  const std::string_view name = line.substr(0, colon);
  if (!is_token(name)) return fail("its header holds an invalid name");
  const std::string_view value = trim(line.substr(colon + 1));
  if (equal_in_any_case(name, "status")) return set_status(value);
  if (fields_.empty()) {
    text_.reserve(512);
    fields_.reserve(8);
  }
  Place place{.name_at = static_cast<std::uint32_t>(text_.size()),
              .name_bytes = static_cast<std::uint32_t>(name.size())};
  text_ += name;
  place.value_at = static_cast<std::uint32_t>(text_.size());
  place.value_bytes = static_cast<std::uint32_t>(value.size());
  text_ += value;
  fields_.push_back(place);
  last_was_status_ = false;
  return step_;
}

// The last field's value lies at the end of text_, so it can grow there.
AnswerHead::Step AnswerHead::fold(std::string_view line) {
  if (last_was_status_ || fields_.empty()) return fail("its header begins with a folded line");
  const std::string_view more = trim(line);
  if (more.empty()) return step_;
  Place& place = fields_.back();
  if (place.value_bytes > 0) text_ += ' ';
  text_ += more;
  place.value_bytes = static_cast<std::uint32_t>(text_.size() - place.value_at);
  return step_;
}

AnswerHead::Step AnswerHead::set_status(std::string_view text) {
  text = trim(text);
  const bool is_number = text.size() >= 3 && is_digit(text[0]) && is_digit(text[1]) && is_digit(text[2]) &&
                         (text.size() == 3 || is_blank(text[3]));
  const int status = is_number ? (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0') : 0;
  if (status < 100 || status > 599) return fail("its status is no number from 100 to 599");
  if (has_status_ && status != status_) return fail("its header holds two different statuses");
  status_ = status;
  reason_ = trim(text.substr(3));
  has_status_ = last_was_status_ = true;
  return step_;
}

AnswerHead::Step AnswerHead::end_block() {
  if (fields_.empty() && !has_status_) return fail("its header is empty");
  if (status_ == 101) return fail("its status is 101, and nobody asked for an upgrade");
  if (status_ < 200) {
    text_.clear();
    fields_.clear();
    reason_.clear();
    status_ = 200;
    has_status_ = last_was_status_ = false;
    is_first_line_ = true;
    return step_;
  }
  drop_connection_fields();
  if (read_content_length() == Step::broken) return step_;
  return step_ = Step::complete;
}

void AnswerHead::drop_connection_fields() {
  std::string named;
  bool has_any = false;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field each = field(i);
    if (!is_connection_field(each.name)) continue;
    has_any = true;
    if (equal_in_any_case(each.name, "connection")) named.append(each.value).append(",");
  }
  if (!has_any) return;
  std::erase_if(fields_, [&](const Place& place) {
    const std::string_view name = std::string_view(text_).substr(place.name_at, place.name_bytes);
    return is_connection_field(name) || lists(named, name);
  });
}

AnswerHead::Step AnswerHead::read_content_length() {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field each = field(i);
    if (!equal_in_any_case(each.name, "content-length")) continue;
    const bool is_number =
        !each.value.empty() && each.value.size() <= 18 && std::all_of(each.value.begin(), each.value.end(), is_digit);
    if (!is_number) return fail("its Content-Length is no number");
    std::uint64_t length = 0;
    for (const char c : each.value) length = length * 10 + static_cast<std::uint64_t>(c - '0');
    if (content_length_ && *content_length_ != length) return fail("its Content-Lengths differ");
    content_length_ = length;
  }
  return step_;
}

AnswerHead::Field AnswerHead::field(std::size_t index) const {
  const Place& place = fields_[index];
  const std::string_view text = text_;
  return {text.substr(place.name_at, place.name_bytes), text.substr(place.value_at, place.value_bytes)};
}

std::string_view AnswerHead::find(std::string_view name) const {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (equal_in_any_case(field(i).name, name)) return field(i).value;
  }
  return {};
}

}  // namespace cppfcgi
