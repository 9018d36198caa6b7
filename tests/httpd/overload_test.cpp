// More requests than a pool can serve: who waits, for how long, who is sent away and how soon, and that nobody else
// notices. What is measured is measured up to three times, since a shared machine stalls now and then.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/httpd/scripted_server.h"
#include "tests/support/areas.h"
#include "tests/support/crowd.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

const std::string head = "Content-Type: text/plain\n\n";

// 128 threads in four processes, as the measurement of today's gateways had them, and a file that all may read.
class Overloaded : public HttpdServer {
 public:
  explicit Overloaded(const std::string& pool_options, const std::string& more = {})
      : HttpdServer({.mpm_tuning = "StartServers 4\nServerLimit 4\nThreadsPerChild 32\nMaxRequestWorkers 128\n"
                                   "MinSpareThreads 1\nMaxSpareThreads 128",
                     .config = "LogFormat \"%D %>s %U\" took\nCustomLog @ROOT@/logs/took took\n"
                               "FastCgiServer @ROOT@/bin/echo -mount /e " +
                               pool_options + "\n" + more}) {
    install("samples/echo");
    write("htdocs/file.txt", "a file\n");
    start();
    allow_log("wait already|threads of this process|no worker became free");
  }
  void wait_for_workers(std::size_t count) const {
    EXPECT_TRUE(wait_until([&] { return processes_of("echo").size() == count; }));
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(get(port(), "/e/pid").status, 200);
  }
  Visitor visit() const { return Visitor(url("/file.txt")); }

  // What httpd itself measured for the pool's requests that ended with this status, in milliseconds.
  std::vector<double> took_ms(int status) const {
    std::istringstream log(read_file(root() + "/logs/took"));
    std::vector<double> all;
    double microseconds = 0;
    int ended_with = 0;
    for (std::string path; log >> microseconds >> ended_with >> path;) {
      if (ended_with == status && path.starts_with("/e/sleep")) all.push_back(microseconds / 1'000);
    }
    return all;
  }
};

// ---- 200 clients on four workers of 100 ms ----

struct Held {
  std::size_t served = 0, refused = 0, other = 0;
  double per_second = 0, slowest_second = 0;
  double file_p50 = 0, file_p99 = 0;
  std::size_t files = 0, files_failed = 0;

