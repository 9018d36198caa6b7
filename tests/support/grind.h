// grind(): runs a parser over one input however the input may be cut, and asks for the same result each time: whole,
// byte by byte, cut at each position, and with bytes of a next message behind it. prefixes_say() does it for what must
// say nothing. The parser is a function from pieces to what was observed; pieces lie in memory of exactly their size,
// so that the address sanitizer sees a read beyond them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cppfcgi::test {

using Pieces = std::vector<std::string_view>;

// Memory of its own for each piece.
class OwnPieces {
 public:
  explicit OwnPieces(const Pieces& pieces) {
    for (const std::string_view piece : pieces) {
      memory_.push_back(std::make_unique<char[]>(std::max<std::size_t>(piece.size(), 1)));
      std::ranges::copy(piece, memory_.back().get());
      pieces_.emplace_back(memory_.back().get(), piece.size());
    }
  }
  const Pieces& pieces() const { return pieces_; }

 private:
  std::vector<std::unique_ptr<char[]>> memory_;
  Pieces pieces_;
};

// Every position of a short input, some hundred of a long one: around its ends and evenly between.
inline std::vector<std::size_t> cut_positions(std::size_t size) {
  std::vector<std::size_t> positions;
  const std::size_t step = std::max<std::size_t>(1, size / 200);
  for (std::size_t at = 0; at <= size; ++at) {
    if (at < 64 || at + 64 > size || at % step == 0) positions.push_back(at);
  }
  return positions;
}

template <class Parse, class Expected>
void grind(std::string_view input, const Parse& parse, const Expected& expected,
           std::string_view next_message = "\x01") {
  const auto run = [&](const Pieces& pieces) { return parse(OwnPieces(pieces).pieces()); };
  EXPECT_EQ(run({input}), expected) << "whole";
  Pieces bytes;
  for (std::size_t i = 0; i < input.size(); ++i) bytes.push_back(input.substr(i, 1));
  EXPECT_EQ(run(bytes), expected) << "byte by byte";
  for (const std::size_t at : cut_positions(input.size())) {
    const auto observed = run({input.substr(0, at), input.substr(at)});
    EXPECT_EQ(observed, expected) << "cut at " << at;
    if (observed != expected) return;
  }
  const std::string followed = std::string(input).append(next_message);
  EXPECT_EQ(run({followed}), expected) << "with the next message's first bytes behind it";
}

// Every prefix of `input`, the longest but for the whole included, is observed as `expected`.
template <class Parse, class Expected>
void prefixes_say(std::string_view input, const Parse& parse, const Expected& expected) {
  for (const std::size_t at : cut_positions(input.size() - 1)) {
    const auto observed = parse(OwnPieces({input.substr(0, at)}).pieces());
    EXPECT_EQ(observed, expected) << "the first " << at << " of " << input.size() << " bytes";
    if (observed != expected) return;
  }
}

}  // namespace cppfcgi::test
