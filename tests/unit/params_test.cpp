// The rules of shared/params.h.
#include "shared/params.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/support/grind.h"

namespace cppfcgi {
namespace {

using test::grind;
using test::Pieces;
using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Block {
  Pairs pairs;
  bool is_malformed = false;
  friend bool operator==(const Block&, const Block&) = default;
};

void PrintTo(const Block& block, std::ostream* out) {
  *out << block.pairs.size() << " pairs" << (block.is_malformed ? ", malformed" : "");
}

Block decode(std::string_view text) {
  Block block;
  PairCursor cursor(text);
  while (const auto pair = cursor.next()) block.pairs.emplace_back(pair->name, pair->value);
  block.is_malformed = cursor.is_malformed();
  return block;
}

std::string encode_pairs(const Pairs& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) append_pair(out, {name, value});
  return out;
}

// The content of the stream's records, gathered up to its end; how many records carried it; what came behind.
struct Stream {
  std::string content;
  std::vector<std::size_t> records;
  bool has_ended = false;
  friend bool operator==(const Stream&, const Stream&) = default;
};

void PrintTo(const Stream& stream, std::ostream* out) {
  *out << stream.content.size() << " bytes in records of " << testing::PrintToString(stream.records)
       << (stream.has_ended ? ", ended" : "");
}

Stream read(const Pieces& pieces) {
  Stream stream;
  RecordReader reader;
  for (const std::string_view piece : pieces) {
    Bytes bytes = as_bytes(piece);
    for (RecordReader::Step step; (step = reader.next(bytes)).kind == RecordReader::Kind::fragment;) {
      EXPECT_TRUE(step.header.is(RecordType::params));
      stream.content += as_text(step.content);
      if (!step.is_last) continue;
      if (step.header.content_length == 0) {
        stream.has_ended = true;
      } else {
        stream.records.push_back(step.header.content_length);
      }
    }
  }
  return stream;
}

Stream written(const Pairs& pairs) {
  std::string out;
  ParamsWriter writer(out, 1);
  for (const auto& [name, value] : pairs) writer.add(name, value);
  writer.finish();
  return read({out});
}

TEST(Params, ShortLengthsTakeOneByteAndLongOnesFour) {
  EXPECT_EQ(encode_pairs({{"a", "bc"}}), std::string("\x01\x02"
                                                     "abc"));
  const std::string name(127, 'n'), value(128, 'v');
  EXPECT_EQ(encode_pairs({{name, value}}), std::string("\x7f\x80\x00\x00\x80", 5) + name + value);
}

TEST(Params, EveryPairComesBack) {
  for (const std::size_t name_bytes : {0, 1, 127, 128, 70'000}) {
    for (const std::size_t value_bytes : {0, 1, 127, 128, 255, 256, 65'535, 1'048'576}) {
      const Pairs pairs{{std::string(name_bytes, 'n'), std::string(value_bytes, 'v')}, {"after", ""}};
      EXPECT_EQ(decode(encode_pairs(pairs)), (Block{pairs})) << name_bytes << " and " << value_bytes;
      EXPECT_EQ(encoded_bytes({pairs[0].first, pairs[0].second}) + encoded_bytes({"after", ""}),
                encode_pairs(pairs).size());
    }
  }
}

TEST(Params, NamesAndValuesAreBytes) {
  const Pairs pairs{{std::string("a\0b", 3), std::string("\xff\x80\r\n", 4)}};
  EXPECT_EQ(decode(encode_pairs(pairs)), (Block{pairs}));
}

TEST(Params, ABlockThatBreaksOffIsMalformedWhereverItDoes) {
  for (const Pairs& pairs : {Pairs{{"name", "value"}}, Pairs{{std::string(200, 'n'), std::string(300, 'v')}}}) {
    const std::string block = encode_pairs(pairs);
    EXPECT_FALSE(decode("").is_malformed);
    for (std::size_t size = 1; size < block.size(); ++size) {
      EXPECT_EQ(decode(block.substr(0, size)), (Block{{}, true})) << size;
    }
  }
}

TEST(Params, LengthsBeyondTheBlockAreMalformedAndDoNotOverflow) {
  EXPECT_TRUE(decode(std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8)).is_malformed);
  EXPECT_TRUE(decode(std::string("\x00\xff\xff\xff\xff", 5)).is_malformed);
  EXPECT_TRUE(decode(std::string("\xff\xff\xff\xff\x00", 5)).is_malformed);
}

TEST(ParamsWriter, NoPairsAreTheEmptyRecordAlone) { EXPECT_EQ(written({}), (Stream{"", {}, true})); }

TEST(ParamsWriter, SmallPairsShareARecord) {
  const Pairs pairs{{"a", "1"}, {"b", "2"}};
  EXPECT_EQ(written(pairs), (Stream{encode_pairs(pairs), {8}, true}));
}

TEST(ParamsWriter, APairIsNotSplitWhereItFitsARecord) {
  const Pairs pairs{{"first", std::string(40'000, 'x')}, {"second", std::string(40'000, 'y')}, {"c", "d"}};
  const Stream stream = written(pairs);
  EXPECT_EQ(decode(stream.content), (Block{pairs}));
  EXPECT_EQ(stream.records, (std::vector<std::size_t>{40'010, 40'011 + 4}));
}

TEST(ParamsWriter, APairThatExceedsARecordIsSplit) {
  for (const std::size_t size : {65'530, 65'531, 70'000, 200'000, 1'048'576}) {
    const Pairs pairs{{"before", "1"}, {"long", std::string(size, 'x')}, {"after", "2"}};
    const Stream stream = written(pairs);
    EXPECT_TRUE(stream.has_ended);
    EXPECT_EQ(decode(stream.content), (Block{pairs})) << size;
  }
}

TEST(ParamsWriter, TheLargestPairOfOneRecordFillsIt) {
  const std::size_t value_bytes = max_content_bytes - 5 - 1;
  EXPECT_EQ(written({{"n", std::string(value_bytes, 'x')}}).records, (std::vector<std::size_t>{65'535}));
  EXPECT_EQ(written({{"n", std::string(value_bytes + 1, 'x')}}).records, (std::vector<std::size_t>{65'535, 1}));
}

TEST(ParamsWriter, PairsEncodedBeforeStayTogether) {
  const std::string encoded = encode_pairs({{"x", std::string(30'000, '1')}, {"y", "2"}});
  std::string out;
  ParamsWriter writer(out, 1);
  writer.add("a", std::string(40'000, 'a'));
  writer.add_encoded(encoded);
  writer.add_encoded("");
  writer.finish();
  const Stream stream = read({out});
  EXPECT_EQ(stream.records, (std::vector<std::size_t>{40'006, encoded.size()}));
  EXPECT_EQ(decode(stream.content).pairs.size(), 3u);
}

TEST(ParamsWriter, TheStreamReadsTheSameHoweverItIsCut) {
  std::string out;
  ParamsWriter writer(out, 1);
  const Pairs pairs{{"a", std::string(300, 'x')}, {"b", std::string(66'000, 'y')}, {"c", ""}};
  for (const auto& [name, value] : pairs) writer.add(name, value);
  writer.finish();
  grind(out, read, read({out}));
  EXPECT_EQ(decode(read({out}).content), (Block{pairs}));
}

}  // namespace
}  // namespace cppfcgi
