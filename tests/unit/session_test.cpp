// The rules of worker/src/session.h.
#include "worker/src/session.h"

#include <gtest/gtest.h>

#include "shared/params.h"
#include "tests/support/grind.h"

namespace cppfcgi {
namespace {

using test::grind;
using test::Pieces;
using test::prefixes_say;
using Seen = std::vector<std::string>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

// ---- what a web server sends ----

std::string record(RecordType type, std::uint16_t id, std::string_view content) {
  std::string out;
  append_record(out, type, id, content);
  return out;
}

std::string begin(std::uint16_t id, std::uint8_t flags = keep_conn_flag, Role role = Role::responder) {
  std::string out;
  append_begin_request(out, id, role, flags);
  return out;
}

std::string params(std::uint16_t id, const Pairs& pairs) {
  std::string out;
  ParamsWriter writer(out, id);
  for (const auto& [name, value] : pairs) writer.add(name, value);
  writer.finish();
  return out;
}

std::string input(std::uint16_t id, std::string_view body) {
  std::string out;
  append_stream(out, RecordType::stdin_stream, id, body);
  return out;
}

std::string end_of_input(std::uint16_t id) { return record(RecordType::stdin_stream, id, ""); }

std::string request(std::uint16_t id, const Pairs& pairs = {}, std::string_view body = {},
                    std::uint8_t flags = keep_conn_flag) {
  return begin(id, flags) + params(id, pairs) + input(id, body) + end_of_input(id);
}

std::string abort(std::uint16_t id) { return record(RecordType::abort_request, id, ""); }

// ---- what the session makes of it ----

std::string describe_reply(std::string_view reply) {
  std::string text;
  RecordReader reader;
  Bytes bytes = as_bytes(reply);
  for (RecordReader::Step step; (step = reader.next(bytes)).kind == RecordReader::Kind::fragment;) {
    if (!text.empty()) text += ", ";
    const std::string id = " " + std::to_string(step.header.id);
    if (step.header.is(RecordType::end_request)) {
      text += "END" + id + " " + std::to_string(decode_end_request(as_text(step.content))->protocol_status);
    } else if (step.header.is(RecordType::unknown_type)) {
      text += "UNKNOWN_TYPE" + id + " " + std::to_string(std::to_integer<int>(step.content[0]));
    } else if (step.header.is(RecordType::get_values_result)) {
      text += "VALUES" + id;
      PairCursor cursor(as_text(step.content));
      while (const auto pair = cursor.next()) text.append(" ").append(pair->name).append("=").append(pair->value);
    } else {
      text += (step.header.is(RecordType::stdout_stream) ? "STDOUT" : "STDERR") + id + " ";
      text += as_text(step.content).substr(0, as_text(step.content).find('\r'));
    }
  }
  return text;
}

class Observer {
 public:
  explicit Observer(const SessionLimits& limits = {}) : session(limits, {.connections = 9, .requests = 2}) {}

  void receive(std::string_view piece) {
    if (is_closed_) return;
    Bytes bytes = as_bytes(piece);
    for (;;) {
      const Session::Event event = session.next(bytes);
      if (event.kind == Session::Kind::need_more) break;
      note(event);
      is_closed_ = event.kind == Session::Kind::violation;
      if (is_closed_) return;
    }
    EXPECT_TRUE(bytes.empty());
  }

  Session session;
  Seen seen;

 private:
  bool is_closed_ = false;

