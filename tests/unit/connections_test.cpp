// The rules of mod_cppfcgi/core/connections.h.
#include "mod_cppfcgi/core/connections.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/external.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

Fd some_fd() { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

int keep(Connections& connections, std::uint32_t slot, std::uint32_t generation) {
  Fd fd = some_fd();
  const int number = fd.get();
  connections.keep(slot, generation, std::move(fd));
  return number;
}

TEST(Connections, GivesBackWhatItKeptOnce) {
  Connections connections(4);
  const int kept = keep(connections, 3, 1);
  EXPECT_EQ(connections.take(3, 1).get(), kept);
  EXPECT_FALSE(connections.take(3, 1));
}

TEST(Connections, TellsWorkersApart) {
  Connections connections(4);
  keep(connections, 3, 1);
  EXPECT_FALSE(connections.take(2, 1));
  EXPECT_TRUE(connections.take(3, 1));
}

TEST(Connections, ClosesThoseOfAFormerGeneration) {
  Connections connections(4);
  const int old = keep(connections, 3, 1);
  const int now = keep(connections, 3, 2);
  EXPECT_EQ(connections.take(3, 2).get(), now);
  EXPECT_FALSE(is_open(old));
}

TEST(Connections, ClosesTheLeastRecentlyUsedAboveItsLimit) {
  Connections connections(2);
  const int oldest = keep(connections, 1, 1);
  const int middle = keep(connections, 2, 1);
  connections.keep(1, 1, connections.take(1, 1));  // used again
  keep(connections, 3, 1);
  EXPECT_TRUE(is_open(oldest));
  EXPECT_FALSE(is_open(middle));
}

TEST(Connections, ClosesAllAtItsEnd) {
  int kept = -1;
  {
    Connections connections(2);
    kept = keep(connections, 1, 1);
  }
  EXPECT_FALSE(is_open(kept));
}

TEST(Connections, GivesEachToOneThreadOnly) {
  Connections connections(8);
  std::atomic<int> clashes{0};
  std::vector<std::atomic<int>> holders(1'024);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (std::uint32_t round = 0; round < 2'000; ++round) {
        Fd fd = connections.take(round % 3, 1);
        if (!fd) fd = some_fd();
        std::atomic<int>& holder = holders[static_cast<std::size_t>(fd.get())];
        if (holder.fetch_add(1) != 0) ++clashes;
        holder.fetch_sub(1);
        connections.keep(round % 3, 1, std::move(fd));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(clashes, 0);
}

// ---- connecting ----

struct Listener {
  test::TempFolder folder;
  std::string path = folder / "socket";
  Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};

  explicit Listener(int backlog) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), backlog), 0);
  }
};

TEST(ConnectToWorker, Connects) {
  const Listener listener(4);
  EXPECT_TRUE(connect_to_worker(listener.path, Clock::now() + 1s));
}

TEST(ConnectToWorker, ConnectsByTcpToo) {
  for (const std::string host : {"127.0.0.1:", "[::1]:"}) {
    const std::string address = host + std::to_string(test::free_port());
    EXPECT_EQ(connect_to_worker(address, Clock::now() + 1s).error().what,
              "connect " + address + ": Connection refused");
    const Fd listener = test::listen_at(address);
    const auto connected = connect_to_worker(address, Clock::now() + 1s);
    ASSERT_TRUE(connected) << connected.error().what;
    int no_delay = 0;
    socklen_t bytes = sizeof no_delay;
    EXPECT_EQ(::getsockopt(connected->get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &bytes), 0);
    EXPECT_NE(no_delay, 0);
  }
}

// A listen queue that is full drops what comes, as a host that is gone does.
TEST(ConnectToWorker, WaitsForAnotherHostUntilTheDeadline) {
  const std::string address = "127.0.0.1:" + std::to_string(test::free_port());
  const Fd listener = test::listen_at(address, 0);
  const auto first = connect_to_worker(address, Clock::now() + 1s);
  ASSERT_TRUE(first);
  const auto before = Clock::now();
  const auto second = connect_to_worker(address, before + 100ms);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ETIMEDOUT);
  EXPECT_GE(Clock::now() - before, 100ms);
}

TEST(ConnectToWorker, SaysWhatFailed) {
  const auto connected = connect_to_worker("/nowhere/socket", Clock::now() + 1s);
  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error(), (Error{ENOENT, "connect /nowhere/socket: No such file or directory"}));
  EXPECT_EQ(connect_to_worker('/' + std::string(200, 'x'), Clock::now()).error().code, ENAMETOOLONG);
}

TEST(ConnectToWorker, WaitsForRoomInTheQueueUntilTheDeadline) {
  const Listener listener(0);
  const auto first = connect_to_worker(listener.path, Clock::now() + 1s);
  ASSERT_TRUE(first);
  const auto second = connect_to_worker(listener.path, Clock::now() + 50ms);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EAGAIN);

  std::thread accepting([&] { const Fd accepted(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC)); });
  const auto third = connect_to_worker(listener.path, Clock::now() + 10s);
  accepting.join();
  ASSERT_TRUE(third);
  EXPECT_NE(::fcntl(third->get(), F_GETFL) & O_NONBLOCK, 0);
}

}  // namespace
}  // namespace cppfcgi
