#include <gtest/gtest.h>

#include "mod_cppfcgi/manager/lines.h"

namespace cppfcgi {
namespace {

using Texts = std::vector<std::string>;

Texts lines_of(const Texts& pieces, std::size_t longest = 8) {
  Lines lines(longest);
  Texts all;
  const Lines::Sink sink = [&all](std::string_view line) { all.emplace_back(line); };
  for (const std::string& piece : pieces) lines.feed(piece, sink);
  lines.finish(sink);
  return all;
}

TEST(Lines, AreCutAtTheirEndsHoweverTheyArrive) {
  const std::string text = "one\ntwo\r\n\nthree";
  const Texts expected = {"one", "two", "", "three"};
  EXPECT_EQ(lines_of({text}), expected);
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(lines_of({text.substr(0, cut), text.substr(cut)}), expected) << cut;
  }
}

TEST(Lines, AreCutInPiecesWhereTheyAreLong) {
  EXPECT_EQ(lines_of({"12345678\n"}), Texts{"12345678"});
  EXPECT_EQ(lines_of({"123456789\n"}), (Texts{"12345678", "9"}));
  EXPECT_EQ(lines_of({"12345678", "9\n"}), (Texts{"12345678", "9"}));
  EXPECT_EQ(lines_of({std::string(20, 'x')}), (Texts{"xxxxxxxx", "xxxxxxxx", "xxxx"}));
}

TEST(Lines, EndWithNothingWhereTheLastOneIsWhole) { EXPECT_EQ(lines_of({"a\n"}), Texts{"a"}); }

TEST(Lines, EscapeWhatCouldForgeALogLine) {
  EXPECT_EQ(escaped("a\tb\x1b[31m\x7f\r\n é \\"), "a\\tb\\x1b[31m\\x7f\\r\\n é \\");
  EXPECT_EQ(escaped(std::string_view("\0", 1)), "\\x00");
}

}  // namespace
}  // namespace cppfcgi
