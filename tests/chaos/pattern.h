// The bytes that belong to a nonce: lines of 32, each with the nonce and its own place in the whole. So every piece of
// an answer shows whose it is, and where in it. What the chaos suite's worker answers and its client expects.
#pragma once

#include <cstdint>
#include <string>

namespace cppfcgi::test {

inline constexpr std::size_t nonce_digits = 16;

inline void put_hex(char* into, std::uint64_t value, std::size_t digits) {
  constexpr char hex[] = "0123456789abcdef";
  for (std::size_t i = digits; i-- > 0; value >>= 4) into[i] = hex[value & 15];
}

inline std::string nonce_text(std::uint64_t nonce) {
  std::string text(nonce_digits, '0');
  put_hex(text.data(), nonce, nonce_digits);
  return text;
}

// The first so many bytes of what belongs to this nonce.
inline std::string pattern_of(std::uint64_t nonce, std::size_t bytes) {
  constexpr std::size_t line_bytes = 32, place_digits = line_bytes - nonce_digits - 1;
  std::string text((bytes + line_bytes - 1) / line_bytes * line_bytes, '\n');
  const std::string name = nonce_text(nonce);
  for (std::size_t at = 0; at < text.size(); at += line_bytes) {
    name.copy(&text[at], nonce_digits);
    put_hex(&text[at + nonce_digits], at, place_digits);
  }
  text.resize(bytes);
  return text;
}

}  // namespace cppfcgi::test
