#include "mod_cppfcgi/core/request_ids.h"

#include <string_view>

namespace cppfcgi {
namespace {

constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::size_t nonce_bytes = 11;

void write(char* first, char* last, std::uint64_t value) {
  while (last != first) {
    *--last = digits[value % digits.size()];
    value /= digits.size();
  }
}

}  // namespace

std::array<char, RequestIds::bytes> RequestIds::next() {
  std::array<char, bytes> id;
  char* const middle = id.data() + nonce_bytes;
  write(id.data(), middle, nonce_);
  write(middle, id.data() + bytes, number_.fetch_add(1, std::memory_order_relaxed));
  return id;
}

}  // namespace cppfcgi
