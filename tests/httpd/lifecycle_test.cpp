// httpd, the manager and the workers over time: start, graceful and other restarts, changed configurations, the
// manager's death, httpd's end. Processes are told apart by pid; requests are other tests' matter.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;
using Pids = std::vector<pid_t>;

std::string pool(const std::string& program, const std::string& options = "") {
  return "FastCgiServer @ROOT@/bin/" + program + ' ' + options + '\n';
}

bool has_workers(const HttpdServer& httpd, const std::string& program, std::size_t count) {
  return wait_until([&] { return httpd.processes_of(program).size() == count; });
}

// The workers of this program once there are so many of them.
Pids workers_of(const HttpdServer& httpd, const std::string& program, std::size_t count) {
  Pids workers;
  EXPECT_TRUE(wait_until([&] { return (workers = httpd.processes_of(program)).size() == count; }))
      << workers.size() << " of " << program << ", not " << count;
  if (workers.size() != count) throw std::runtime_error("the workers of " + program + " did not come");
  return workers;
}

pid_t manager_of(const HttpdServer& httpd) {
  Pids managers;
  EXPECT_TRUE(wait_until([&] { return (managers = httpd.managers()).size() == 1; })) << managers.size() << " managers";
  return managers.empty() ? -1 : managers.front();
}

bool has_other_manager(const HttpdServer& httpd, pid_t before) {
  const Pids managers = httpd.managers();
  return managers.size() == 1 && managers.front() != before;
}

std::string status_line(pid_t pid, const std::string& name) {
  const std::string text = read_file("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = text.find("\n" + name + ":\t");
  return at == text.npos ? "" : text.substr(at + name.size() + 3, text.find('\n', at + 1) - at - name.size() - 3);
}

std::vector<std::string> descriptors_of(pid_t pid) {
  std::vector<std::string> targets;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code gone;
    const fs::path target = fs::read_symlink(entry.path(), gone);
    if (!gone) targets.push_back(target);
  }
  return targets;
}

// After the kill of its parent alone, httpd leaves its children behind. That is its own matter.
void end_orphans_of_httpd() {
  EXPECT_TRUE(wait_until([] {
    const Pids orphans = adopted_orphans();
    for (const pid_t pid : orphans) kill(pid, SIGKILL);
    return orphans.empty();
  }));
}

