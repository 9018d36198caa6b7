// The values that options take: each function reads one, or says what is wrong and what is accepted. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "shared/result.h"

namespace cppfcgi {

bool equal_ignoring_case(std::string_view a, std::string_view b);

// JSON and the log carry UTF-8 only; a directive's word that is not is refused.
bool is_utf8(std::string_view text);

std::optional<std::uint64_t> parse_digits(std::string_view text);
Result<std::uint32_t> parse_count(std::string_view text, std::uint32_t low, std::uint32_t high);

// "5", "500ms", "2s", "5min", "1h"; at most 24 h.
Result<std::chrono::milliseconds> parse_time(std::string_view text, std::chrono::milliseconds low);
// 0, too, which says none; `low`: where a shorter time would be of no use.
Result<std::chrono::milliseconds> parse_time_or_none(std::string_view text, std::chrono::milliseconds low);
std::string time_text(std::chrono::milliseconds time);

// "64M": as in LimitRequestBody's likes; the units are powers of 1024.
Result<std::uint64_t> parse_bytes(std::string_view text, std::uint64_t low);

// A prefix as it is compared with the decoded path of a URL: "/", or without a slash at its end.
Result<std::string> parse_mount(std::string_view text);
Result<std::string> parse_header_name(std::string_view text);

}  // namespace cppfcgi
