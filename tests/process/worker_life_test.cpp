// A worker process's life: how it starts, listens, shares its socket, is told to end, and ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "tests/support/fastcgi_client.h"
#include "tests/support/peer.h"

namespace cppfcgi::test {
namespace {

std::string body_of(const FastcgiAnswer& answer) {
  const auto empty_line = answer.out.find("\r\n\r\n");
  return empty_line == std::string::npos ? "no head in: " + answer.out : answer.out.substr(empty_line + 4);
}

std::string ask(FastcgiClient client, const std::string& path, const std::string& body = {}) {
  client.request(1, get_params(path), body, false);
  return body_of(client.answer(1));
}

// As open() takes them; 0: there is none.
int descriptor_flags(pid_t pid, int number) {
  const std::string info = read_file("/proc/" + std::to_string(pid) + "/fdinfo/" + std::to_string(number));
  const auto at = info.find("flags:");
  return at == std::string::npos ? 0 : std::stoi(info.substr(at + 6), nullptr, 8);
}

bool exited_with(std::optional<int> status, int code) {
  return status && WIFEXITED(*status) && WEXITSTATUS(*status) == code;
}

class WorkerLife : public testing::TestWithParam<std::string> {
 protected:
  std::vector<std::string> command(const std::string& program, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> whole{product(program), "--threads", GetParam()};
    whole.insert(whole.end(), more.begin(), more.end());
    return whole;
  }
  static constexpr const char* wilful = "tests/process/programs/wilful";
};

INSTANTIATE_TEST_SUITE_P(Threads, WorkerLife, testing::Values("1", "4"), [](const auto& test) { return test.param; });

// ---- its end ----

TEST_P(WorkerLife, EndsAtOnceWhenIdle) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    WorkerProcess worker({.command = command("samples/echo")});
    FastcgiClient kept = worker.connect();
    kept.request(1, get_params("/body"), "x");
    ASSERT_TRUE(kept.answer(1).has_ended);
    worker.process().signal(signal);
    EXPECT_TRUE(exited_with(worker.process().wait(Milliseconds(3'000)), 0)) << signal;
    EXPECT_TRUE(kept.is_closed());
    EXPECT_EQ(worker.output(), "");
  }
}

TEST_P(WorkerLife, EndsAtOnceBeforeItsFirstConnection) {
  WorkerProcess worker({.command = command("samples/echo")});
  { ASSERT_EQ(ask(worker.connect(), "/body", "up"), "up"); }
  worker.process().signal(SIGTERM);
  EXPECT_TRUE(exited_with(worker.process().wait(Milliseconds(3'000)), 0));
}

TEST_P(WorkerLife, FinishesWhatRuns) {
  WorkerProcess worker({.command = command("samples/echo")});
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/stream?n=2&ms=400"));
  ASSERT_TRUE(client.receive()) << "it runs";
  worker.process().signal(SIGTERM);
  const FastcgiAnswer answer = client.answer(1);
  EXPECT_TRUE(answer.has_ended);
  EXPECT_EQ(answer.out, "line 2\n");
  EXPECT_TRUE(exited_with(worker.process().wait(Milliseconds(3'000)), 0));
}

TEST_P(WorkerLife, FinishesWhatIsQueuedAndWhatIsBeingReceived) {
  WorkerProcess worker({.command = command(wilful)});
  FastcgiClient half = worker.connect();
  half.begin(1, true);
  half.params(1, get_params("/"));
  FastcgiClient client = worker.connect();
  for (std::uint16_t id = 1; id <= 6; ++id) client.request(id, get_params("/?block=100"));
  ASSERT_EQ(body_of(client.answer(1)), "blocked\n");
  worker.process().signal(SIGTERM);
  half.end_of_input(1);
  EXPECT_EQ(body_of(half.answer(1)), "fine\n");
  for (std::uint16_t id = 2; id <= 6; ++id) EXPECT_EQ(body_of(client.answer(id)), "blocked\n") << id;
  EXPECT_TRUE(exited_with(worker.process().wait(Milliseconds(3'000)), 0));
}

TEST_P(WorkerLife, TakesNoMoreWhileItEnds) {
  WorkerProcess worker({.command = command("samples/echo")});
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/stream?n=2&ms=800"));
  ASSERT_TRUE(client.receive()) << "it runs";
  FastcgiClient idle = worker.connect();
  idle.request(1, get_params("/body"), "x");
  ASSERT_EQ(GetParam() == "1" || idle.answer(1).has_ended, true);
  worker.process().signal(SIGTERM);
  if (GetParam() != "1") {
    EXPECT_TRUE(idle.is_closed()) << "idle connections are closed";
    client.request(2, get_params("/body"), "more");
    EXPECT_EQ(client.answer(2).protocol_status, 2u) << "a new request on a busy one is refused as overloaded";
  }
  EXPECT_TRUE(client.answer(1).has_ended);
  EXPECT_TRUE(exited_with(worker.process().wait(Milliseconds(3'000)), 0));
}

TEST_P(WorkerLife, EndsWithItsGraceWhateverRuns) {
  WorkerProcess worker({.command = command(wilful, {"--grace", "1"})});
  ASSERT_EQ(ask(worker.connect(), "/"), "fine\n") << "it is up";
  FastcgiClient client = worker.connect();
  client.request(1, get_params("/?block=60000"));
  FastcgiClient endless = worker.connect();
  endless.request(1, get_params("/?endless"));
  ASSERT_TRUE(GetParam() == "1" || endless.receive());
  worker.process().signal(SIGTERM);
  EXPECT_TRUE(exited_with(worker.process().wait(Milliseconds(5'000)), 0));
  EXPECT_NE(worker.output().find("its grace over; requests that were still in work: "), std::string::npos)
      << worker.output();
}

TEST_P(WorkerLife, EndsWithItsGraceWhenABodyNeverComes) {
  WorkerProcess worker({.command = command("samples/echo", {"--grace=1"})});
  FastcgiClient client = worker.connect();
  client.begin(1, true);
  client.params(1, get_params("/body"));
  ASSERT_EQ(ask(worker.connect(), "/body", "x"), "x");
  worker.process().signal(SIGTERM);
  EXPECT_TRUE(exited_with(worker.process().wait(Milliseconds(5'000)), 0));
}

TEST_P(WorkerLife, ServesWhatWaitsOnItsOwnSocketBeforeItEnds) {
  const TempFolder folder;
  const std::string path = folder / "own.sock";
  Peer worker({.command = command(wilful, {"--listen", path})}, path);
  std::vector<FastcgiClient> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(FastcgiClient::to_unix(path));
    clients.back().request(1, get_params("/?block=100"));
  }
  ASSERT_EQ(body_of(clients.front().answer(1)), "blocked\n");
  worker.process().signal(SIGTERM);
  for (std::size_t i = 1; i < clients.size(); ++i) EXPECT_EQ(body_of(clients[i].answer(1)), "blocked\n") << i;
  EXPECT_TRUE(exited_with(worker.process().wait(), 0));
}

// ---- its start ----

TEST_P(WorkerLife, TellsWhenItIsReady) {
  const TempFolder folder;
  const Fd socket = listen_on(folder / "socket");
  std::string script = "exec 7>>" + (folder / "notify") + "; export CPPFCGI_NOTIFY_FD=7; exec";
  for (const std::string& word : command(wilful)) script += " " + word;
  Process worker({.command = {"/bin/sh", "-c", script}, .stdin_fd = socket.get()});
  EXPECT_TRUE(wait_until([&] { return read_file(folder / "notify").size() == 1; }));
  const std::string open = ask(FastcgiClient::to_unix(folder / "socket"), "/?open");
  EXPECT_NE(open.find("\nunset\n"), std::string::npos) << open;
  const int flags = descriptor_flags(worker.pid(), 7);
  EXPECT_NE(flags & O_CLOEXEC, 0) << "what the application starts does not get it";
  EXPECT_NE(flags & O_NONBLOCK, 0) << "and nothing waits for who does not read";
}

TEST(Worker, SaysThatItHasNoSocket) {
  const RunResult result = run({product("samples/hello")});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("descriptor 0 is no listening socket"), std::string::npos) << result.output;
}

TEST(Worker, SaysWhatIsWrongWithItsArguments) {
  const RunResult result = run({product("samples/hello"), "--threads", "none"});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.output, "cppfcgi: --threads: \"none\" is not in 1 … 1024\n");
}

// ---- its socket ----

TEST(Worker, ListensOnAUnixSocketOfItsOwnAndRemovesIt) {
  const TempFolder folder;
  const std::string path = folder / "own.sock";
  Peer worker({.command = {product("samples/echo"), "--listen", path}}, path);
  EXPECT_EQ(ask(FastcgiClient::to_unix(path), "/body", "hi"), "hi");
  worker.process().signal(SIGTERM);
  EXPECT_TRUE(exited_with(worker.process().wait(), 0));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Worker, TakesOverTheSocketFileOfAKilledOneButNotOfALivingOne) {
  const TempFolder folder;
  const std::string path = folder / "own.sock";
  Peer first({.command = {product("samples/echo"), "--listen", path}}, path);
  const RunResult second = run({product("samples/echo"), "--listen", path});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.output.find("another worker listens there"), std::string::npos) << second.output;
  first.process().kill();
  ASSERT_TRUE(std::filesystem::exists(path));
  const Peer third({.command = {product("samples/echo"), "--listen", path}}, path);
  EXPECT_EQ(ask(FastcgiClient::to_unix(path), "/body", "hi"), "hi");
}

TEST(Worker, DoesNotRemoveAFileThatIsNoSocket) {
  const TempFolder folder;
  write_file(folder / "precious", "data");
  EXPECT_EQ(run({product("samples/echo"), "--listen", folder / "precious"}).status, 1);
  EXPECT_EQ(read_file(folder / "precious"), "data");
}

TEST(Worker, ListensOnAPort) {
  for (const std::string host : {"127.0.0.1", "localhost", ""}) {
    const int port = free_port();
    const Peer worker({.command = {product("samples/echo"), "--listen", host + ":" + std::to_string(port)}},
                      "127.0.0.1:" + std::to_string(port));
    EXPECT_EQ(ask(FastcgiClient::to_port(port), "/body", "hi"), "hi") << host;
  }
}

TEST(Worker, SaysWhereItCannotListen) {
  for (const std::string address : {"nowhere", "127.0.0.1:", "127.0.0.1:port", "/nonexistent/x.sock", "256.0.0.1:80"}) {
    const RunResult result = run({product("samples/echo"), "--listen", address});
    EXPECT_EQ(result.status, 1) << address;
    EXPECT_NE(result.output.find("listen on " + address + ": "), std::string::npos) << result.output;
  }
}

TEST(Worker, AcceptsOnlyTheWebServersThatItIsTold) {
  const auto answer_of = [](const std::string& allowed) {
    const WorkerProcess worker({.command = {product("samples/echo")},
                                .environment = {"FCGI_WEB_SERVER_ADDRS=" + allowed},
                                .is_on_port = true});
    FastcgiClient client = worker.connect();
    client.request(1, get_params("/body"), "in");
    return client.answer(1).out.empty() ? "closed" : "answered";
  };
  EXPECT_STREQ(answer_of("127.0.0.1"), "answered");
  EXPECT_STREQ(answer_of("10.0.0.1, 127.0.0.1,::1"), "answered");
  EXPECT_STREQ(answer_of("127.0.0.2"), "closed");
  EXPECT_STREQ(answer_of(""), "closed");
}

TEST(Worker, WebServerAddressesDoNotConcernUnixSockets) {
  const WorkerProcess worker({.command = {product("samples/echo")}, .environment = {"FCGI_WEB_SERVER_ADDRS=10.0.0.1"}});
  EXPECT_EQ(ask(worker.connect(), "/body", "in"), "in");
}

TEST(Worker, RefusesWebServerAddressesThatAreNone) {
  const WorkerProcess worker(
      {.command = {product("samples/echo")}, .environment = {"FCGI_WEB_SERVER_ADDRS=localhost"}});
  EXPECT_TRUE(wait_until([&] { return worker.output().find("\"localhost\" is no IP address") != std::string::npos; }));
}

TEST(Worker, SharesItsSocketWithOthers) {
  const TempFolder folder;
  const Fd socket = listen_on(folder / "socket");
  std::vector<Process> workers;
  for (int i = 0; i < 4; ++i)
    workers.push_back(Process({.command = {product("samples/echo")}, .stdin_fd = socket.get()}));
  for (int round = 0; round < 3; ++round) {
    std::vector<std::thread> clients;
    std::atomic<int> wrong = 0;
    for (int i = 0; i < 8; ++i) {
      clients.emplace_back([&, i] {
        for (int k = 0; k < 50; ++k) {
          const std::string nonce = std::to_string(i) + "/" + std::to_string(k);
          wrong += ask(FastcgiClient::to_unix(folder / "socket"), "/body", nonce) != nonce;
        }
      });
    }
    for (std::thread& client : clients) client.join();
    EXPECT_EQ(wrong, 0);
    workers.back().kill();
    workers.pop_back();
  }
}

TEST(Worker, ClosesItsLongestIdleConnectionAboveItsLimit) {
  const TempFolder folder;
  const Fd socket = listen_on(folder / "socket");
  // Half of its descriptors may be connections: 30.
  const Process worker(
      {.command = {"/bin/sh", "-c", "ulimit -n 60; exec " + product("samples/echo")}, .stdin_fd = socket.get()});
  std::vector<FastcgiClient> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(FastcgiClient::to_unix(folder / "socket"));
    clients.back().request(1, get_params("/body"), "x");
    ASSERT_EQ(body_of(clients.back().answer(1)), "x") << i;
  }
  EXPECT_TRUE(clients[0].is_closed());
  EXPECT_TRUE(clients[69].is_closed());
  clients[70].request(1, get_params("/body"), "still");
  EXPECT_EQ(body_of(clients[70].answer(1)), "still");
}

TEST(Worker, LivesOnWhenNobodyReadsItsLog) {
  const TempFolder folder;
  const Fd socket = listen_on(folder / "socket");
  // Its stderr is a pipe whose reader has ended.
  Process worker(
      {.command = {"/bin/bash", "-c", "exec " + product("samples/echo") + " 2> >(true)"}, .stdin_fd = socket.get()});
  for (int i = 0; i < 5; ++i) {
    FastcgiClient bad = FastcgiClient::to_unix(folder / "socket");
    bad.send("\x02nonsense");
    EXPECT_TRUE(bad.is_closed());
  }
  EXPECT_EQ(ask(FastcgiClient::to_unix(folder / "socket"), "/body", "x"), "x");
  EXPECT_TRUE(worker.is_running());
}

// ---- the guest book ----

TEST(Guestbook, IsWrittenBySeveralWorkersAtOnce) {
  const TempFolder folder;
  const Fd socket = listen_on(folder / "socket");
  std::vector<Process> workers;
  for (int i = 0; i < 4; ++i) {
    workers.push_back(Process({.command = {product("samples/guestbook")},
                               .environment = {"GUESTBOOK_DB=" + (folder / "book.db")},
                               .stdin_fd = socket.get(),
                               .stderr_file = folder / "log"}));
  }
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      for (int k = 0; k < 10; ++k) {
        FastcgiClient client = FastcgiClient::to_unix(folder / "socket");
        client.request(1, get_params("/", {{"REQUEST_METHOD", "POST"}}),
                       "name=J%C3%BCrgen&message=%3Cb%3E" + std::to_string(i) + "-" + std::to_string(k));
        EXPECT_TRUE(client.answer(1).out.find("Status: 303 ") != std::string::npos);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  const std::string page = ask(FastcgiClient::to_unix(folder / "socket"), "/");
  for (int i = 0; i < 4; ++i) {
    for (int k = 0; k < 10; ++k) {
      EXPECT_NE(page.find("&lt;b&gt;" + std::to_string(i) + "-" + std::to_string(k) + "</p>"), std::string::npos);
    }
  }
  EXPECT_NE(page.find("<h2>Jürgen</h2>"), std::string::npos);
  EXPECT_EQ(read_file(folder / "log"), "");
  for (Process& worker : workers) EXPECT_TRUE(worker.is_running());
}

TEST(Guestbook, RefusesWhatIsNoEntry) {
  const TempFolder folder;
  const WorkerProcess worker(
      {.command = {product("samples/guestbook")}, .environment = {"GUESTBOOK_DB=" + (folder / "book.db")}});
  const auto status_of = [&](const std::string& method, const std::string& form) {
    FastcgiClient client = worker.connect();
    client.request(1, get_params("/", {{"REQUEST_METHOD", method}}), form);
    const std::string out = client.answer(1).out;
    const auto at = out.find("Status: ");
    return at == std::string::npos ? "200" : out.substr(at + 8, 3);
  };
  EXPECT_EQ(status_of("POST", "name=&message=x"), "400");
  EXPECT_EQ(status_of("POST", "name=a"), "400");
  EXPECT_EQ(status_of("POST", "name=a&message=%ff"), "400");
  EXPECT_EQ(status_of("POST", "name=a&message=%00"), "400");
  EXPECT_EQ(status_of("POST", "name=a&message=" + std::string(5'000, 'x')), "400");
  EXPECT_EQ(status_of("POST", std::string(100'000, 'x')), "413");
  EXPECT_EQ(status_of("DELETE", ""), "405");
  EXPECT_EQ(status_of("GET", ""), "200");
  EXPECT_EQ(status_of("POST", "name=a&message=b"), "303");
}

}  // namespace
}  // namespace cppfcgi::test
