#include "mod_cppfcgi/manager/capacity.h"

#include <gtest/gtest.h>

#include "shared/params.h"

namespace cppfcgi {
namespace {

std::string answer(const std::vector<Pair>& pairs) {
  std::string content;
  for (const Pair& pair : pairs) append_pair(content, pair);
  std::string record;
  append_record(record, RecordType::get_values_result, 0, content);
  return record;
}

// Whole and in any two pieces alike.
std::optional<Offer> read(const std::string& bytes) {
  const auto whole = CapacityAnswer().feed(as_bytes(bytes));
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    CapacityAnswer reader;
    auto offer = reader.feed(as_bytes(bytes).first(cut));
    if (!offer) offer = reader.feed(as_bytes(bytes).subspan(cut));
    EXPECT_EQ(offer, whole) << "cut at " << cut;
  }
  return whole;
}

TEST(Capacity, IsAskedForWithPaddingSinceLibfcgiNeverAnswersWithout) {
  const std::string question = capacity_question();
  const RecordHeader header = decode_header(as_bytes(question).first<header_bytes>());
  EXPECT_TRUE(header.is(RecordType::get_values));
  EXPECT_EQ(header.id, 0);
  EXPECT_GE(header.padding_length, 1);
  EXPECT_EQ(question.size(), header_bytes + header.content_length + header.padding_length);
  EXPECT_EQ(question.size() % 8, 0u);
}

TEST(Capacity, IsWhatTheWorkerAnswers) {
  EXPECT_EQ(read(answer({{"FCGI_MAX_CONNS", "100"}, {"FCGI_MAX_REQS", "8"}, {"FCGI_MPXS_CONNS", "1"}})),
            (Offer{.capacity = 8, .connections = 100, .is_multiplexed = true}));
}

TEST(Capacity, IsOneWhereTheAnswerSaysNothingOfUse) {
  EXPECT_EQ(read(answer({})), Offer{});
  EXPECT_EQ(read(answer({{"FCGI_MAX_REQS", "many"}, {"FCGI_MAX_CONNS", "-3"}, {"FCGI_MPXS_CONNS", "0"}})), Offer{});
  EXPECT_EQ(read(answer({{"FCGI_MAX_REQS", "0"}})), Offer{});
}

TEST(Capacity, IsBounded) {
  EXPECT_EQ(read(answer({{"FCGI_MAX_REQS", "99999999999999999999"}, {"FCGI_MAX_CONNS", "1000"}})),
            (Offer{.capacity = max_capacity, .connections = 255}));
}

TEST(Capacity, IsOneWhereTheWorkerDoesNotKnowTheQuestion) {
  std::string unknown;
  append_unknown_type(unknown, 9);
  EXPECT_EQ(CapacityAnswer().feed(as_bytes(unknown)), Offer{});
  EXPECT_EQ(CapacityAnswer().feed(as_bytes("HTTP/1.1 400 Bad Request\r\n")), Offer{});
}

TEST(Capacity, IsUnknownUntilTheAnswerIsWhole) {
  const std::string bytes = answer({{"FCGI_MAX_REQS", "8"}});
  CapacityAnswer reader;
  EXPECT_EQ(reader.feed(as_bytes(bytes).first(header_bytes + 3)), std::nullopt);
}

}  // namespace
}  // namespace cppfcgi
