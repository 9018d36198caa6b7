// An answer that was cut is nobody's whole answer later: not a cache's, and not the next request's on the same
// connection to a worker. That the client itself sees the cut: broken_answer_test.cpp.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

// ---- caches ----

struct Kept {
  const char* name;
  std::vector<std::string> modules;
  const char* config;
};
const Kept on_disk{"disk", {"cache", "cache_disk"}, "CacheRoot @ROOT@/cache\nCacheEnable disk /s\n"};
const Kept in_memory{
    "socache", {"cache", "cache_socache", "socache_shmcb"}, "CacheSocache shmcb\nCacheEnable socache /s\n"};

// As far as it comes; the rest is cut.
struct Beginning {
  const char* name;
  const char* header;
};
const Beginning chunked_answer{"chunked", ""};
const Beginning sized_answer{"contentLength", "Content-Length: 5000\n"};

class Cached : public testing::TestWithParam<std::tuple<Kept, Beginning, HttpVersion>> {
 protected:
  Cached()
      : server_("-processes 2", {.modules = std::get<0>(GetParam()).modules,
                                 .has_http2 = true,
                                 .config = std::string(std::get<0>(GetParam()).config) + "CacheIgnoreNoLastMod On\n"}) {
    std::filesystem::create_directory(server_.root() + "/cache");
    std::filesystem::permissions(server_.root() + "/cache", std::filesystem::perms(0777));
    server_.allow_log("http2:|pool ");
  }
  Fetched fetch_it(const Script& script, const std::string& nonce) const {
    return fetch({.url = server_.url(script.at("/s")),
                  .header_lines = {"X-Nonce: " + nonce},
                  .version = std::get<2>(GetParam())});
  }
  // May be kept for long.
  static Script head(const std::string& more = "") {
    return Script().read().out("Content-Type: text/plain\nCache-Control: max-age=600\n" +
                               (std::get<1>(GetParam()).header + more) + "\n");
  }
  ScriptedServer server_;
};
INSTANTIATE_TEST_SUITE_P(All, Cached,
                         testing::Combine(testing::Values(on_disk, in_memory),
                                          testing::Values(chunked_answer, sized_answer),
                                          testing::Values(HttpVersion::http1_1, HttpVersion::http2)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + "_" + std::get<1>(test.param).name +
                                  (std::get<2>(test.param) == HttpVersion::http2 ? "_http2" : "_http11");
                         });

TEST_P(Cached, AWholeAnswerIsAndACutOneIsNot) {
  // Of 5,000 bytes: the nonce has four.
  const Script whole = head().nonce().out('w', 4'996).end_of_out().end();
  // It keeps what it has passed on, a moment after it has.
  int asked = 1'000;
  EXPECT_TRUE(wait_until([&] {
    const std::string nonce = std::to_string(++asked);
    return !fetch_it(whole, nonce).body.starts_with(nonce);
  })) << "there is no cache";
  const std::vector<Script> ends{Script().close(), Script().signal(SIGKILL), Script().raw("no record at all")};
  for (const Script& end : ends) {
    const Script cut = head("X-Accel-Buffering: no\n").nonce().out('c', 1'000).flush().append(end);
    const Fetched first = fetch_it(cut, "1111");
    EXPECT_FALSE(first.is_whole() && first.status == 200);
    const Fetched again = fetch_it(cut, "2222");
    EXPECT_FALSE(again.is_whole() && again.status == 200);
    EXPECT_EQ(again.body.find("1111"), std::string::npos);
  }
}

// ---- connections to workers that die ----

TEST(Integrity, NobodyGetsAnothersBytesWhenWorkersDieAtKeptConnections) {
  ScriptedServer server(
      "-processes 2 -initial-env SCRIPTED_THREADS=60 "
      "-initial-env SCRIPTED_VALUES=FCGI_MAX_CONNS=60&FCGI_MAX_REQS=8&FCGI_MPXS_CONNS=0");
  server.allow_log("pool ");
  const Script good =
      Script().read().out("Content-Type: text/plain\n\n").nonce().out('g', 2'000).nonce().end_of_out().end();
  const Script crash = Script().read().out("Content-Type: text/plain\n\n").nonce().out('c', 300'000).signal(SIGKILL);
  const auto nonce = [](std::size_t i) { return "<" + std::to_string(i) + ">"; };
  const auto is_crash = [](std::size_t i) { return i % 40 == 39; };
  std::size_t answered = 0;
  run_load({.count = 1'200,
            .parallel = 12,
            .make =
                [&](std::size_t i) {
                  // Bodies differ: none of them is known for a poison request.
                  return Fetch{.url = server.url((is_crash(i) ? crash : good).at("/s")),
                               .method = "POST",
                               .header_lines = {"X-Nonce: " + nonce(i)},
                               .body = nonce(i)};
                },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  if (fetched.status != 200) return;
                  EXPECT_EQ(fetched.body.find(nonce(i)), 0U) << i << ": " << fetched.body.substr(0, 50);
                  if (!fetched.is_whole()) return;
                  EXPECT_FALSE(is_crash(i));
                  EXPECT_EQ(fetched.body, nonce(i) + std::string(2'000, 'g') + nonce(i));
                  ++answered;
                }});
  EXPECT_GT(answered, 600U);
}

}  // namespace
}  // namespace cppfcgi::test
