// The client's side under each MPM and over each version of HTTP: the same requests get the same answers, on
// connections that are kept, pipelined, multiplexed or encrypted.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

// One server for each MPM that was asked for; many tests on it.
class Under : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { server_ = std::make_unique<ScriptedServer>("-processes 4", HttpdOptions{.mpm = GetParam()}); }
  ScriptedServer& server() { return *server_; }
  std::unique_ptr<ScriptedServer> server_;
};
INSTANTIATE_TEST_SUITE_P(Mpm, Under, testing::Values("event", "worker", "prefork"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(Under, Http10ClosesAndKeepsAsAsked) {
  HttpConnection once(server().port());
  ASSERT_TRUE(once.send("GET " + answer("old").at("/s") + " HTTP/1.0\r\n\r\n"));
  const HttpResponse response = once.receive();
  EXPECT_EQ(response.body, "old");
  EXPECT_EQ(response.ending, Ending::whole);
  EXPECT_FALSE(response.is_chunked);

  HttpConnection kept(server().port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(kept.send("GET " + answer("kept", "Content-Length: 4\r\n").at("/s") +
                          " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    EXPECT_EQ(kept.receive().body, "kept");
  }
}

TEST_P(Under, Http11KeepsItsConnection) {
  HttpConnection connection(server().port());
  for (int i = 0; i < 50; ++i) {
    const std::string nonce = "nonce " + std::to_string(i);
    ASSERT_TRUE(connection.send(request_text(i % 3 == 0 ? "POST" : "GET", answer(nonce).at("/s"), {},
                                             i % 3 == 0 ? std::string(100 * i, 'x') : "")));
    EXPECT_EQ(connection.receive().body, nonce);
  }
}

TEST_P(Under, PipelinedRequestsAreAnsweredInTheirOrder) {
  HttpConnection connection(server().port());
  std::string all;
  for (int i = 0; i < 40; ++i) {
    all += request_text("GET", answer("number " + std::to_string(i)).at("/s"));
    all += request_text("POST", answer("body " + std::to_string(i)).at("/s"), {}, std::string(1'000, 'x'));
  }
  ASSERT_TRUE(connection.send(all));
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(connection.receive().body, "number " + std::to_string(i));
    EXPECT_EQ(connection.receive("POST").body, "body " + std::to_string(i));
  }
}

TEST_P(Under, ManyAtATimeGetTheirOwnAnswers) {
  const Script script = Script().read().out("Content-Type: text/plain\n\n").nonce().out(" ").body().end_of_out().end();
  run_load({.count = 600,
            .parallel = 12,
            .make =
                [&](std::size_t i) {
                  return Fetch{.url = server().url(script.at("/s")),
                               .method = i % 2 == 0 ? "GET" : "POST",
                               .header_lines = {"X-Nonce: " + std::to_string(i)},
                               .body = i % 2 == 0 ? "" : std::string(i * 10, static_cast<char>('a' + i % 26))};
                },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  const std::string body = i % 2 == 0 ? "" : std::string(i * 10, static_cast<char>('a' + i % 26));
                  EXPECT_EQ(fetched.body, std::to_string(i) + " " + body) << fetched.error;
                }});
}

// More clients than workers: they wait for their turn, and each gets it.
TEST_P(Under, MoreThanTheWorkersCanTakeWaitTheirTurn) {
  std::vector<HttpConnection> connections;
  for (int i = 0; i < 12; ++i) {
    connections.emplace_back(server().port());
    ASSERT_TRUE(connections.back().send(request_text("GET", answer("turn " + std::to_string(i)).at("/s"))));
  }
  for (int i = 0; i < 12; ++i)
    EXPECT_EQ(connections[static_cast<std::size_t>(i)].receive().body, "turn " + std::to_string(i));
}

TEST_P(Under, GracefulRestartsLoseNoRequest) {
  std::atomic<bool> is_over{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      for (int i = 0; !is_over; ++i) {
        const std::string nonce = std::to_string(client) + "." + std::to_string(i);
        if (get(server().port(), answer(nonce).at("/s")).body != nonce) ++wrong;
      }
    });
  }
  for (int i = 0; i < 3; ++i) server().graceful();
  is_over = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(Under, GracefulRestartsAndStopsFinishWhatRuns) {
  const Signals folder;
  HttpConnection connection(server().port());
  const Script script = Script()
                            .read()
                            .touch(folder / "begun")
                            .wait_for(folder / "go")
                            .out("Content-Type: text/plain\n\nfinished")
                            .end_of_out()
                            .end();
  ASSERT_TRUE(connection.send(request_text("GET", script.at("/s"))));
  ASSERT_TRUE(wait_until([&] { return ::access((folder / "begun").c_str(), F_OK) == 0; }));
  server().graceful();
  server().expect_well();
  write_file(folder / "go", "");
  EXPECT_EQ(connection.receive().body, "finished");
  server().graceful_stop();
}

// ---- HTTP/2 and TLS ----

struct Secured {
  const char* name;
  bool has_tls;
  HttpVersion version;
};
void PrintTo(const Secured& given, std::ostream* out) { *out << given.name; }

class Over : public testing::TestWithParam<Secured> {};
INSTANTIATE_TEST_SUITE_P(All, Over,
                         testing::Values(Secured{"h2c", false, HttpVersion::http2},
                                         Secured{"h2", true, HttpVersion::http2},
                                         Secured{"tls", true, HttpVersion::http1_1}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Over, RequestsAndAnswersOfAllSizesComeThrough) {
  ScriptedServer server("-processes 4", {.has_tls = GetParam().has_tls, .has_http2 = true});
  const Script script = Script().read().out("Content-Type: text/plain\n\n").body().end_of_out().end();
  for (const std::size_t bytes : {0, 1, 16'383, 16'384, 65'535, 65'536, 1'000'000, 10'000'000}) {
    const Fetched fetched = fetch({.url = server.url(script.at("/s")),
                                   .method = "POST",
                                   .version = GetParam().version,
                                   .body = std::string(bytes, 'x')});
    EXPECT_TRUE(fetched.is_whole()) << fetched.error;
    EXPECT_EQ(fetched.http_major, GetParam().version == HttpVersion::http2 ? 2 : 1);
    EXPECT_TRUE(fetched.body == std::string(bytes, 'x')) << fetched.body.size();
  }
}

class OverKept : public testing::TestWithParam<Secured> {};  // without h2c: see curl_client.h
INSTANTIATE_TEST_SUITE_P(All, OverKept,
                         testing::Values(Secured{"h2", true, HttpVersion::http2},
                                         Secured{"tls", true, HttpVersion::http1_1}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(OverKept, ManyAtATimeOnOneConnectionGetTheirOwnAnswers) {
  ScriptedServer server("-processes 4", {.has_tls = GetParam().has_tls, .has_http2 = true});
  const Script script = Script().read().out("Content-Type: text/plain\n\n").nonce().out('z', 20'000).end_of_out().end();
  run_load({.count = 500,
            .parallel = 16,
            .connections = GetParam().version == HttpVersion::http2 ? std::size_t{1} : 16,
            .make =
                [&](std::size_t i) {
                  return Fetch{.url = server.url(script.at("/s")),
                               .header_lines = {"X-Nonce: " + std::to_string(i)},
                               .version = GetParam().version};
                },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  EXPECT_TRUE(fetched.body == std::to_string(i) + std::string(20'000, 'z'))
                      << testing::PrintToString(fetched);
                }});
}

TEST_P(Over, HeadWithoutContentAndNotModifiedHaveNoBody) {
  ScriptedServer server("-processes 2", {.has_tls = GetParam().has_tls, .has_http2 = true});
  const auto status_of = [&](const std::string& head, const char* method) {
    const Fetched fetched =
        fetch({.url = server.url(Script().read().out(head + "\n\nbody").end_of_out().end().at("/s")),
               .method = method,
               .version = GetParam().version});
    EXPECT_TRUE(fetched.is_whole()) << head << ": " << fetched.error;
    EXPECT_EQ(fetched.body, "");
    return fetched.status;
  };
  EXPECT_EQ(status_of("Content-Type: text/plain", "HEAD"), 200);
  EXPECT_EQ(status_of("Content-Type: text/plain\nContent-Length: 4", "HEAD"), 200);
  EXPECT_EQ(status_of("Status: 204", "GET"), 204);
  EXPECT_EQ(status_of("Status: 204\nContent-Length: 4", "GET"), 204);
  EXPECT_EQ(status_of("Status: 304\nContent-Length: 4", "GET"), 304);
}

// One broken stream does no harm to the others on its connection.
TEST(Http2, ABrokenAnswerHarmsNoOtherStream) {
  ScriptedServer server("-processes 4", {.has_tls = true, .has_http2 = true});
  server.expect_log("the client's answer is cut");
  server.allow_log("http2:");
  const Script broken = Script().read().out("Content-Type: text/event-stream\n\nsome").flush().close();
  std::size_t whole = 0;
  run_load({.count = 40,
            .parallel = 8,
            .connections = 1,
            .make =
                [&](std::size_t i) {
                  return Fetch{.url = server.url(i % 8 == 0 ? broken.at("/s") : answer(std::to_string(i)).at("/s")),
                               .version = HttpVersion::http2};
                },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  if (i % 8 == 0) {
                    EXPECT_FALSE(fetched.is_whole());
                  } else if (fetched.body == std::to_string(i)) {
                    ++whole;
                  }
                }});
  EXPECT_EQ(whole, 35U);
}

}  // namespace
}  // namespace cppfcgi::test