  bool is_good() const {
    // A second may begin just before or just after four workers have ended at the same time.
    return per_second >= 38 && slowest_second >= 38 - 4 && file_p50 <= 5 && file_p99 <= 50;
  }
};
void PrintTo(const Held& held, std::ostream* out) {
  *out << held.per_second << "/s (in the worst second " << held.slowest_second << "), " << held.served << " served, "
       << held.refused << " refused, " << held.other << " others; " << held.files << " files in p50 " << held.file_p50
       << " ms, p99 " << held.file_p99 << " ms, " << held.files_failed << " not";
}

double slowest_second(const std::vector<Answered>& answers, Clock::time_point begin, std::chrono::seconds lasts) {
  std::vector<double> seconds(static_cast<std::size_t>(lasts.count()), 0.0);
  for (const Answered& answer : answers) {
    const auto second = static_cast<std::size_t>(std::chrono::floor<std::chrono::seconds>(answer.at - begin).count());
    if (answer.status == 200 && second < seconds.size()) ++seconds[second];
  }
  return *std::min_element(seconds.begin() + 1, seconds.end());  // in the first they come
}

Held hold_out(const Overloaded& server, std::chrono::seconds lasts) {
  Visitor visitor(server.url("/file.txt"));
  const auto begin = Clock::now();
  const auto answers = run_crowd({.url = server.url("/e/sleep?ms=100"), .clients = 200, .lasts = lasts, .pause = 50ms});
  const std::vector<Answered> files = visitor.stop();
  Held held;
  held.served = count_status(answers, 200);
  held.refused = count_status(answers, 503);
  held.other = answers.size() - held.served - held.refused;
  const auto in_time = std::count_if(answers.begin(), answers.end(), [&](const Answered& answer) {
    return answer.status == 200 && answer.at < begin + lasts;
  });
  held.per_second = static_cast<double>(in_time) / static_cast<double>(lasts.count());
  held.slowest_second = slowest_second(answers, begin, lasts);
  held.file_p50 = percentile(milliseconds_for_anyone(files), 50);
  held.file_p99 = percentile(milliseconds_for_anyone(files), 99);
  held.files = files.size();
  held.files_failed = files.size() - count_status(files, 200);
  return held;
}

TEST(Overload, TwoHundredClientsOnFourWorkersCostNobodyElseAnything) {
  Overloaded server("-processes 4");
  server.wait_for_workers(4);
  Held held;
  for (int tries = 0; tries < 3 && !held.is_good(); ++tries) {
    held = hold_out(server, 5s);
    std::cerr << testing::PrintToString(held) << '\n';
    EXPECT_EQ(held.other, 0U) << "whoever is not served gets 503";
    EXPECT_EQ(held.files_failed, 0U);
    EXPECT_GT(held.refused, 0U);
  }
  EXPECT_TRUE(held.is_good()) << testing::PrintToString(held);
}

// ---- 60 clients at once on an idle pool that has been quick ----

// They found that no request had ended of late, as with workers that hang, and those beyond the process's share got
// 503.
TEST(Overload, ABurstOnAnIdlePoolIsServedThoughItMeetsOneProcess) {
  HttpdServer server({.mpm_tuning = "StartServers 1\nServerLimit 2\nThreadsPerChild 64\nMaxRequestWorkers 128\n"
                                    "MinSpareThreads 1\nMaxSpareThreads 128",
                      .config = "FastCgiServer @ROOT@/bin/echo -mount /e -processes 4"});
  server.install("samples/echo");
  server.start();
  EXPECT_TRUE(wait_until([&] { return server.processes_of("echo").size() == 4; }));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(get(server.port(), "/e/sleep?ms=1").status, 200);
  const auto idle_since = Clock::now();
  EXPECT_TRUE(wait_until([&] { return Clock::now() - idle_since > 600ms; }));
  // Long enough that all have come before the first has its answer.
  EXPECT_EQ(count_status(run_crowd({.url = server.url("/e/sleep?ms=200"), .clients = 60}), 200), 60U);
}

// ---- 300 clients at once on two workers of 1 s, queue 10, wait 500 ms ----

// The model: two are served at once. Ten wait, and have their 503 after 500 ms, since no worker is free before the
// first second is over. For all others there is no place, and they are told so on arrival.
TEST(Overload, ThreeHundredAtOnceAreServedQueuedAndRefusedAsTheModelSays) {
  constexpr std::size_t clients = 300, served = 2, waited = 10;
  Overloaded server("-processes 2 -queue 10 -queue-timeout 500ms");
  server.wait_for_workers(2);
  bool is_good = false;
  for (int tries = 0; tries < 3 && !is_good; ++tries) {
    server.write("logs/took", "");
    Visitor visitor(server.url("/file.txt"));
    const auto answers = run_crowd({.url = server.url("/e/sleep?ms=1000"), .clients = clients});
    const std::vector<Answered> files = visitor.stop();
    ASSERT_EQ(answers.size(), clients);
    EXPECT_EQ(count_status(answers, 200) + count_status(answers, 503), clients);
    ASSERT_TRUE(wait_until([&] { return server.took_ms(503).size() + server.took_ms(200).size() == clients; }));

    std::vector<double> full, timed_out;
    for (const double ms : server.took_ms(503)) (ms < 400 ? full : timed_out).push_back(ms);
    const double late = std::max(percentile(full, 95), percentile(timed_out, 95) - 500);
    const double file_p99 = percentile(milliseconds_for_anyone(files), 99);
    std::cerr << count_status(answers, 200) << " served, " << timed_out.size() << " waited, " << full.size()
              << " refused at once; each 503 within " << late << " ms; files' p99 " << file_p99 << " ms\n";
    is_good = count_status(answers, 200) == served && timed_out.size() == waited &&
              full.size() == clients - served - waited && late <= 20 && file_p99 < 50;
  }
  EXPECT_TRUE(is_good);
}

// ---- the queue's places ----

// Requests that a worker holds until the file "go" is there.
class Waiting {
 public:
  explicit Waiting(ScriptedServer& server) : server_(server), areas_(server.pid()) {
    // Where nobody may wait, a worker must be ready.
    EXPECT_TRUE(wait_until([&] { return server.ask_for(answer("ready")).status == 200; }));
  }
  HttpConnection& ask() {
    const Script script = Script().read().wait_for(folder_ / "go").out(head + "done").end_of_out().end();
    clients_.push_back(std::make_unique<HttpConnection>(server_.port()));
    EXPECT_TRUE(clients_.back()->send(request_text("GET", script.at("/s"), {"Connection: close"})));
    return *clients_.back();
  }
  std::uint32_t in_queue() const {
    const PoolLoad& queue = areas_.load().pools[0];
    return queue.tail.load() - queue.head.load();
  }
  std::uint64_t served() const { return areas_.load().slots[0].requests.load(); }
  // So that the next one surely queues up.
  void occupy_worker() {
    const std::uint64_t before = served();
    ask();
    EXPECT_TRUE(wait_until([&] { return served() > before; }));
  }
  // As after a while in which no worker was free; as where one is again and again.
  void let_wait_long() { areas_.load().pools[0].moved = 0; }
  void let_wait_briefly() {
    areas_.load().pools[0].moved = std::chrono::nanoseconds((Clock::now() + 1h).time_since_epoch()).count();
  }
  void fill_queue(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      ask();
      EXPECT_TRUE(wait_until([&] { return in_queue() == i + 1; }));
    }
  }
  std::size_t let_go() {
    write_file(folder_ / "go", "");
    return static_cast<std::size_t>(std::count_if(clients_.begin(), clients_.end(), [](const auto& client) {
      return client->fd() >= 0 && client->receive().body == "done";
    }));
  }

