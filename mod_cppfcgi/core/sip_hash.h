// SipHash-2-4 (Aumasson and Bernstein, 2012): a short hash with a key, so that nobody who does not know the key can
// make two texts that look the same. Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace cppfcgi {

class SipHash {
 public:
  SipHash(std::uint64_t key_low, std::uint64_t key_high);

  // Piece by piece: where one ends makes no difference.
  void add(std::string_view bytes);
  std::uint64_t finish();

 private:
  void take(std::uint64_t word);
  void round();

  std::uint64_t state_[4];
  std::uint64_t word_ = 0;   // that is not full yet
  std::uint64_t bytes_ = 0;  // so far
};

}  // namespace cppfcgi
