// The rules of mod_cppfcgi/core/drainer.h and conversation.h, with a socket pair in the worker's place.
#include "mod_cppfcgi/core/drainer.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <optional>

#include "tests/support/wait.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using test::wait_until;
using Portion = DrainedAnswer::Portion;

constexpr std::string_view opening = "an opening of sixteen bytes, say";

std::string output(std::string_view content) {
  std::string out;
  append_stream(out, RecordType::stdout_stream, Exchange::request_id, content);
  return out;
}
std::string end() {
  std::string out;
  append_end_request(out, Exchange::request_id, 0, ProtocolStatus::request_complete);
  return out;
}

// A conversation whose head has been read, and the worker's end of it.
struct DrainerTest : testing::Test {
  Drainer drainer{{.folder = "/tmp", .spool = {.memory_bytes = 1'000, .file_bytes = 100'000}, .patience = 5ms}};
  RequestSource source{opening, {}};
  Fd worker;
  std::optional<Conversation> conversation;
  std::optional<DrainedAnswer> answer;
  std::atomic<int> ended{0};
  std::atomic<int> late{0};

  void SetUp() override {
    int pair[2] = {};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    worker = Fd(pair[1]);
    conversation.emplace(Connection{.fd = Fd(pair[0])}, source, Exchange::Rules{}, request_end);
    say(output("A: b\n\n"));
    read_head();
    answer.emplace(drainer, *conversation, idle_timeout, callbacks());
  }
  void TearDown() override {
    answer.reset();
    drainer.stop();
  }
  void say(std::string_view bytes) {
    ASSERT_EQ(::send(worker.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  void read_head() {
    std::array<std::byte, 1'000> buffer;
    ClientWatch client(
        -1, [](const void*) { return false; }, nullptr);
    const auto input = conversation->receive(buffer, 1s, client);
    ASSERT_EQ(input.outcome, Conversation::Outcome::bytes);
    Bytes bytes = std::span(buffer).first(input.bytes);
    ASSERT_EQ(conversation->exchange().next(bytes).kind, Exchange::Kind::head);
    ASSERT_EQ(conversation->exchange().next(bytes).kind, Exchange::Kind::need_more);
    ASSERT_GT(::recv(worker.get(), buffer.data(), buffer.size(), 0), 0);  // the request
  }
  DrainedAnswer::Callbacks callbacks() {
    return {.on_end = [this] { ++ended; }, .on_late = [this] { ++late; }};
  }
  bool is_drained() {
    int unread = 0;
    return ::recv(conversation->connection().fd.get(), &unread, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
  }
  void say_beyond_the_spools_bound() {
    const std::string much = output(std::string(400'000, 'x'));
    std::size_t said = 0;
    const auto say_on = [&] {
      const ssize_t sent = ::send(worker.get(), much.data() + said, much.size() - said, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) said += static_cast<std::size_t>(sent);
      return sent > 0;
    };
    while (wait_until(say_on, 50ms)) {
    }
  }
  void give_time(std::chrono::milliseconds time) {
    conversation->extend(Conversation::Clock::now() + time - request_end);
  }
  // A write to a slow client, during which the worker goes on.
  void pass_slowly(std::string_view worker_says) {
    answer->begin_pass();
    say(worker_says);
    EXPECT_TRUE(wait_until([&] { return is_drained() || ended > 0; }));
  }

  std::chrono::milliseconds idle_timeout{10'000};
  Conversation::Clock::time_point request_end = Conversation::Clock::now() + 1h;
};

TEST_F(DrainerTest, LeavesQuickWritesAlone) {
  answer->begin_pass();
  EXPECT_TRUE(answer->end_pass());
}

TEST_F(DrainerTest, EndsTheWorkersPartWhileTheClientIsSlow) {
  pass_slowly(output("body") + end());
  EXPECT_TRUE(wait_until([&] { return ended == 1; }));
  EXPECT_FALSE(answer->end_pass());
  const Portion portion = answer->next();
  EXPECT_EQ(portion.kind, Portion::Kind::bytes);
  EXPECT_EQ(portion.bytes, "body");
  EXPECT_EQ(answer->next().kind, Portion::Kind::over);
  EXPECT_TRUE(answer->ending().has_ended);
}

TEST_F(DrainerTest, GivesTheConversationBackWhenAllIsWritten) {
  pass_slowly(output("body"));
  EXPECT_FALSE(answer->end_pass());
  EXPECT_EQ(answer->next().bytes, "body");
  EXPECT_EQ(answer->next().kind, Portion::Kind::retaken);
  say(output("more"));
  std::array<std::byte, 100> buffer;
  EXPECT_EQ(conversation->receive_now(buffer).outcome, Conversation::Outcome::bytes);
}

TEST_F(DrainerTest, HandsOverTheFileOfALargeRest) {
  pass_slowly(output(std::string(5'000, 'x')) + end());
  EXPECT_TRUE(wait_until([&] { return ended == 1; }));
  EXPECT_FALSE(answer->end_pass());
  const Portion portion = answer->next();
  EXPECT_EQ(portion.kind, Portion::Kind::rest);
  EXPECT_EQ(portion.rest.bytes, 5'000U);
  EXPECT_EQ(answer->next().kind, Portion::Kind::over);
}

TEST_F(DrainerTest, LetsTheWorkerWaitAtTheSpoolsBound) {
  answer->begin_pass();
  const std::string much = output(std::string(400'000, 'x')) + end();
  std::size_t said = 0;
  const auto say_on = [&] {
    const ssize_t sent = ::send(worker.get(), much.data() + said, much.size() - said, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) said += static_cast<std::size_t>(sent);
  };
  // The spool, what is read at once, and the socket's own buffers: no more than that is taken.
  EXPECT_FALSE(wait_until([&] { return say_on(), said == much.size(); }, 200ms));
  EXPECT_FALSE(answer->end_pass());
  std::size_t taken = 0;
  EXPECT_TRUE(wait_until([&] {
    say_on();
    for (Portion portion = answer->next(); portion.kind != Portion::Kind::retaken; portion = answer->next()) {
      taken += portion.kind == Portion::Kind::rest ? portion.rest.bytes : portion.bytes.size();
      if (portion.kind == Portion::Kind::over) return true;
    }
    // All is written, and the client is slow again.
    answer->begin_pass();
    return !wait_until([&] { return answer->is_taken_over(); });
  }));
  EXPECT_EQ(taken, 400'000U);
}

TEST_F(DrainerTest, NoticesThatTheWorkerIsLost) {
  pass_slowly(output("body"));
  worker.reset();
  EXPECT_FALSE(answer->end_pass());
  EXPECT_EQ(answer->next().bytes, "body");
  if (answer->next().kind == Portion::Kind::retaken) {
    answer->begin_pass();
    EXPECT_TRUE(wait_until([&] { return answer->is_taken_over(); }));
  }
  EXPECT_TRUE(wait_until([&] { return answer->ending().input.outcome != Conversation::Outcome::failed; }));
  EXPECT_FALSE(answer->ending().has_ended);
  EXPECT_EQ(answer->ending().input.outcome, Conversation::Outcome::closed);
}

TEST_F(DrainerTest, NoticesABrokenAnswer) {
  answer->begin_pass();
  say("this is no record at all");
  EXPECT_TRUE(wait_until([&] { return is_drained(); }));
  EXPECT_FALSE(answer->end_pass());
  EXPECT_EQ(answer->next().kind, Portion::Kind::over);
  EXPECT_STREQ(answer->ending().violation, "a record of another protocol version");
}

TEST_F(DrainerTest, KeepsErrorTextForTheLog) {
  std::string error_text;
  append_stream(error_text, RecordType::stderr_stream, Exchange::request_id, "oops");
  pass_slowly(error_text + output("body"));
  EXPECT_FALSE(answer->end_pass());
  const Portion portion = answer->next();
  EXPECT_EQ(portion.error_text, "oops");
  EXPECT_EQ(portion.bytes, "body");
}

TEST_F(DrainerTest, TimesOutASilentWorker) {
  answer.reset();
  answer.emplace(drainer, *conversation, 50ms, callbacks());
  answer->begin_pass();
  EXPECT_TRUE(wait_until([&] { return answer->is_taken_over(); }));
  EXPECT_FALSE(answer->end_pass());
  // Not next() before it is over: that would take the conversation back.
  EXPECT_TRUE(wait_until([&] { return answer->ending().input.outcome == Conversation::Outcome::timed_out; }));
  EXPECT_EQ(answer->next().kind, Portion::Kind::over);
  EXPECT_EQ(answer->ending().input.outcome, Conversation::Outcome::timed_out);
  EXPECT_EQ(late, 1);
}

// The handler's thread may be stuck in its write: nothing here waits for it.
TEST_F(DrainerTest, EndsTheWorkersPartWhenTheRequestsTimeIsOver) {
  give_time(50ms);
  pass_slowly(output("body"));
  EXPECT_TRUE(wait_until([&] { return late == 1; }));
  EXPECT_FALSE(answer->end_pass());
  EXPECT_EQ(answer->next().kind, Portion::Kind::over) << "what is spooled is no use any more";
  EXPECT_EQ(answer->ending().input.outcome, Conversation::Outcome::out_of_time);
  EXPECT_EQ(ended, 0);
}

TEST_F(DrainerTest, DoesNotCountTheTimeForWhichTheWorkerWaitsForTheClient) {
  give_time(100ms);
  answer->begin_pass();
  say_beyond_the_spools_bound();
  EXPECT_FALSE(wait_until([&] { return late > 0; }, 300ms));
  EXPECT_FALSE(answer->end_pass());
  answer->retake();
  std::array<std::byte, 10'000> buffer;
  while (conversation->receive_now(buffer).outcome == Conversation::Outcome::bytes) {
  }
  answer->begin_pass();
  EXPECT_TRUE(wait_until([&] { return late == 1; })) << "from here on it is the worker's";
}

TEST_F(DrainerTest, ForgetsAnAnswerInTheMiddle) {
  pass_slowly(output("body"));
  answer.reset();
  say(output("more"));
  std::array<std::byte, 100> buffer;
  EXPECT_EQ(conversation->receive_now(buffer).outcome, Conversation::Outcome::bytes);
}

}  // namespace
}  // namespace cppfcgi