class LifecycleUnder : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Mpm, LifecycleUnder, testing::Values("event", "worker", "prefork"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(LifecycleUnder, StopLeavesNothing) {
  HttpdServer httpd({.mpm = GetParam(), .config = pool("hello", "-processes 3")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 3);
  httpd.stop();
  EXPECT_TRUE(httpd.processes_of("hello").empty());
  EXPECT_TRUE(httpd.managers().empty());
  EXPECT_TRUE(fs::is_empty(httpd.root() + "/run/cppfcgi"));
}

TEST_P(LifecycleUnder, GracefulAndOtherRestartsKeepWorkersAndManager) {
  HttpdServer httpd({.mpm = GetParam(), .config = pool("hello", "-processes 3")});
  httpd.install("samples/hello");
  httpd.start();
  const Pids workers = workers_of(httpd, "hello", 3);
  const pid_t manager = manager_of(httpd);
  for (int i = 0; i < 3; ++i) {
    httpd.graceful();
    httpd.restart();
  }
  EXPECT_EQ(httpd.processes_of("hello"), workers);
  EXPECT_EQ(manager_of(httpd), manager);
}

TEST_P(LifecycleUnder, AfterTheKillOfHttpdNothingIsLeft) {
  HttpdServer httpd({.mpm = GetParam(), .config = pool("hello", "-processes 3")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 3);
  httpd.kill_9();
  EXPECT_TRUE(has_workers(httpd, "hello", 0));
  EXPECT_TRUE(wait_until([&] { return httpd.managers().empty(); }));
}

TEST(Lifecycle, AfterTheKillOfHttpdsParentAloneTheWorkersEnd) {
  HttpdServer httpd({.config = pool("hello", "-processes 3")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 3);
  kill(httpd.pid(), SIGKILL);
  EXPECT_TRUE(
      wait_until([&] { return httpd.processes_of("hello").empty() && httpd.managers().empty(); }, Milliseconds(3'000)));
  end_orphans_of_httpd();
  httpd.kill_9();
}

TEST(Lifecycle, WorksDetachedAsApachectlStartsIt) {
  HttpdServer httpd({.is_detached = true, .config = pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  const Pids workers = workers_of(httpd, "hello", 2);
  httpd.graceful();
  EXPECT_EQ(httpd.processes_of("hello"), workers);
  httpd.graceful_stop();
}

// The first request for a dynamic application may come at any time.
TEST(Lifecycle, WithoutAPoolThereIsAManagerAllTheSame) {
  HttpdServer httpd({});
  httpd.start();
  manager_of(httpd);
}

TEST(Lifecycle, GracefulAddsAPool) {
  HttpdServer httpd({});
  httpd.install("samples/hello");
  httpd.start();
  httpd.set_config(pool("hello", "-processes 2"));
  httpd.graceful();
  workers_of(httpd, "hello", 2);
  manager_of(httpd);
}

TEST(Lifecycle, GracefulEndsARemovedPoolOnceTheOldChildrenAreGone) {
  HttpdServer httpd({.config = pool("hello", "-processes 2") + pool("other")});
  httpd.install("samples/hello");
  httpd.install("samples/hello", "other");
  httpd.start();
  workers_of(httpd, "other", 1);
  const Pids kept = workers_of(httpd, "hello", 2);
  // A child that has a connection open lives on, and may send requests to the removed pool.
  HttpConnection connection(httpd.port());
  connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n");
  httpd.set_config(pool("hello", "-processes 2"));
  httpd.graceful();
  EXPECT_EQ(httpd.processes_of("other").size(), 1U);
  connection.close();
  EXPECT_TRUE(has_workers(httpd, "other", 0));
  EXPECT_EQ(httpd.processes_of("hello"), kept);
}

TEST(Lifecycle, GracefulRemovesTheLastPool) {
  HttpdServer httpd({.config = pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 2);
  httpd.set_config("");
  httpd.graceful();
  EXPECT_TRUE(has_workers(httpd, "hello", 0));
  httpd.set_config(pool("hello", "-processes 2"));
  httpd.graceful();
  workers_of(httpd, "hello", 2);
}

TEST(Lifecycle, ARestartThatIsNotGracefulEndsARemovedPool) {
  HttpdServer httpd({.config = pool("hello") + pool("other")});
  httpd.install("samples/hello");
  httpd.install("samples/hello", "other");
  httpd.start();
  workers_of(httpd, "other", 1);
  httpd.set_config(pool("hello"));
  httpd.restart();
  EXPECT_TRUE(has_workers(httpd, "other", 0));
}

TEST(Lifecycle, GracefulReplacesTheWorkersOfAChangedPool) {
  HttpdServer httpd({.config = pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  const Pids before = workers_of(httpd, "hello", 2);
  httpd.set_config(pool("hello", "-processes 2 -initial-env A=1"));
  httpd.graceful();
  EXPECT_TRUE(wait_until([&] {
    const Pids now = httpd.processes_of("hello");
    return now.size() == 2 && std::find_first_of(now.begin(), now.end(), before.begin(), before.end()) == now.end();
  }));
}

// ---- the manager's death ----

TEST(Lifecycle, AnotherManagerTakesTheWorkersOver) {
  HttpdServer httpd({.config = pool("hello", "-processes 3")});
  httpd.install("samples/hello");
  httpd.start();
  const Pids workers = workers_of(httpd, "hello", 3);
  httpd.expect_log("the manager \\(pid [0-9]+\\) died: signal 9; starting another");
  const pid_t first = manager_of(httpd);
  kill(first, SIGKILL);
  EXPECT_TRUE(wait_until([&] { return has_other_manager(httpd, first); }, Milliseconds(2'000)));
  EXPECT_EQ(httpd.processes_of("hello"), workers);

  // It looks after them: the one that dies is replaced.
  ASSERT_TRUE(httpd.wait_for_log("took over"));
  httpd.allow_log("pool .*hello.* (died|ended|exit|signal)");
  kill(workers[0], SIGKILL);
  EXPECT_TRUE(wait_until([&] {
    const Pids now = httpd.processes_of("hello");
    return now.size() == 3 && std::find(now.begin(), now.end(), workers[0]) == now.end();
  }));
}

TEST(Lifecycle, ManagersMayDieAgainAndAgain) {
  HttpdServer httpd({.config = pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  const Pids workers = workers_of(httpd, "hello", 2);
  httpd.expect_log("the manager .* died");
  httpd.allow_log("the manager .* did not answer");  // killed before it could
  for (int i = 0; i < 3; ++i) {
    const pid_t manager = manager_of(httpd);
    kill(manager, SIGKILL);
    EXPECT_TRUE(wait_until([&] { return has_other_manager(httpd, manager); }, Milliseconds(3'000)));
  }
  EXPECT_EQ(httpd.processes_of("hello"), workers);
}

TEST(Lifecycle, WhereTheManagerDiesJustBeforeStopNothingIsLeft) {
  HttpdServer httpd({.config = pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 2);
  httpd.allow_log("the manager .* died");
  kill(manager_of(httpd), SIGKILL);
  httpd.stop();
  EXPECT_TRUE(httpd.processes_of("hello").empty());
}

TEST(Lifecycle, AManagerThatDiedDuringARestartIsReplacedByIt) {
  HttpdServer httpd({.config = pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  const Pids workers = workers_of(httpd, "hello", 2);
  const pid_t manager = manager_of(httpd);
  httpd.allow_log("manager");
  kill(manager, SIGKILL);
  httpd.graceful();
  EXPECT_NE(manager_of(httpd), manager);
  EXPECT_EQ(httpd.processes_of("hello"), workers);
}

// httpd's parent may notice the end of a generation just before that of the manager: where the child is the older of
// the two.
TEST(Lifecycle, AGenerationThatEndsWithTheManagerIsNoFailure) {
  HttpdServer httpd({.config = pool("hello")});
  httpd.install("samples/hello");
  httpd.start();
  httpd.expect_log("the manager .* died");
  const pid_t first = manager_of(httpd);
  kill(first, SIGKILL);
  ASSERT_TRUE(wait_until([&] { return has_other_manager(httpd, first); }));
  ASSERT_TRUE(httpd.wait_for_log("took over"));
  HttpConnection connection(httpd.port());
  connection.send("GET / HTTP/1.1\r\nHost: localhost\r\n");
  httpd.graceful();
  const pid_t second = manager_of(httpd);
  kill(second, SIGKILL);
  connection.close();
  EXPECT_TRUE(wait_until([&] { return has_other_manager(httpd, second); }));
}

TEST(Lifecycle, AManagerThatHangsIsReplacedAtTheNextRestart) {
  HttpdServer httpd({.config = pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  const Pids workers = workers_of(httpd, "hello", 2);
  const pid_t manager = manager_of(httpd);
  httpd.expect_log("the manager \\(pid [0-9]+\\) did not answer");
  kill(manager, SIGSTOP);
  httpd.graceful();
  EXPECT_NE(manager_of(httpd), manager);
  EXPECT_EQ(httpd.processes_of("hello"), workers);
}

TEST(Lifecycle, AManagerThatDoesNotWorkStopsTheStart) {
  HttpdServer httpd({.config = "FastCgiManager @ROOT@/bin/false\n" + pool("hello")});
  httpd.install("samples/hello");
  copy_program("/bin/false", httpd.root() + "/bin/false");
  httpd.expect_log("the manager \\(pid [0-9]+\\) did not answer");
  httpd.allow_log("AH00020");
  EXPECT_THROW(httpd.start(), std::runtime_error);
}

// ---- httpd's children ----

TEST(Lifecycle, AChildThatIsKilledGivesItsWorkersBack) {
  HttpdServer httpd({.config = pool("echo", "-mount / -appConnTimeout 20s")});
  httpd.install("samples/echo");
  httpd.start();
  workers_of(httpd, "echo", 1);
  httpd.allow_log("exit signal|echo: sleep stopped");
  HttpConnection asleep(httpd.port());
  asleep.send(request_text("GET", "/sleep?ms=60000"));
  // Nobody else is served while the only worker sleeps.
  HttpConnection waiting(httpd.port());
  waiting.send(request_text("GET", "/pid"));
  EXPECT_FALSE(waiting.is_closed(Milliseconds(200)));
  for (const pid_t child : httpd.httpd_children()) kill(child, SIGKILL);
  const auto begin = Clock::now();
  ASSERT_TRUE(wait_until([&] { return get(httpd.port(), "/pid").status == 200; }));
  EXPECT_LT(Clock::now() - begin, Milliseconds(5'000));
}

// A daemon that another module forks holds copies of the parent's descriptors, and must not keep the manager alive.
TEST(Lifecycle, OtherModulesDaemonsDoNotKeepTheManager) {
  HttpdServer httpd({.modules = {"cgid"}, .config = "ScriptSock @ROOT@/tmp/cgid\n" + pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 2);
  httpd.graceful();
  httpd.allow_log("cgid");
  kill(httpd.pid(), SIGKILL);
  EXPECT_TRUE(
      wait_until([&] { return httpd.processes_of("hello").empty() && httpd.managers().empty(); }, Milliseconds(3'000)));
  end_orphans_of_httpd();
  fs::remove(httpd.root() + "/tmp/cgid." + std::to_string(httpd.pid()));
  httpd.kill_9();
}

// ---- files, users, descriptors ----

TEST(Lifecycle, AProgramThatIsMissingAtARestartDoesNotEndHttpd) {
  HttpdServer httpd({.config = pool("hello", "-processes 2") + pool("other")});
  httpd.install("samples/hello");
  httpd.install("samples/hello", "other");
  httpd.start();
  const Pids workers = workers_of(httpd, "hello", 2);
  workers_of(httpd, "other", 1);
  fs::remove(httpd.root() + "/bin/other");
  httpd.expect_log("on line [0-9]+ of .*: FastCgiServer: .*/bin/other: no such program");
  httpd.graceful();
  EXPECT_EQ(httpd.processes_of("hello"), workers);
}

TEST(Lifecycle, OldFoldersOfDeadServersAreCleared) {
  HttpdServer httpd({.config = "FastCgiIpcDir @ROOT@/tmp/ipc\n" + pool("hello")});
  httpd.install("samples/hello");
  const std::string folder = httpd.root() + "/tmp/ipc";
  Process gone({.command = {"/bin/true"}});
  const std::string dead = std::to_string(gone.pid());
  gone.wait();
  for (const std::string& name : {folder, folder + "/" + dead, folder + "/1", folder + "/notes"}) {
    fs::create_directory(name);
    fs::permissions(name, fs::perms(0777));
  }
  write_file(folder + "/" + dead + "/0123456789abcdef.0", "");
  httpd.start();
  workers_of(httpd, "hello", 1);
  EXPECT_FALSE(fs::exists(folder + "/" + dead));
  EXPECT_TRUE(fs::exists(folder + "/1"));
  EXPECT_TRUE(fs::exists(folder + "/notes"));
  EXPECT_TRUE(fs::exists(folder + "/" + std::to_string(httpd.pid())));
}

TEST(Lifecycle, AnotherIpcFolderWaitsForTheNextStart) {
  HttpdServer httpd({.config = "FastCgiIpcDir @ROOT@/tmp/one\n" + pool("hello")});
  httpd.install("samples/hello");
  httpd.start();
  const Pids workers = workers_of(httpd, "hello", 1);
  httpd.set_config("FastCgiIpcDir @ROOT@/tmp/two\n" + pool("hello"));
  httpd.expect_log("FastCgiIpcDir: changed, but .*/tmp/one/[0-9]+ is kept until httpd is stopped and started");
  httpd.graceful();
  EXPECT_EQ(httpd.processes_of("hello"), workers);
}

TEST(Lifecycle, SocketsAreTheUsersAlone) {
  HttpdServer httpd({.config = pool("hello", "-processes 2")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 2);
  const std::string folder = httpd.root() + "/run/cppfcgi/" + std::to_string(httpd.pid());
  int sockets = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    struct stat status {};
    ASSERT_EQ(stat(entry.path().c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    EXPECT_TRUE(geteuid() != 0 || status.st_uid != 0);
    ++sockets;
  }
  EXPECT_EQ(sockets, 3);  // one for a successor
  struct stat status {};
  ASSERT_EQ(stat(folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0711U);
}

TEST(Lifecycle, ManagerAndWorkersRunAsUserWithoutCapabilities) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  HttpdServer httpd({.config = pool("hello")});
  httpd.install("samples/hello");
  httpd.start();
  const pid_t child = httpd.httpd_children().at(0);
  for (const pid_t pid : {workers_of(httpd, "hello", 1).front(), manager_of(httpd)}) {
    for (const char* name : {"Uid", "Gid", "Groups"})
      EXPECT_EQ(status_line(pid, name), status_line(child, name)) << name << " of " << command_line(pid);
    EXPECT_EQ(status_line(pid, "CapEff"), "0000000000000000");
  }
}

// The manager's descriptors are not the children's: they could pretend to be httpd's parent, or rewrite the directory.
TEST_P(LifecycleUnder, HttpdsChildrenHaveViewsOnly) {
  HttpdServer httpd({.mpm = GetParam(), .config = pool("hello")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 1);
  httpd.graceful();
  const auto has_memory = [](pid_t pid) {
    const auto targets = descriptors_of(pid);
    return std::any_of(targets.begin(), targets.end(),
                       [](const std::string& target) { return target.find("memfd:cppfcgi") != target.npos; });
  };
  EXPECT_TRUE(has_memory(httpd.pid()));
  ASSERT_TRUE(wait_until([&] { return !httpd.httpd_children().empty(); }));
  const Pids children = httpd.httpd_children();
  EXPECT_TRUE(wait_until([&] { return std::none_of(children.begin(), children.end(), has_memory); }));
  // Of one that serves: others may be about to end, or not begun.
  std::string maps;
  EXPECT_TRUE(wait_until([&] {
    for (const pid_t child : httpd.httpd_children()) {
      maps = read_file("/proc/" + std::to_string(child) + "/maps");
      if (matches(maps, "r--s [^\n]*memfd:cppfcgi-directory")) return true;
    }
    return false;
  })) << maps;
  EXPECT_FALSE(matches(maps, "rw-s [^\n]*memfd:cppfcgi-directory")) << maps;
  EXPECT_TRUE(matches(maps, "rw-s [^\n]*memfd:cppfcgi-load")) << maps;
}

TEST(Lifecycle, RestartsLeakNoDescriptorAndNoView) {
  HttpdServer httpd({.config = pool("hello")});
  httpd.install("samples/hello");
  httpd.start();
  workers_of(httpd, "hello", 1);
  const auto views = [&] {
    const std::string maps = read_file("/proc/" + std::to_string(httpd.pid()) + "/maps");
    std::size_t count = 0;
    for (std::size_t at = maps.find("memfd:cppfcgi"); at != maps.npos; at = maps.find("memfd:cppfcgi", at + 1)) ++count;
    return count;
  };
  // While the manager reads a configuration, that is open besides, and then the error log's file that came with it.
  const auto descriptors = [](pid_t pid) {
    std::vector<std::string> open, before;
    EXPECT_TRUE(wait_until([&] {
      before = std::exchange(open, descriptors_of(pid));
      return open == before && std::ranges::none_of(open, [](const std::string& target) {
               return target.find("cppfcgi-text") != target.npos;
             });
    }));
    return open.size();
  };
  httpd.graceful();
  const std::size_t parent = open_descriptors(httpd.pid()), manager = descriptors(manager_of(httpd)), mapped = views();
  EXPECT_EQ(mapped, 2U);
  for (int i = 0; i < 5; ++i) httpd.graceful();
  EXPECT_EQ(open_descriptors(httpd.pid()), parent);
  EXPECT_EQ(descriptors(manager_of(httpd)), manager);
  EXPECT_EQ(views(), mapped);
}

}  // namespace
}  // namespace cppfcgi::test