  void note(const Session::Event& event) {
    const std::string id = std::to_string(event.id);
    const std::string content(as_text(event.content));
    switch (event.kind) {
      case Session::Kind::need_more:
        break;
      case Session::Kind::begun:
        seen.push_back("begun " + id);
        break;
      case Session::Kind::body:
        if (!seen.empty() && seen.back().starts_with("body " + id + " ")) {
          seen.back() += content;
        } else {
          seen.push_back("body " + id + " " + content);
        }
        break;
      case Session::Kind::ready: {
        std::string text = "ready " + id;
        for (const auto& [name, value] : session.params(event.slot).pairs)
          text.append(" ").append(name).append("=").append(value);
        seen.push_back(text);
        break;
      }
      case Session::Kind::dropped:
        seen.push_back("dropped " + id);
        break;
      case Session::Kind::aborted:
        seen.push_back("aborted " + id);
        break;
      case Session::Kind::reply:
        seen.push_back(describe_reply(content));
        break;
      case Session::Kind::violation:
        seen.push_back("violation: " + content);
        break;
    }
  }
};

Seen observe(const Pieces& pieces) {
  Observer observer;
  for (const std::string_view piece : pieces) observer.receive(piece);
  return observer.seen;
}

Seen observe(const SessionLimits& limits, const std::string& text) {
  Observer observer(limits);
  observer.receive(text);
  return observer.seen;
}

const auto observed = [](const Pieces& pieces) { return observe(pieces); };

std::string refusal(int id, const std::string& why, const std::string& status) {
  const std::string number = std::to_string(id);
  return "STDERR " + number + " cppfcgi: request refused: " + why + "\n, STDERR " + number + " , STDOUT " + number +
         " Status: " + status + ", STDOUT " + number + " , END " + number + " 0";
}
const std::string contradiction = "its body is not as long as CONTENT_LENGTH says";

// ---- a request's way ----

TEST(Session, ARequestIsReadyWhenBothItsStreamsHaveEnded) {
  grind(request(1, {{"A", "1"}, {"B", ""}}, "body"), observed, Seen{"begun 1", "body 1 body", "ready 1 A=1 B="});
}

TEST(Session, WithoutABodyItIsReadyAtTheEndOfInput) { grind(request(7), observed, Seen{"begun 7", "ready 7"}); }

TEST(Session, BodiesBeyondARecordArriveWhole) {
  const std::string body(65'536, 'b');
  grind(request(1, {}, body), observed, Seen{"begun 1", "body 1 " + body, "ready 1"});
}

TEST(Session, AForgedRecordInABodyStaysBody) {
  const std::string body = request(2) + std::string(99'000, 'x') + request(3);
  grind(request(1, {{"CONTENT_LENGTH", std::to_string(body.size())}}, body), observed,
        Seen{"begun 1", "body 1 " + body, "ready 1 CONTENT_LENGTH=" + std::to_string(body.size())});
}

TEST(Session, NoPrefixOfARequestIsReady) {
  const std::string whole = begin(1) + params(1, {{"A", "1"}}) + end_of_input(1);
  const auto is_ready = [](const Pieces& pieces) { return observe(pieces).size() > 1; };
  prefixes_say(whole, is_ready, false);
}

TEST(Session, ParamsSplitAcrossRecordsAreWhole) {
  std::string block;
  append_pair(block, {"NAME", std::string(300, 'v')});
  std::string stream = begin(1);
  for (const char byte : block) stream += record(RecordType::params, 1, {&byte, 1});
  stream += record(RecordType::params, 1, "") + end_of_input(1);
  EXPECT_EQ(observe({stream}), (Seen{"begun 1", "ready 1 NAME=" + std::string(300, 'v')}));
}

TEST(Session, ParamsOfAMebibyteArrive) {
  const std::string value(1'048'576, 'v');
  EXPECT_EQ(observe({request(1, {{"LONG", value}})}), (Seen{"begun 1", "ready 1 LONG=" + value}));
}

TEST(Session, StreamsMayOverlap) {
  const std::string block = params(1, {{"A", "1"}});
  EXPECT_EQ(observe({begin(1) + input(1, "b") + end_of_input(1) + block}),
            (Seen{"begun 1", "body 1 b", "ready 1 A=1"}));
}

// ---- several on one connection ----

TEST(Session, RequestsAreMultiplexed) {
  const std::string stream = begin(1) + begin(2) + params(2, {{"N", "2"}}) + params(1, {{"N", "1"}}) +
                             input(1, "slow ") + end_of_input(2) + input(1, "body") + end_of_input(1);
  grind(stream, observed, Seen{"begun 1", "begun 2", "body 1 slow ", "ready 2 N=2", "body 1 body", "ready 1 N=1"});
}

TEST(Session, AnIdIsFreeAgainWhenItsRequestIsFinished) {
  Observer observer;
  observer.receive(request(1));
  observer.session.finish(0);
  EXPECT_TRUE(observer.session.is_idle());
  observer.receive(request(1, {{"A", "again"}}));
  EXPECT_EQ(observer.seen, (Seen{"begun 1", "ready 1", "begun 1", "ready 1 A=again"}));
}

TEST(Session, PipelinedRequestsAreEachReady) {
  EXPECT_EQ(observe({request(1) + request(2)}), (Seen{"begun 1", "ready 1", "begun 2", "ready 2"}));
}

TEST(Session, RequestsBeyondTheLimitAreRefusedAsOverloaded) {
  EXPECT_EQ(observe({.requests = 1}, begin(1) + request(2, {{"A", "1"}}, "body") + params(1, {}) + end_of_input(1)),
            (Seen{"begun 1", "END 2 2", "ready 1"}));
}

TEST(Session, RequestsAreRefusedWhileItDoesNotAdmit) {
  Observer observer;
  observer.session.admit(false);
  observer.receive(request(1));
  observer.session.admit(true);
  observer.receive(request(2));
  EXPECT_EQ(observer.seen, (Seen{"END 1 2", "begun 2", "ready 2"}));
}

// ---- when the connection ends ----

TEST(Session, TheConnectionIsOverAfterARequestThatDoesNotKeepIt) {
  Observer observer;
  observer.receive(request(1, {}, {}, 0));
  EXPECT_FALSE(observer.session.is_over()) << "it is not answered";
  observer.session.finish(0);
  EXPECT_TRUE(observer.session.is_over());
}

TEST(Session, ItIsNotOverWhileAnotherRequestLives) {
  Observer observer;
  observer.receive(request(1, {}, {}, 0) + request(2));
  observer.session.finish(0);
  EXPECT_FALSE(observer.session.is_over());
  observer.receive(request(3));
  EXPECT_EQ(observer.seen.back(), "END 3 2") << "and takes no more";
  observer.session.finish(1);
  EXPECT_TRUE(observer.session.is_over());
}

TEST(Session, ItIsIdleBetweenRequestsOnly) {
  Observer observer;
  EXPECT_TRUE(observer.session.is_idle());
  observer.receive(begin(1).substr(0, 5));
  EXPECT_FALSE(observer.session.is_idle());
  observer.receive(begin(1).substr(5) + params(1, {}) + end_of_input(1));
  EXPECT_FALSE(observer.session.is_idle());
  observer.session.finish(0);
  EXPECT_TRUE(observer.session.is_idle());
}

// ---- aborts ----

TEST(Session, AnAbortBeforeTheBodyIsCompleteEndsTheRequest) {
  grind(begin(1) + params(1, {}) + input(1, "half") + abort(1), observed,
        Seen{"begun 1", "body 1 half", "dropped 1", "END 1 0"});
  EXPECT_EQ(observe({begin(1) + abort(1) + request(1)}),
            (Seen{"begun 1", "dropped 1", "END 1 0", "begun 1", "ready 1"}));
}

TEST(Session, AnAbortOfARequestThatWasHandedOverIsPassedOn) {
  EXPECT_EQ(observe({request(1) + abort(1)}), (Seen{"begun 1", "ready 1", "aborted 1"}));
}

TEST(Session, AnAbortOfAnUnknownIdIsIgnored) {
  EXPECT_EQ(observe({abort(5) + request(1)}), (Seen{"begun 1", "ready 1"}));
}

// ---- refusals ----

TEST(Session, ContentLengthThatAgreesIsFine) {
  EXPECT_EQ(observe({request(1, {{"CONTENT_LENGTH", "4"}}, "body")}).back(), "ready 1 CONTENT_LENGTH=4");
  EXPECT_EQ(observe({request(1, {{"CONTENT_LENGTH", ""}}, "body")}).back(), "ready 1 CONTENT_LENGTH=");
  EXPECT_EQ(observe({request(1, {{"CONTENT_LENGTH", "0"}})}).back(), "ready 1 CONTENT_LENGTH=0");
}

TEST(Session, ABodyShorterThanContentLengthIsRefused) {
  grind(request(1, {{"CONTENT_LENGTH", "5"}}, "body"), observed,
        Seen{"begun 1", "body 1 body", "dropped 1", refusal(1, contradiction, "400 Bad Request")});
}

TEST(Session, ABodyLongerThanContentLengthIsRefusedAtItsEnd) {
  Observer observer;
  observer.receive(begin(1) + params(1, {{"CONTENT_LENGTH", "3"}}) + input(1, "body"));
  EXPECT_EQ(observer.seen, (Seen{"begun 1", "dropped 1"}));
  observer.receive(input(1, "more") + end_of_input(1) + request(2));
  EXPECT_EQ(observer.seen,
            (Seen{"begun 1", "dropped 1", refusal(1, contradiction, "400 Bad Request"), "begun 2", "ready 2"}));
}

TEST(Session, ContentLengthThatIsNoLengthIsRefused) {
  for (const std::string length : {"-1", "+4", " 4", "4 ", "0x4", "4,4", "four", "99999999999999999999"}) {
    EXPECT_EQ(observe({request(1, {{"CONTENT_LENGTH", length}}, "body")}),
              (Seen{"begun 1", "dropped 1", refusal(1, "its CONTENT_LENGTH is no length", "400 Bad Request")}))
        << length;
  }
}

TEST(Session, TwoContentLengthsThatDifferAreRefused) {
  EXPECT_EQ(observe({request(1, {{"CONTENT_LENGTH", "4"}, {"CONTENT_LENGTH", "5"}}, "body")}).back(),
            refusal(1, "its CONTENT_LENGTH is no length", "400 Bad Request"));
  EXPECT_EQ(observe({request(1, {{"CONTENT_LENGTH", "4"}, {"CONTENT_LENGTH", "4"}}, "body")}).back(),
            "ready 1 CONTENT_LENGTH=4 CONTENT_LENGTH=4");
}

TEST(Session, ParamsThatBreakOffAreRefused) {
  const std::string stream = begin(1) + record(RecordType::params, 1, "\x04\x05NAMEval") +
                             record(RecordType::params, 1, "") + input(1, "body") + end_of_input(1);
  grind(stream, observed, Seen{"begun 1", "dropped 1", refusal(1, "its parameters are malformed", "400 Bad Request")});
}

TEST(Session, ParamsAboveTheLimitAreRefusedAndTheConnectionStaysInStep) {
  const SessionLimits limits{.params_bytes = 100};
  EXPECT_EQ(observe(limits, request(1, {{"A", std::string(97, 'x')}})).size(), 2u);
  EXPECT_EQ(observe(limits, request(1, {{"AB", std::string(97, 'x')}, {"C", "3"}}, "body") + request(2)),
            (Seen{"begun 1", "dropped 1",
                  refusal(1, "its parameters exceed the worker's limit", "431 Request Header Fields Too Large"),
                  "begun 2", "ready 2"}));
}

TEST(Session, ABodyAboveTheLimitIsRefused) {
  const SessionLimits limits{.body_bytes = 3};
  EXPECT_EQ(observe(limits, request(1, {}, "123")).back(), "ready 1");
  EXPECT_EQ(observe(limits, request(1, {}, "1234")),
            (Seen{"begun 1", "dropped 1", refusal(1, "its body exceeds the worker's limit", "413 Content Too Large")}));
}

TEST(Session, ARefusedRequestCanBeAborted) {
  EXPECT_EQ(observe({begin(1) + params(1, {{"CONTENT_LENGTH", "x"}}) + abort(1) + end_of_input(1)}),
            (Seen{"begun 1", "dropped 1", "END 1 0"}));
}

TEST(Session, OtherRolesAreUnknown) {
  for (const Role role : {Role::authorizer, Role::filter, Role(0), Role(77)}) {
    grind(begin(3, keep_conn_flag, role) + params(3, {}) + end_of_input(3), observed, Seen{"END 3 3"});
  }
}

TEST(Session, ARefusedRequestThatDoesNotKeepTheConnectionEndsIt) {
  Observer observer;
  observer.receive(begin(1, 0, Role::filter));
  EXPECT_TRUE(observer.session.is_over());
  Observer overloaded;
  overloaded.session.admit(false);
  overloaded.receive(begin(1, 0));
  EXPECT_TRUE(overloaded.session.is_over());
}

// ---- management records ----

std::string ask(const Pairs& names) {
  std::string content;
  for (const auto& [name, value] : names) append_pair(content, {name, value});
  return record(RecordType::get_values, 0, content);
}

TEST(Session, SaysItsCapacityWhenAsked) {
  grind(ask({{"FCGI_MAX_CONNS", ""}, {"FCGI_MAX_REQS", ""}, {"FCGI_MPXS_CONNS", ""}}), observed,
        Seen{"VALUES 0 FCGI_MAX_CONNS=9 FCGI_MAX_REQS=2 FCGI_MPXS_CONNS=1"});
}

TEST(Session, SaysOnlyWhatIsAskedForAndKnown) {
  EXPECT_EQ(observe({ask({{"FCGI_MAX_REQS", ""}, {"FCGI_OTHER", "x"}})}), (Seen{"VALUES 0 FCGI_MAX_REQS=2"}));
  EXPECT_EQ(observe({ask({})}), (Seen{"VALUES 0"}));
}

TEST(Session, AFloodOfNamesDoesNotMakeALargeAnswer) {
  const Pairs many(4'000, {"FCGI_MAX_REQS", ""});
  const Seen seen = observe({ask(many)});
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_LT(seen[0].size(), 70'000u);
}

TEST(Session, AnswersManagementRecordsInsideARequest) {
  EXPECT_EQ(observe({begin(1) + ask({{"FCGI_MAX_REQS", ""}}) + params(1, {}) + ask({}) + end_of_input(1)}),
            (Seen{"begun 1", "VALUES 0 FCGI_MAX_REQS=2", "VALUES 0", "ready 1"}));
}

TEST(Session, UnknownManagementTypesAreSaidToBe) {
  grind(record(RecordType(99), 0, "whatever") + record(RecordType::begin_request, 0, "12345678"), observed,
        Seen{"UNKNOWN_TYPE 0 99", "UNKNOWN_TYPE 0 1"});
}

// ---- what is not for us, and what cannot be ----

TEST(Session, RecordsOfUnknownIdsAreIgnored) {
  EXPECT_EQ(observe({params(9, {{"A", "1"}}) + input(9, "x") + end_of_input(9) + request(1)}),
            (Seen{"begun 1", "ready 1"}));
}

TEST(Session, TypesThatAWebServerDoesNotSendAreIgnored) {
  std::string stream = begin(1);
  for (const int type : {3, 6, 7, 8, 9, 10, 11, 12, 255}) stream += record(RecordType(type), 1, "x");
  EXPECT_EQ(observe({stream + params(1, {}) + end_of_input(1)}), (Seen{"begun 1", "ready 1"}));
}

TEST(Session, ASecondEndOfAStreamIsIgnored) {
  const std::string stream =
      begin(1) + params(1, {}) + record(RecordType::params, 1, "") + end_of_input(1) + end_of_input(1);
  EXPECT_EQ(observe({stream}), (Seen{"begun 1", "ready 1"}));
}

TEST(Session, MoreOfAStreamThatHasEndedIsAViolation) {
  grind(request(1) + input(1, "x"), observed, Seen{"begun 1", "ready 1", "violation: STDIN after its end"});
  grind(begin(1) + params(1, {}) + record(RecordType::params, 1, "x"), observed,
        Seen{"begun 1", "violation: PARAMS after their end"});
}

TEST(Session, ABeginOfALivingIdIsAViolation) {
  const std::string what = "violation: a BEGIN_REQUEST for an id that is in use";
  grind(begin(1) + begin(1), observed, Seen{"begun 1", what});
  grind(request(1) + begin(1), observed, Seen{"begun 1", "ready 1", what});
}

TEST(Session, ABeginOfAnotherSizeIsAViolation) {
  for (const std::size_t size : {0, 7, 9}) {
    grind(record(RecordType::begin_request, 1, std::string(size, '\0')), observed,
          Seen{"violation: a BEGIN_REQUEST of another size"});
  }
}

TEST(Session, AnotherVersionIsAViolation) {
  std::string stream = request(1);
  stream += as_text(encode({.version = 2, .type = 1, .id = 2, .content_length = 8}));
  grind(stream, observed, Seen{"begun 1", "ready 1", "violation: a record of another protocol version"});
}

TEST(Session, NothingFollowsAViolation) {
  Session session({}, {});
  for (const std::string& stream : {record(RecordType::begin_request, 1, "x"), request(1), ask({})}) {
    Bytes bytes = as_bytes(stream);
    EXPECT_EQ(session.next(bytes).kind, Session::Kind::violation);
  }
}

}  // namespace
}  // namespace cppfcgi
