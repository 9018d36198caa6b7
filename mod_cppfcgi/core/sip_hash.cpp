#include "mod_cppfcgi/core/sip_hash.h"

#include <bit>
#include <cstring>

namespace cppfcgi {

SipHash::SipHash(std::uint64_t key_low, std::uint64_t key_high)
    : state_{key_low ^ 0x736f6d6570736575, key_high ^ 0x646f72616e646f6d, key_low ^ 0x6c7967656e657261,
             key_high ^ 0x7465646279746573} {}

void SipHash::round() {
  auto& [a, b, c, d] = state_;
  a += b;
  c += d;
  b = std::rotl(b, 13) ^ a;
  d = std::rotl(d, 16) ^ c;
  a = std::rotl(a, 32);
  c += b;
  a += d;
  b = std::rotl(b, 17) ^ c;
  d = std::rotl(d, 21) ^ a;
  c = std::rotl(c, 32);
}

void SipHash::take(std::uint64_t word) {
  state_[3] ^= word;
  round();
  round();
  state_[0] ^= word;
}

void SipHash::add(std::string_view bytes) {
  while (!bytes.empty()) {
    if (bytes_ % 8 == 0 && bytes.size() >= 8) {
      static_assert(std::endian::native == std::endian::little, "words are little-endian");
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data(), sizeof word);
      take(word);
      bytes_ += 8;
      bytes.remove_prefix(8);
      continue;
    }
    word_ |= std::uint64_t{static_cast<unsigned char>(bytes.front())} << bytes_ % 8 * 8;
    bytes.remove_prefix(1);
    if (++bytes_ % 8 != 0) continue;
    take(word_);
    word_ = 0;
  }
}

std::uint64_t SipHash::finish() {
  take(bytes_ << 56 | word_);
  state_[2] ^= 0xff;
  for (int i = 0; i < 4; ++i) round();
  return state_[0] ^ state_[1] ^ state_[2] ^ state_[3];
}

}  // namespace cppfcgi
