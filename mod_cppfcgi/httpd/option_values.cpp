#include "mod_cppfcgi/httpd/option_values.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace cppfcgi {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds longest_time = std::chrono::hours(24);

}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

bool is_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned first = byte(i);
    const std::size_t length = first < 0x80                    ? 1
                               : first >= 0xc2 && first < 0xe0 ? 2
                               : first >= 0xe0 && first < 0xf0 ? 3
                               : first >= 0xf0 && first < 0xf5 ? 4
                                                               : 0;
    if (length == 0) return false;
    for (std::size_t k = 1; k < length; ++k)
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    const unsigned second = byte(i + 1);
    const bool is_overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    const bool is_outside =
        (first == 0xed && second >= 0xa0) || (first == 0xf4 && second >= 0x90);  // surrogates; above U+10FFFF
    if (is_overlong || is_outside) return false;
    i += length;
  }
  return true;
}

std::optional<std::uint64_t> parse_digits(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

Result<std::uint32_t> parse_count(std::string_view text, std::uint32_t low, std::uint32_t high) {
  const std::string accepted = "accepted: " + std::to_string(low) + " to " + std::to_string(high);
  const auto value = parse_digits(text);
  if (!value) return Error{0, "not a whole number; " + accepted};
  if (*value < low || *value > high) return Error{0, "out of range; " + accepted};
  return static_cast<std::uint32_t>(*value);
}

std::string time_text(milliseconds time) {
  if (time.count() % 3'600'000 == 0 && time.count() > 0) return std::to_string(time.count() / 3'600'000) + "h";
  return time.count() % 1000 == 0 ? std::to_string(time.count() / 1000) : std::to_string(time.count()) + "ms";
}

Result<milliseconds> parse_time(std::string_view text, milliseconds low) {
  struct Unit {
    std::string_view name;
    std::uint64_t milliseconds;
  };
  constexpr std::array<Unit, 5> units = {{{"", 1'000}, {"ms", 1}, {"s", 1'000}, {"min", 60'000}, {"h", 3'600'000}}};
  const std::string accepted = "accepted: seconds, or a whole number with ms, s, min or h, from " + time_text(low) +
                               " to " + time_text(longest_time);
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_digits(text.substr(0, digits));
  const auto unit = std::find_if(units.begin(), units.end(),
                                 [&](const Unit& u) { return equal_ignoring_case(u.name, text.substr(digits)); });
  if (!number || unit == units.end()) return Error{0, "not a time; " + accepted};
  const std::uint64_t longest = static_cast<std::uint64_t>(longest_time.count());
  if (*number > longest / unit->milliseconds) return Error{0, "out of range; " + accepted};
  const milliseconds time(*number * unit->milliseconds);
  if (time < low) return Error{0, "out of range; " + accepted};
  return time;
}

Result<std::string> parse_mount(std::string_view text) {
  const std::string accepted = "accepted: / or a path like /app, decoded";
  const auto wrong = [&](const char* what) { return Error{0, std::string(what) + "; " + accepted}; };
  if (!text.starts_with('/')) return wrong("does not begin with a slash");
  if (text.find("//") != text.npos) return wrong("has an empty segment");
  if (text.find_first_of("?#%") != text.npos) return wrong("has one of the characters ? # %");
  if (std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }))
    return wrong("has a control character");
  if (text.size() > 1 && text.ends_with('/')) text.remove_suffix(1);
  const std::string segments = std::string(text) + '/';
  if (segments.find("/./") != segments.npos || segments.find("/../") != segments.npos)
    return wrong("has a segment . or ..");
  return std::string(text);
}

Result<std::string> parse_header_name(std::string_view text) {
  const auto is_token = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  };
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_token))
    return Error{0, "not the name of a header; accepted: a name like Authorization, without the colon"};
  if (equal_ignoring_case(text, "Proxy"))
    return Error{0,
                 "never passed, since programs would take it for the variable HTTP_PROXY; accepted: any other header"};
  return std::string(text);
}

Result<milliseconds> parse_time_or_none(std::string_view text, milliseconds low) {
  auto time = parse_time(text, milliseconds(0));
  if (!time || time->count() == 0) return time;
  return parse_time(text, low);
}

Result<std::uint64_t> parse_bytes(std::string_view text, std::uint64_t low) {
  struct Unit {
    std::string_view name;
    unsigned shift;
  };
  constexpr std::array<Unit, 4> units = {{{"", 0}, {"K", 10}, {"M", 20}, {"G", 30}}};
  constexpr std::uint64_t most = std::uint64_t{1} << 50;
  const std::string accepted = "accepted: bytes, or a whole number with K, M or G, from " +
                               (low == 0 ? "0" : std::to_string(low >> 20) + "M") + " on";
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_digits(text.substr(0, digits));
  const auto unit = std::find_if(units.begin(), units.end(),
                                 [&](const Unit& u) { return equal_ignoring_case(u.name, text.substr(digits)); });
  if (!number || unit == units.end()) return Error{0, "not a size; " + accepted};
  if (*number > most >> unit->shift || *number << unit->shift < low) return Error{0, "out of range; " + accepted};
  return *number << unit->shift;
}

}  // namespace cppfcgi
