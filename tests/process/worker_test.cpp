// The worker library in real processes: what a web server sees of it on the wire. Every rule holds with one handler
// thread, where the loop itself runs the handler, and with several.
#include <gtest/gtest.h>
#include <signal.h>

#include "shared/params.h"
#include "tests/support/fastcgi_client.h"

namespace cppfcgi::test {
namespace {

std::string body_of(const FastcgiAnswer& answer) {
  const auto empty_line = answer.out.find("\r\n\r\n");
  return empty_line == std::string::npos ? "no head in: " + answer.out : answer.out.substr(empty_line + 4);
}

// The run count that echo tells at /pid, this question included.
int requests_run(const WorkerProcess& worker) {
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/pid"));
  const std::string text = body_of(client.answer(1));
  return std::stoi(text.substr(text.find(' ') + 1));
}

class WorkerWith : public testing::TestWithParam<std::string> {
 protected:
  WorkerProcess echo(const std::vector<std::string>& environment = {}) const {
    return WorkerProcess({.command = {product("samples/echo"), "--threads", GetParam()}, .environment = environment});
  }
  WorkerProcess wilful() const {
    return WorkerProcess({.command = {product("tests/process/programs/wilful"), "--threads", GetParam()}});
  }
};

INSTANTIATE_TEST_SUITE_P(Threads, WorkerWith, testing::Values("1", "4"), [](const auto& test) { return test.param; });

// ---- requests ----

TEST_P(WorkerWith, AnswersOneRequestAfterTheOtherOnAKeptConnection) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  for (std::uint16_t id = 1; id <= 200; ++id) {
    const std::string nonce = "nonce " + std::to_string(id);
    client.request(id, get_params("/body"), nonce);
    const FastcgiAnswer answer = client.answer(id);
    ASSERT_EQ(body_of(answer), nonce);
    ASSERT_TRUE(answer.has_ended);
    ASSERT_EQ(answer.protocol_status, 0u);
  }
}

TEST_P(WorkerWith, ClosesAConnectionThatIsNotToBeKept) {
  const WorkerProcess worker = echo();
  for (int round = 0; round < 20; ++round) {
    FastcgiClient client = worker.connect();
    client.request(1, get_params("/body"), "once", false);
    EXPECT_EQ(body_of(client.answer(1)), "once");
    EXPECT_TRUE(client.is_closed());
  }
}

TEST_P(WorkerWith, AnswersPipelinedRequests) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  for (std::uint16_t id = 1; id <= 50; ++id) client.request(id, get_params("/body"), std::to_string(id));
  for (std::uint16_t id = 1; id <= 50; ++id) EXPECT_EQ(body_of(client.answer(id)), std::to_string(id));
}

TEST_P(WorkerWith, PassesParamsOfAnySize) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  for (const std::size_t size : {0, 1, 127, 128, 65'535, 65'536, 1'048'576}) {
    const std::string value(size, 'v');
    client.request(1, get_params("/param?name=LONG", {{"LONG", value}}));
    EXPECT_TRUE(body_of(client.answer(1)) == value) << size;
  }
}

TEST_P(WorkerWith, BringsBodiesOfAnySizeBackByteForByte) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  for (const std::size_t size : {1, 65'535, 65'536, 99'000, 262'144, 262'145, 10'485'760}) {
    std::string body(size, '\0');
    for (std::size_t i = 0; i < size; ++i) body[i] = static_cast<char>(i * 7 + i / 251);
    client.request(1, get_params("/body", {{"CONTENT_LENGTH", std::to_string(size)}}), body);
    EXPECT_TRUE(body_of(client.answer(1)) == body) << size;
  }
}

