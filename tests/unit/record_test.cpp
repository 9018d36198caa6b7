// The rules of shared/record.h.
#include "shared/record.h"

#include <gtest/gtest.h>

#include "tests/support/grind.h"

namespace cppfcgi {
namespace {

using test::grind;
using test::Pieces;
using test::prefixes_say;
using Seen = std::vector<std::string>;

std::string describe(const RecordHeader& header) {
  return std::to_string(header.type) + "/" + std::to_string(header.id) + "/" + std::to_string(header.content_length) +
         "+" + std::to_string(header.padding_length);
}

// Whole records as "type/id/length+padding content", and "violation".
Seen read(const Pieces& pieces) {
  Seen seen;
  RecordReader reader;
  std::string content;
  bool is_open = false;
  for (const std::string_view piece : pieces) {
    Bytes bytes = as_bytes(piece);
    for (;;) {
      const RecordReader::Step step = reader.next(bytes);
      if (step.kind == RecordReader::Kind::need_more) {
        EXPECT_TRUE(bytes.empty());
        break;
      }
      if (step.kind == RecordReader::Kind::violation) {
        seen.push_back("violation");
        return seen;
      }
      EXPECT_EQ(step.is_first, !is_open) << "first fragments begin records";
      if (step.is_first) content.clear();
      content += as_text(step.content);
      is_open = !step.is_last;
      if (step.is_last) seen.push_back(describe(step.header) + " " + content);
    }
  }
  return seen;
}

std::string record(RecordType type, std::uint16_t id, std::string_view content) {
  std::string out;
  append_record(out, type, id, content);
  return out;
}

TEST(Record, HeaderIsEightBytesInNetworkOrder) {
  const RecordHeader header{.type = 5, .id = 0x1234, .content_length = 0xabcd, .padding_length = 3};
  EXPECT_EQ(as_text(encode(header)), std::string_view("\x01\x05\x12\x34\xab\xcd\x03\x00", 8));
  EXPECT_EQ(decode_header(encode(header)), header);
}

TEST(Record, IsPaddedToAMultipleOfEight) {
  for (const std::size_t size : {0, 1, 7, 8, 9, 65'528, 65'535}) {
    EXPECT_EQ(record(RecordType::stdout_stream, 1, std::string(size, 'x')).size() % 8, 0u) << size;
  }
}

TEST(RecordReader, GivesEachRecordOnceHoweverItIsCut) {
  const std::string stream = record(RecordType::begin_request, 1, "12345678") + record(RecordType::params, 1, "") +
                             record(RecordType::stdin_stream, 0xffff, "abc");
  grind(stream, read, Seen{"1/1/8+0 12345678", "4/1/0+0 ", "5/65535/3+5 abc"});
}

TEST(RecordReader, ReadsTheLongestRecord) {
  const std::string content(max_content_bytes, 'c');
  grind(record(RecordType::stdin_stream, 2, content), read, Seen{"5/2/65535+1 " + content});
}

TEST(RecordReader, ReadsTheMostPadding) {
  std::string stream(as_text(encode({.type = 6, .id = 9, .content_length = 2, .padding_length = 255})));
  stream += "ok" + std::string(255, 'p') + record(RecordType::stdout_stream, 9, "");
  grind(stream, read, Seen{"6/9/2+255 ok", "6/9/0+0 "});
}

TEST(RecordReader, PaddingOfAnEmptyRecordIsNoContent) {
  std::string stream(as_text(encode({.type = 9, .id = 0, .content_length = 0, .padding_length = 8})));
  stream += std::string(8, '\x01');
  grind(stream, read, Seen{"9/0/0+8 "});
}

TEST(RecordReader, SaysNothingOfARecordThatIsNotWhole) {
  std::string whole(as_text(encode({.type = 6, .id = 1, .content_length = 5, .padding_length = 0})));
  whole += "hello";
  prefixes_say(whole, read, Seen{});
}

// A body may look like records; it is content all the same.
TEST(RecordReader, ForgedRecordsInsideContentStayContent) {
  for (const std::size_t size : {65'536, 99'000}) {
    std::string body(size, 'b');
    const std::string forged = record(RecordType::end_request, 1, "12345678");
    for (const std::size_t at : {std::size_t{0}, size / 2, size - 65'536, size - forged.size()}) {
      body.replace(at, forged.size(), forged);
    }
    std::string stream, content;
    append_stream(stream, RecordType::stdin_stream, 1, body);
    RecordReader reader;
    Bytes bytes = as_bytes(stream);
    for (RecordReader::Step step; (step = reader.next(bytes)).kind == RecordReader::Kind::fragment;) {
      EXPECT_TRUE(step.header.is(RecordType::stdin_stream));
      content += as_text(step.content);
    }
    EXPECT_TRUE(content == body) << size;
    EXPECT_TRUE(reader.is_between_records());
  }
}

TEST(RecordReader, RefusesAnotherVersionHoweverItIsCut) {
  std::string stream = record(RecordType::params, 1, "x");
  stream += std::string(as_text(encode({.version = 2, .type = 4, .id = 1})));
  grind(stream, read, Seen{"4/1/1+7 x", "violation"}, record(RecordType::params, 1, "later"));
}

TEST(RecordReader, StaysRefused) {
  RecordReader reader;
  std::string bad(as_text(encode({.version = 0})));
  Bytes bytes = as_bytes(bad);
  EXPECT_EQ(reader.next(bytes).kind, RecordReader::Kind::violation);
  std::string good = record(RecordType::params, 1, "x");
  bytes = as_bytes(good);
  EXPECT_EQ(reader.next(bytes).kind, RecordReader::Kind::violation);
}

TEST(RecordReader, KnowsWhenItIsBetweenRecords) {
  const std::string one = record(RecordType::stdin_stream, 1, "abc");
  for (std::size_t size = 0; size <= one.size(); ++size) {
    RecordReader reader;
    Bytes bytes = as_bytes(std::string_view(one).substr(0, size));
    while (reader.next(bytes).kind == RecordReader::Kind::fragment) {
    }
    EXPECT_EQ(reader.is_between_records(), size == 0 || size == one.size()) << size;
  }
}

TEST(Record, StreamIsSplitAtTheLargestRecordAndNothingIsNoRecord) {
  std::string out;
  append_stream(out, RecordType::stdin_stream, 1, "");
  EXPECT_EQ(out, "");
  append_stream(out, RecordType::stdin_stream, 1, std::string(65'536, 'x'));
  EXPECT_EQ(read({out}), (Seen{"5/1/65535+1 " + std::string(65'535, 'x'), "5/1/1+7 x"}));
}

TEST(Record, BeginRequestComesBack) {
  std::string out;
  append_begin_request(out, 7, Role::filter, keep_conn_flag);
  EXPECT_EQ(out.size(), 16u);
  const auto body = decode_begin_request(std::string_view(out).substr(8));
  ASSERT_TRUE(body);
  EXPECT_EQ(body->role, 3);
  EXPECT_EQ(body->flags, 1);
}

TEST(Record, EndRequestComesBack) {
  std::string out;
  append_end_request(out, 7, 0xdeadbeef, ProtocolStatus::overloaded);
  const auto body = decode_end_request(std::string_view(out).substr(8));
  ASSERT_TRUE(body);
  EXPECT_EQ(body->app_status, 0xdeadbeef);
  EXPECT_EQ(body->protocol_status, 2);
}

TEST(Record, BodiesOfAnotherSizeAreRefused) {
  for (const std::size_t size : {0, 7, 9}) {
    EXPECT_FALSE(decode_begin_request(std::string(size, '\0'))) << size;
    EXPECT_FALSE(decode_end_request(std::string(size, '\0'))) << size;
  }
}

}  // namespace
}  // namespace cppfcgi
