// mod_cppfcgi/core/sip_hash.h against the vectors of its inventors: key 00 01 … 0f, texts 00, 00 01, 00 01 02, …
#include "mod_cppfcgi/core/sip_hash.h"

#include <gtest/gtest.h>

#include <string>

namespace cppfcgi {
namespace {

constexpr std::uint64_t key_low = 0x0706050403020100;
constexpr std::uint64_t key_high = 0x0f0e0d0c0b0a0908;

std::string counted(std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += static_cast<char>(text.size());
  return text;
}

std::uint64_t hash(const std::string& text) {
  SipHash hash(key_low, key_high);
  hash.add(text);
  return hash.finish();
}

TEST(SipHash, GivesTheValuesOfItsInventors) {
  EXPECT_EQ(hash(counted(0)), 0x726fdb47dd0e0e31U);
  EXPECT_EQ(hash(counted(1)), 0x74f839c593dc67fdU);
  EXPECT_EQ(hash(counted(8)), 0x93f5f5799a932462U);
  EXPECT_EQ(hash(counted(15)), 0xa129ca6149be45e5U);
}

TEST(SipHash, TakesATextInAnyPieces) {
  const std::string text = counted(40);
  for (std::size_t first = 0; first <= text.size(); ++first) {
    for (std::size_t second = first; second <= text.size(); ++second) {
      SipHash pieces(key_low, key_high);
      pieces.add(text.substr(0, first));
      pieces.add(text.substr(first, second - first));
      pieces.add(text.substr(second));
      ASSERT_EQ(pieces.finish(), hash(text)) << first << ' ' << second;
    }
  }
}

TEST(SipHash, DependsOnItsKey) {
  SipHash other(key_low + 1, key_high);
  EXPECT_NE(other.finish(), hash(""));
}

}  // namespace
}  // namespace cppfcgi