TEST_P(WorkerWith, KeepsLittleOfALargeBodyInMemory) {
  WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  const std::size_t pieces = 256;
  const std::string piece(1'048'576, 'p');
  client.begin(1, true);
  client.params(1, get_params("/digest"));
  for (std::size_t i = 0; i < pieces; ++i) ASSERT_TRUE(client.input(1, piece));
  client.end_of_input(1);
  EXPECT_TRUE(body_of(client.answer(1, Milliseconds(60'000))).starts_with(std::to_string(pieces * piece.size()) + " "));
  EXPECT_LT(resident_bytes(worker.process().pid()), 32u << 20);
}

TEST_P(WorkerWith, SendsLargeAnswersToASlowWebServer) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  const std::size_t size = 20'000'000;
  client.request(1, get_params("/bytes?n=" + std::to_string(size)));
  const std::string body = body_of(client.answer(1, Milliseconds(60'000)));
  ASSERT_EQ(body.size(), size);
  for (std::size_t i = 0; i < size; i += 9'999) ASSERT_EQ(body[i], static_cast<char>('a' + i % 25)) << i;
}

TEST_P(WorkerWith, StreamsWhatIsFlushed) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/stream?n=3&ms=20"));
  for (const std::string line : {"line 1\n", "line 2\n", "line 3\n"}) {
    const auto record = client.receive();
    ASSERT_TRUE(record);
    EXPECT_TRUE(record->content.ends_with(line)) << record->content;
  }
  EXPECT_TRUE(client.answer(1).has_ended);
}

TEST_P(WorkerWith, ARequestAbortedBeforeItRunsIsEndedWithoutRunning) {
  const WorkerProcess worker = wilful();
  FastcgiClient client = worker.connect();
  for (std::uint16_t id = 1; id <= 4; ++id) client.request(id, get_params("/?block=200"));
  client.request(5, get_params("/"));
  client.abort(5);
  const FastcgiAnswer answer = client.answer(5);
  EXPECT_TRUE(answer.has_ended);
  EXPECT_EQ(answer.out, "");
}

// ---- several on one connection ----

TEST_P(WorkerWith, ASlowBodyBlocksNobodyElseOnItsConnection) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.begin(1, true);
  client.params(1, get_params("/body"));
  client.input(1, "slow ");
  for (std::uint16_t id = 2; id < 10; ++id) {
    client.request(id, get_params("/body"), "quick");
    ASSERT_EQ(body_of(client.answer(id)), "quick");
  }
  client.input(1, "body");
  client.end_of_input(1);
  EXPECT_EQ(body_of(client.answer(1)), "slow body");
}

TEST_P(WorkerWith, MultiplexedLargeAnswersDoNotMix) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  const std::string body(3'000'000, 'm');
  for (std::uint16_t id = 1; id <= 6; ++id) client.begin(id, true), client.params(id, get_params("/body"));
  for (std::size_t at = 0; at < body.size(); at += 60'000) {
    for (std::uint16_t id = 1; id <= 6; ++id) ASSERT_TRUE(client.input(id, body.substr(at, 60'000)));
  }
  for (std::uint16_t id = 1; id <= 6; ++id) client.end_of_input(id);
  for (std::uint16_t id = 1; id <= 6; ++id) EXPECT_TRUE(body_of(client.answer(id, Milliseconds(60'000))) == body) << id;
}

// A web server that writes before it reads: the worker must go on receiving while it cannot send.
TEST_P(WorkerWith, ReceivesWhileItsAnswerIsNotRead) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  const std::string body(10'000'000, 'b');
  client.request(1, get_params("/bytes?n=5000000"));
  ASSERT_TRUE(client.request(2, get_params("/body"), body)) << "the worker stopped reading";
  EXPECT_EQ(body_of(client.answer(1, Milliseconds(60'000))).size(), 5'000'000u);
  EXPECT_TRUE(body_of(client.answer(2, Milliseconds(60'000))) == body);
}

TEST_P(WorkerWith, AnswersOthersWhileOneDoesNotRead) {
  const WorkerProcess worker = echo();
  FastcgiClient slow = worker.connect();
  FastcgiClient other = worker.connect();
  other.request(1, get_params("/body"), "here");
  ASSERT_EQ(body_of(other.answer(1)), "here");
  slow.request(1, get_params("/bytes?n=50000000"));
  ASSERT_TRUE(slow.receive()) << "it is sending";
  std::string names, question;
  append_pair(names, {"FCGI_MAX_REQS", ""});
  append_record(question, RecordType::get_values, 0, names);
  other.send(question);
  const auto values = other.receive();
  ASSERT_TRUE(values);
  EXPECT_EQ(values->content,
            "\x0d\x01"
            "FCGI_MAX_REQS" +
                GetParam());
}

TEST_P(WorkerWith, QueuesWhatIsBeyondItsThreads) {
  const WorkerProcess worker = wilful();
  std::vector<FastcgiClient> clients;
  for (int i = 0; i < 12; ++i) {
    clients.push_back(worker.connect());
    clients.back().request(1, get_params("/?block=20"));
  }
  for (FastcgiClient& client : clients) EXPECT_EQ(body_of(client.answer(1)), "blocked\n");
}

// Another that shares the socket may be free.
TEST_P(WorkerWith, AcceptsNobodyWhileAllItsThreadsAreBusy) {
  const WorkerProcess worker = echo();
  FastcgiClient busy = worker.connect();
  for (std::uint16_t id = 1; id <= std::stoi(GetParam()); ++id) {
    busy.request(id, get_params("/stream?n=2&ms=60000"));
    ASSERT_TRUE(busy.receive()) << "it runs";
  }
  FastcgiClient waiting = worker.connect();
  waiting.request(1, get_params("/body"), "waiting");
  EXPECT_FALSE(waiting.receive(Milliseconds(100)));
  busy.abort(1);
  EXPECT_EQ(body_of(waiting.answer(1)), "waiting");
}

// ---- requests that end early ----

TEST_P(WorkerWith, NeverRunsARequestWhoseConnectionEndsBeforeItsBody) {
  const WorkerProcess worker = echo();
  const Params params = get_params("/body", {{"CONTENT_LENGTH", "8"}});
  for (int stage = 0; stage < 4; ++stage) {
    FastcgiClient client = worker.connect();
    client.begin(1, false);
    if (stage > 0) client.params(1, params);
    if (stage > 1) client.input(1, "half");
    if (stage > 2) client.input(1, "full");  // all of it, but not its end
    client.shut_down_sending();
    EXPECT_TRUE(client.is_closed()) << stage;
    EXPECT_EQ(client.answer(1).out, "") << stage;
  }
  EXPECT_EQ(requests_run(worker), 1);
}

TEST_P(WorkerWith, AnswersAWebServerThatHasShutItsSendingSide) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/bytes?n=1000000"));
  client.shut_down_sending();
  const FastcgiAnswer answer = client.answer(1);
  EXPECT_EQ(body_of(answer).size(), 1'000'000u);
  EXPECT_TRUE(answer.has_ended);
  EXPECT_TRUE(client.is_closed());
}

TEST_P(WorkerWith, AnAbortStopsTheHandlerAndEndsTheRequest) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/stream?n=2&ms=60000"));
  ASSERT_TRUE(client.receive()) << "it runs";
  client.abort(1);
  const FastcgiAnswer answer = client.answer(1);
  EXPECT_TRUE(answer.has_ended);
  EXPECT_EQ(answer.err, "echo: stream stopped\n");
  client.request(1, get_params("/body"), "next");
  EXPECT_EQ(body_of(client.answer(1)), "next");
}

TEST_P(WorkerWith, AHangUpStopsTheHandler) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/stream?n=2&ms=60000"));
  ASSERT_TRUE(client.receive()) << "it runs";
  client.close();
  EXPECT_TRUE(wait_until([&] { return worker.output().find("echo: stream stopped") != std::string::npos; }))
      << worker.output();
  EXPECT_EQ(requests_run(worker), 2);
}

TEST_P(WorkerWith, AHangUpEndsAnEndlessAnswer) {
  const WorkerProcess worker = wilful();
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/?endless"));
  ASSERT_TRUE(client.receive());
  client.close();
  FastcgiClient next = worker.connect();
  next.request(1, get_params("/"));
  EXPECT_EQ(body_of(next.answer(1)), "fine\n");
}

TEST_P(WorkerWith, AnAbortEndsAnEndlessAnswer) {
  const WorkerProcess worker = wilful();
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/?endless"));
  ASSERT_TRUE(client.receive());
  client.abort(1);
  EXPECT_TRUE(client.answer(1).has_ended);
  client.request(1, get_params("/"));
  EXPECT_EQ(body_of(client.answer(1)), "fine\n");
}

// ---- handlers that fail ----

TEST_P(WorkerWith, AnExceptionIsLoggedWithTheRequestLineAndIs500) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  for (const std::string how : {"throw", "throw-int"}) {
    client.request(1, get_params("/crash?how=" + how));
    const FastcgiAnswer answer = client.answer(1);
    EXPECT_NE(answer.out.find("Status: 500 "), std::string::npos) << answer.out;
    EXPECT_TRUE(answer.err.starts_with("cppfcgi: GET /crash?how=" + how + ": ")) << answer.err;
    EXPECT_TRUE(answer.has_ended);
  }
  EXPECT_EQ(requests_run(worker), 3) << "the same process goes on";
}

TEST_P(WorkerWith, AnExceptionAfterTheFirstByteCutsTheAnswer) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/crash?how=throw&after=10"));
  const FastcgiAnswer answer = client.answer(1);
  EXPECT_EQ(body_of(answer).size(), 10u);
  EXPECT_FALSE(answer.has_ended);
  EXPECT_TRUE(client.is_closed());
  EXPECT_NE(answer.err.find("the answer is cut"), std::string::npos) << answer.err;
  EXPECT_EQ(requests_run(worker), 2);
}

TEST_P(WorkerWith, ACutAnswerLeavesTheOthersOnItsConnectionWhole) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/sleep?ms=300"));
  client.request(2, get_params("/crash?how=throw&after=10"));
  EXPECT_EQ(body_of(client.answer(1)), "slept\n");
  EXPECT_FALSE(client.answer(2).has_ended);
  EXPECT_TRUE(client.is_closed());
}

TEST_P(WorkerWith, ABodyThatCannotBeKeptIs500) {
  const WorkerProcess worker = echo({"TMPDIR=/nonexistent"});
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/body"), std::string(1'000'000, 'b'));
  const FastcgiAnswer answer = client.answer(1);
  EXPECT_NE(answer.out.find("Status: 500 "), std::string::npos) << answer.out;
  EXPECT_NE(answer.err.find("/nonexistent"), std::string::npos) << answer.err;
  client.request(1, get_params("/body"), "small");
  EXPECT_EQ(body_of(client.answer(1)), "small");
}

TEST_P(WorkerWith, ACrashCutsTheConnection) {
  for (const std::string how : {"abort", "segv", "exit", "kill"}) {
    WorkerProcess worker = echo();
    FastcgiClient client = worker.connect();
    client.request(1, get_params("/crash?how=" + how));
    EXPECT_FALSE(client.answer(1).has_ended) << how;
    EXPECT_TRUE(client.is_closed()) << how;
    EXPECT_TRUE(worker.process().wait()) << how;
  }
}

// ---- the protocol's edges ----

TEST_P(WorkerWith, RefusesWhatItCannotServeAndGoesOn) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.begin(1, true, Role::authorizer);
  client.params(1, {});
  EXPECT_EQ(client.answer(1).protocol_status, 3u);
  client.request(2, get_params("/body", {{"CONTENT_LENGTH", "10"}}), "short");
  EXPECT_TRUE(client.answer(2).out.starts_with("Status: 400 "));
  std::string unknown;
  append_record(unknown, RecordType(42), 0, "x");
  client.send(unknown);
  const auto reply = client.receive();
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->header.is(RecordType::unknown_type));
  client.request(3, get_params("/body"), "fine");
  EXPECT_EQ(body_of(client.answer(3)), "fine");
  EXPECT_EQ(requests_run(worker), 2) << "of those, only the last ran";
}

TEST_P(WorkerWith, ARefusedRoleOnAConnectionNotToBeKeptIsAnsweredAndClosed) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  client.begin(1, false, Role::filter);
  client.params(1, get_params("/"));
  client.input(1, std::string(100'000, 'x'));
  EXPECT_EQ(client.answer(1).protocol_status, 3u);
  EXPECT_TRUE(client.is_closed());
}

TEST_P(WorkerWith, AViolationClosesItsConnectionAlone) {
  const WorkerProcess worker = echo();
  FastcgiClient good = worker.connect();
  FastcgiClient bad = worker.connect();
  bad.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(bad.is_closed());
  good.request(1, get_params("/body"), "still");
  EXPECT_EQ(body_of(good.answer(1)), "still");
  EXPECT_NE(worker.output().find("another protocol version"), std::string::npos) << worker.output();
}

TEST_P(WorkerWith, AFloodOfQuestionsWithoutReadingEndsTheConnection) {
  const WorkerProcess worker = echo();
  FastcgiClient client = worker.connect();
  std::string question;
  append_record(question, RecordType(42), 0, "");
  std::string flood;
  for (int i = 0; i < 10'000; ++i) flood += question;
  bool is_taken = true;
  for (int i = 0; i < 100 && is_taken; ++i) is_taken = client.send(flood);
  EXPECT_FALSE(is_taken);
  EXPECT_EQ(requests_run(worker), 1);
}

}  // namespace
}  // namespace cppfcgi::test
