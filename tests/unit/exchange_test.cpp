// The rules of mod_cppfcgi/core/exchange.h.
#include "mod_cppfcgi/core/exchange.h"

#include <gtest/gtest.h>

#include "tests/support/grind.h"

namespace cppfcgi {
namespace {

using test::grind;
using test::Pieces;
using test::prefixes_say;

constexpr std::uint16_t id = Exchange::request_id;

// ---- what a worker sends ----

std::string record(RecordType type, std::string_view content, std::uint16_t of = id) {
  std::string out;
  append_record(out, type, of, content);
  return out;
}
std::string output(std::string_view content) { return record(RecordType::stdout_stream, content); }
std::string error_text(std::string_view content) { return record(RecordType::stderr_stream, content); }
std::string end(std::uint32_t app_status = 0, ProtocolStatus status = ProtocolStatus::request_complete) {
  std::string out;
  append_end_request(out, id, app_status, status);
  return out;
}
std::string simple_answer() { return output("A: b\n\nbody") + output("") + end(); }

// ---- what the exchange makes of it ----

// Neighbouring pieces of body count as one, as they do for the client.
struct Parse {
  Exchange::Rules rules{};
  bool is_sent = true;
  bool with_reuse = true;

  std::string operator()(const Pieces& pieces) const {
    Exchange exchange(rules);
    if (is_sent) exchange.request_sent();
    std::string seen;
    std::string kind_before;
    const auto note = [&](const std::string& kind, std::string_view text) {
      if (kind != kind_before) seen += (seen.empty() ? "" : " ") + kind + ":";
      seen += text;
      kind_before = kind;
    };
    for (const std::string_view piece : pieces) {
      Bytes bytes = as_bytes(piece);
      for (bool goes_on = true; goes_on;) {
        const Exchange::Event event = exchange.next(bytes);
        switch (event.kind) {
          case Exchange::Kind::need_more:
            EXPECT_TRUE(bytes.empty());
            goes_on = false;
            break;
          case Exchange::Kind::head:
            note("head", std::to_string(exchange.head().status()));
            break;
          case Exchange::Kind::body:
            note("body", as_text(event.bytes));
            break;
          case Exchange::Kind::error_text:
            note("stderr", as_text(event.bytes));
            break;
          case Exchange::Kind::ended:
            note("ended", std::to_string(event.end.app_status) + "," + std::to_string(event.end.protocol_status));
            break;
          case Exchange::Kind::violation:
            note("violation", "");
            return seen + event.why;
        }
      }
    }
    if (exchange.has_excess()) seen += " excess";
    if (with_reuse && exchange.has_ended()) seen += exchange.is_reusable() ? " reusable" : " spent";
    return seen;
  }
};

// With a next message behind it nothing else changes but that the connection is spent; grind() is told not to ask.
void expect_seen(const std::string& input, const std::string& said, const Exchange::Rules& rules = {}) {
  grind(input, Parse{.rules = rules, .with_reuse = false}, said);
}
void expect_violation(const std::string& input, const std::string& said) { expect_seen(input, "violation:" + said); }

TEST(Exchange, TakesAnAnswerApart) {
  expect_seen(simple_answer(), "head:200 body:body ended:0,0");
  EXPECT_EQ(Parse()({simple_answer()}), "head:200 body:body ended:0,0 reusable");
}

TEST(Exchange, TakesAHeadThatIsSpreadOverRecords) {
  std::string input;
  for (const char c : std::string("Status: 404\r\nA: b\r\n\r\nbo")) input += output({&c, 1});
  expect_seen(input + output("dy") + end(), "head:404 body:body ended:0,0");
}

TEST(Exchange, HandsOnErrorTextWhereverItStands) {
  expect_seen(error_text("x") + output("A: b\n\nbo") + error_text("y") + output("dy") + error_text("") + end(),
              "stderr:x head:200 body:bo stderr:y body:dy ended:0,0");
}

TEST(Exchange, KeepsOnlyWhatStaysInStep) {
  EXPECT_EQ(Parse()({simple_answer()}), "head:200 body:body ended:0,0 reusable");
  EXPECT_EQ(Parse()({simple_answer(), "\x01"}), "head:200 body:body ended:0,0 spent");
  EXPECT_EQ(Parse()({simple_answer() + output("A: b\n\nstray")}), "head:200 body:body ended:0,0 spent");
  EXPECT_EQ(Parse()({simple_answer() + end()}), "head:200 body:body ended:0,0 spent");
  EXPECT_EQ(Parse()({simple_answer() + "garbage!"}), "head:200 body:body ended:0,0 spent");
}

TEST(Exchange, WaitsForThePaddingBehindTheEnd) {
  std::string padded_end = as_text(encode({.type = 3, .id = id, .content_length = 8, .padding_length = 8})).data();
  padded_end = std::string(as_text(encode({.type = 3, .id = id, .content_length = 8, .padding_length = 8})));
  padded_end += std::string(8, '\0');
  const std::string input = output("A: b\n\n") + padded_end;
  EXPECT_EQ(Parse()({input}), "head:200 ended:0,0 spent");
  EXPECT_EQ(Parse()({input + std::string(8, '\0')}), "head:200 ended:0,0 reusable");
  EXPECT_EQ(Parse()({input, std::string(8, '\0')}), "head:200 ended:0,0 reusable");
}

TEST(Exchange, IsSpentByAnEndBeforeTheRequestWasSent) {
  EXPECT_EQ(Parse{.is_sent = false}({simple_answer()}), "head:200 body:body ended:0,0 spent");
}

TEST(Exchange, NeverEndsBeforeEndRequest) {
  const std::string input = output("A: b\n\n") + output("") + end();
  const std::string before_end = input.substr(0, input.size() - end().size());
  EXPECT_EQ(Parse()({before_end}), "head:200");
  for (std::size_t cut = before_end.size(); cut < input.size(); ++cut)
    EXPECT_EQ(Parse()({input.substr(0, cut)}), "head:200");
}

TEST(Exchange, TellsStatusOfTheApplicationAndTheProtocol) {
  expect_seen(output("A: b\n\n") + end(258), "head:200 ended:258,0");
  expect_seen(end(0, ProtocolStatus::overloaded), "ended:0,2");
  expect_seen(output("A: b\n\n") + end(1, ProtocolStatus::unknown_role), "head:200 ended:1,3");
}

TEST(Exchange, RefusesAnAnswerWithoutAHeader) {
  expect_violation(end(), "it is empty");
  expect_violation(output("") + end(), "it is empty");
  expect_seen(error_text("oops") + end(), "stderr:oops violation:it is empty");
  expect_violation(output("A: b\n") + end(), "its header is incomplete");
  expect_violation(output("no header here\n") + end(), "its header holds a line without a colon");
}

TEST(Exchange, RefusesABodyShorterThanItsLength) {
  expect_seen(output("Content-Length: 5\n\nbody") + end(),
              "head:200 body:body violation:its body is shorter than its Content-Length");
  expect_seen(output("Content-Length: 4\n\nbody") + end(), "head:200 body:body ended:0,0");
}

TEST(Exchange, SwallowsABodyLongerThanItsLength) {
  expect_seen(output("Content-Length: 3\n\nbody") + output("more") + end(), "head:200 body:bod ended:0,0 excess");
  expect_seen(output("Content-Length: 0\n\nbody") + error_text("x") + end(), "head:200 stderr:x ended:0,0 excess");
  EXPECT_EQ(Parse()({output("Content-Length: 3\n\nbody") + end()}), "head:200 body:bod ended:0,0 excess spent");
}

TEST(Exchange, ExpectsNoBodyWhereThereIsNone) {
  expect_seen(output("Content-Length: 5\n\n") + end(), "head:200 ended:0,0", {.is_head_request = true});
  expect_seen(output("Status: 304\nContent-Length: 5\n\n") + end(), "head:304 ended:0,0");
  expect_seen(output("Status: 204\nContent-Length: 5\n\n") + end(), "head:204 ended:0,0");
}

TEST(Exchange, RefusesRecordsOfOthers) {
  expect_violation(record(RecordType::stdout_stream, "A: b\n\n", 2), "a record of a request that was never sent");
  expect_violation(record(RecordType::stdout_stream, "A: b\n\n", 0), "a record of request 0 that belongs to a request");
  expect_violation(record(RecordType::params, ""), "a record of a type that workers do not send");
  expect_violation(record(RecordType::stdin_stream, "x"), "a record of a type that workers do not send");
  expect_violation(record(static_cast<RecordType>(77), "x"), "a record of a type that workers do not send");
  std::string other_version = simple_answer();
  other_version[0] = 2;
  expect_violation(other_version, "a record of another protocol version");
}

TEST(Exchange, PassesOverManagementRecords) {
  expect_seen(record(RecordType::get_values_result, "whatever", 0) + output("A: b\n\n") +
                  record(RecordType::unknown_type, "12345678", 0) + end(),
              "head:200 ended:0,0");
}

TEST(Exchange, RefusesAnEndOfAWrongLength) {
  expect_violation(record(RecordType::end_request, ""), "an END_REQUEST of a wrong length");
  expect_violation(record(RecordType::end_request, "1234567"), "an END_REQUEST of a wrong length");
  expect_violation(record(RecordType::end_request, "123456789"), "an END_REQUEST of a wrong length");
}

TEST(Exchange, RefusesOutputAfterItsEnd) {
  expect_seen(output("A: b\n\n") + output("") + output("x"), "head:200 violation:output after the end of its output");
  expect_seen(output("A: b\n\n") + output("") + output("") + end(), "head:200 ended:0,0");
}

TEST(Exchange, PassesAHeaderOf70000Bytes) {
  const std::string value(70'000, 'v');
  std::string input;
  append_stream(input, RecordType::stdout_stream, id, "X: " + value + "\n\nbody");
  grind(input + end(), Parse{.with_reuse = false}, std::string("head:200 body:body ended:0,0"));
}

TEST(Exchange, CarriesForgedRecordsAsContent) {
  std::string body = simple_answer() + end();
  body.resize(99'000, 'x');
  std::string input;
  append_stream(input, RecordType::stdout_stream, id, "A: b\n\n" + body);
  grind(input + end(), Parse{.with_reuse = false}, "head:200 body:" + body + " ended:0,0");
}

}  // namespace
}  // namespace cppfcgi
