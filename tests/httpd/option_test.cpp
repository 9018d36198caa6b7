// What the options of FastCgiServer do to the workers of a real server. (What they do to a request stands with the
// requests.)
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include "shared/fd.h"
#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;

class Option : public testing::Test {
 protected:
  // The only worker of a pool with these options.
  pid_t worker_with(const std::string& options) {
    httpd_ = std::make_unique<HttpdServer>(
        HttpdOptions{.config = "FastCgiServer @ROOT@/bin/hello -mount / " + options + "\n",
                     .environment = {"HAD=by httpd", "NOT_ASKED_FOR=x"}});
    httpd_->install("samples/hello");
    httpd_->start();
    EXPECT_EQ(get(httpd_->port(), "/").status, 200);
    const auto workers = httpd_->processes_of("hello");
    return workers.size() == 1 ? workers.front() : 0;
  }

  std::string socket_path() const {
    for (const auto& entry : fs::recursive_directory_iterator(httpd_->root() + "/run"))
      if (entry.is_socket()) return entry.path();
    return {};
  }

  std::unique_ptr<HttpdServer> httpd_;
};

std::set<std::string> environment_of(pid_t pid) {
  std::set<std::string> variables;
  const std::string text = read_file("/proc/" + std::to_string(pid) + "/environ");
  for (std::size_t at = 0; at < text.size(); at = text.find('\0', at) + 1)
    variables.insert(text.substr(at, text.find('\0', at) - at));
  return variables;
}

TEST_F(Option, InitialEnvIsAllOfTheEnvironmentButPath) {
  auto variables = environment_of(
      worker_with("-initial-env A=1 -initial-env \"B=two words\" -initial-env C= -initial-env D=x=y -initial-env HAD "
                  "-initial-env HAD_NOT"));
  std::erase_if(variables, [](const std::string& each) {
    return each.starts_with("PATH=") || each.starts_with("CPPFCGI_");  // the manager's own words to the library
  });
  EXPECT_EQ(variables, (std::set<std::string>{"A=1", "B=two words", "C=", "D=x=y", "HAD=by httpd", "HAD_NOT="}));
}

TEST_F(Option, PriorityIsTheWorkersNiceValue) {
  const pid_t worker = worker_with("-priority 7");
  EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(worker)), 7);
  EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(httpd_->pid())), ::getpriority(PRIO_PROCESS, 0));
}

std::string status_of(pid_t pid, const std::string& name) {
  const std::string text = read_file("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = text.find("\n" + name + ":\t");
  return at == std::string::npos ? ""
                                 : text.substr(at + name.size() + 3, text.find('\n', at + 1) - at - name.size() - 3);
}

// The soft limit, as /proc says it.
std::string limit_of(pid_t pid, const std::string& name) {
  std::istringstream limits(read_file("/proc/" + std::to_string(pid) + "/limits"));
  for (std::string line; std::getline(limits, line);) {
    if (!line.starts_with(name)) continue;
    std::istringstream words(line.substr(name.size()));
    std::string soft;
    words >> soft;
    return soft;
  }
  return "";
}

TEST_F(Option, ChdirUmaskAndLimitsAreTheWorkers) {
  const pid_t worker =
      worker_with("-chdir htdocs -umask 027 -rlimit-as 1G -rlimit-nofile 64 -rlimit-cpu 1h -rlimit-core 0");
  EXPECT_EQ(fs::read_symlink("/proc/" + std::to_string(worker) + "/cwd"), httpd_->root() + "/htdocs");
  EXPECT_EQ(status_of(worker, "Umask"), "0027");
  EXPECT_EQ(limit_of(worker, "Max address space"), "1073741824");
  EXPECT_EQ(limit_of(worker, "Max open files"), "64");
  EXPECT_EQ(limit_of(worker, "Max cpu time"), "3600");
  EXPECT_EQ(limit_of(worker, "Max core file size"), "0");
}

TEST_F(Option, WithoutThemAWorkerStartsBesideItsProgram) {
  const pid_t worker = worker_with("");
  EXPECT_EQ(fs::read_symlink("/proc/" + std::to_string(worker) + "/cwd"), httpd_->root() + "/bin");
  EXPECT_EQ(limit_of(worker, "Max address space"), limit_of(::getpid(), "Max address space"));
}

// So many connections wait while nobody accepts, and one more: the kernel counts from 0.
TEST_F(Option, ListenQueueDepthIsTheSocketsBacklog) {
  const pid_t worker = worker_with("-listen-queue-depth 5");
  ASSERT_EQ(::kill(worker, SIGSTOP), 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  ASSERT_LT(socket_path().size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, socket_path().c_str(), socket_path().size() + 1);
  std::vector<Fd> waiting;
  for (int i = 0; i < 20; ++i) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) break;
    waiting.push_back(std::move(fd));
  }
  EXPECT_EQ(waiting.size(), 6U);
  ASSERT_EQ(::kill(worker, SIGCONT), 0);
}

}  // namespace
}  // namespace cppfcgi::test