 private:
  ScriptedServer& server_;
  Areas areas_;
  Signals folder_;
  std::vector<std::unique_ptr<HttpConnection>> clients_;
};

const HttpdOptions many_threads{
    .mpm_tuning = "StartServers 2\nThreadsPerChild 64\nMaxRequestWorkers 256\nMinSpareThreads 1\nMaxSpareThreads 256"};

TEST(Queue, HasTenPlacesForEachRequestThatIsServedAtOnce) {
  ScriptedServer server("-processes 1 -max-threads 256", many_threads);
  server.expect_log("10 requests wait already");
  Waiting waiting(server);
  waiting.occupy_worker();
  waiting.let_wait_long();
  waiting.fill_queue(10);
  const HttpResponse refused = server.ask_for(answer("never"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("Retry-After"), "1");
  EXPECT_EQ(waiting.let_go(), 11U);
}

TEST(Queue, OfAFewQuickWorkersHas64Places) {
  ScriptedServer server("-processes 1 -max-threads 256", many_threads);
  server.expect_log("64 requests wait already");
  Waiting waiting(server);
  waiting.occupy_worker();
  waiting.let_wait_briefly();
  waiting.fill_queue(64);
  const HttpResponse refused = server.ask_for(answer("never"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("Retry-After"), "1");
  EXPECT_EQ(waiting.let_go(), 65U);
}

TEST(Queue, OfNoPlacesLetsNobodyWait) {
  ScriptedServer server("-processes 1 -queue 0");
  server.expect_log(" 0 requests wait already");
  Waiting waiting(server);
  waiting.occupy_worker();
  EXPECT_EQ(server.ask_for(answer("never")).status, 503);
  EXPECT_EQ(waiting.let_go(), 1U);
}

TEST(Queue, HoldsNoMoreOfHttpdsThreadsThanItMay) {
  ScriptedServer server("-processes 1 -queue 100 -max-threads 3");
  server.expect_log("3 requests wait already.*-max-threads");
  Waiting waiting(server);
  waiting.occupy_worker();
  waiting.fill_queue(3);
  EXPECT_EQ(server.ask_for(answer("never")).status, 503);
  EXPECT_EQ(waiting.let_go(), 4U);
}

// Four threads at most, of which the queue may hold half.
TEST(Queue, HoldsHalfOfHttpdsThreadsAtMostWhereNothingIsSaid) {
  ScriptedServer server("-processes 1 -queue 100",
                        {.mpm = "prefork", .mpm_tuning = "StartServers 4\nServerLimit 4\nMaxRequestWorkers 4"});
  server.expect_log("2 requests wait already");
  server.allow_log("AH00161");  // MaxRequestWorkers are there
  Waiting waiting(server);
  waiting.occupy_worker();
  waiting.fill_queue(2);
  EXPECT_EQ(server.ask_for(answer("never")).status, 503);
  EXPECT_EQ(waiting.let_go(), 3U);
}

// One process of httpd's with eight threads: one is at the request that is served, one is left.
TEST(Queue, LeavesAThreadOfEachProcessAlone) {
  ScriptedServer server("-processes 1 -queue 100 -max-threads 7",
                        {.mpm_tuning = "StartServers 1\nServerLimit 1\nThreadsPerChild 8\nMaxRequestWorkers 8\n"
                                       "MinSpareThreads 1\nMaxSpareThreads 8"});
  server.expect_log("hold as many threads of this process");
  server.allow_log("AH00484");  // MaxRequestWorkers are there
  server.write("htdocs/file.txt", "a file\n");
  Waiting waiting(server);
  waiting.occupy_worker();
  // Those who wait count as waiting long once no request has ended for half a second.
  const Deadline long_wait(Milliseconds(600));
  EXPECT_TRUE(wait_until([&] { return long_wait.has_passed(); }, Milliseconds(10'000)));
  waiting.fill_queue(6);
  EXPECT_EQ(server.ask_for(answer("never")).status, 503);
  EXPECT_EQ(get(server.port(), "/file.txt").body, "a file\n");
  EXPECT_EQ(waiting.let_go(), 7U);
}

TEST(Queue, APlaceIsFreeAgainWhenItsClientHasGone) {
  ScriptedServer server("-processes 1 -queue 2 -queue-timeout 20s");
  server.expect_log("2 requests wait already");
  Waiting waiting(server);
  waiting.occupy_worker();
  HttpConnection& first = waiting.ask();
  ASSERT_TRUE(wait_until([&] { return waiting.in_queue() == 1; }));
  HttpConnection& second = waiting.ask();
  ASSERT_TRUE(wait_until([&] { return waiting.in_queue() == 2; }));
  EXPECT_EQ(server.ask_for(answer("never")).status, 503);
  second.close();
  HttpResponse answered;
  // Behind one who waits on.
  HttpConnection third(server.port());
  EXPECT_TRUE(wait_until([&] {
    third = HttpConnection(server.port());
    return third.send(request_text("GET", answer("at last").at("/s"))) && !third.has_input(Milliseconds(200));
  })) << "it waits, and is not refused";
  const std::uint64_t before = waiting.served();
  EXPECT_EQ(waiting.let_go(), 2U);
  EXPECT_EQ(third.receive().body, "at last");
  EXPECT_EQ(waiting.served(), before + 2) << "no worker saw the request of the one who had gone";
  EXPECT_TRUE(first.is_closed());
}

TEST(Queue, SaysWhenToComeAgainByWhatRequestsTake) {
  Overloaded server("-processes 1 -queue 4");
  server.wait_for_workers(1);
  EXPECT_EQ(get(server.port(), "/e/sleep?ms=1500").status, 200);
  std::vector<std::unique_ptr<HttpConnection>> clients;
  std::string told;
  for (int i = 0; i < 20 && told.empty(); ++i) {
    clients.push_back(std::make_unique<HttpConnection>(server.port()));
    ASSERT_TRUE(clients.back()->send(request_text("GET", "/e/sleep?ms=300")));
    if (clients.back()->has_input(Milliseconds(100)) && i >= 5) told = clients.back()->receive().header("Retry-After");
  }
  EXPECT_GE(std::atoi(told.c_str()), 1) << told;
  EXPECT_LE(std::atoi(told.c_str()), 8) << told;
}

// ---- an application that is down ----

// Whoever comes at once waits for the breaker, and whoever comes later for nothing.
void expect_down(const HttpdServer& server, const std::string& path) {
  auto began = Clock::now();
  // 502: a worker that has just been killed may have begun it.
  EXPECT_THAT(get(server.port(), path).status, testing::AnyOf(502, 503));
  EXPECT_LT(Clock::now() - began, 3s) << "sooner than -queue-timeout";
  auto least = Clock::duration::max();
  for (int i = 0; i < 10; ++i) {
    began = Clock::now();
    const HttpResponse refused = get(server.port(), path);
    least = std::min(least, Clock::now() - began);
    EXPECT_EQ(refused.status, 503);
    EXPECT_TRUE(refused.has("Retry-After"));
  }
  EXPECT_LT(least, 20ms);
}

TEST(Down, AProgramThatCannotStartIsNotWaitedFor) {
  HttpdServer server({.config = "FastCgiServer @ROOT@/bin/broken -mount /b -processes 4\n"});
  server.write("bin/broken", "#!/nonexistent/interpreter\n");
  server.allow_log("pool ");
  server.start();
  expect_down(server, "/b");
  server.expect_log("no worker gets ready");
}

TEST(Down, AProgramThatEndsBeforeItIsReadyIsNotWaitedFor) {
  ScriptedServer server("-processes 4 -initial-env \"SCRIPTED_START=exit 1\"");
  server.allow_log("pool ");
  expect_down(server, answer("never").at("/s"));
  server.expect_log("no worker gets ready");
}

TEST(Down, WorkersThatSomebodyEndsAreReplacedWhileItsClientsWait) {
  // A request may meet several that are about to end.
  ScriptedServer server("-processes 4 -retries 10");
  server.allow_log("pool ");
  for (int round = 0; round < 3; ++round) {
    for (const pid_t pid : server.workers()) ::kill(pid, SIGKILL);
    server.expect_well();
  }
}

TEST(Down, WorkersThatSomebodyEndsForGoodAreNotWaitedFor) {
  ScriptedServer server("-processes 4");
  server.allow_log("pool ");
  server.expect_well();
  const auto workers = server.workers();
  std::filesystem::rename(server.root() + "/bin/scripted", server.root() + "/bin/away");
  for (const pid_t pid : workers) ::kill(pid, SIGKILL);
  expect_down(server, answer("never").at("/s"));
  server.expect_log("no worker gets ready");
}

}  // namespace
}  // namespace cppfcgi::test
