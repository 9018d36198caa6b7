// The rules of mod_cppfcgi/core/request_ids.h.
#include "mod_cppfcgi/core/request_ids.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace cppfcgi {
namespace {

std::string text(const std::array<char, RequestIds::bytes>& id) { return {id.data(), id.size()}; }

TEST(RequestIds, NeverRepeats) {
  RequestIds one(1);
  RequestIds other(~std::uint64_t{0});
  std::set<std::string> seen;
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_TRUE(seen.insert(text(one.next())).second);
    EXPECT_TRUE(seen.insert(text(other.next())).second);
  }
}

TEST(RequestIds, KeepsEachBitOfItsNonce) {
  std::set<std::string> seen;
  for (int bit = 0; bit < 64; ++bit) EXPECT_TRUE(seen.insert(text(RequestIds(std::uint64_t{1} << bit).next())).second);
}

TEST(RequestIds, NeedsNoEscapingAnywhere) {
  RequestIds ids(0x123456789abcdef0);
  for (int i = 0; i < 1'000; ++i) {
    EXPECT_TRUE(std::ranges::all_of(ids.next(), [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
    }));
  }
}

}  // namespace
}  // namespace cppfcgi
