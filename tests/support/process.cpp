#include "tests/support/process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>

#include "shared/fd.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::test {

namespace {

std::set<pid_t>& started() {
  static std::set<pid_t> pids;
  return pids;
}

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what + ": " + std::strerror(errno)); }

struct Stat {
  char state = '?';
  pid_t parent = 0;
  std::uint64_t start_time = 0;
};

std::optional<Stat> read_stat(pid_t pid) {
  const std::string text = read_file("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 2));
  Stat stat;
  fields >> stat.state >> stat.parent;
  std::string skipped;
  for (int field = 5; field < 22; ++field) fields >> skipped;
  fields >> stat.start_time;
  return fields ? std::optional(stat) : std::nullopt;
}

std::vector<pid_t> all_pids() {
  std::vector<pid_t> pids;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) fail("opendir /proc");
  while (const dirent* entry = ::readdir(proc)) {
    const int pid = std::atoi(entry->d_name);
    if (pid > 0) pids.push_back(pid);
  }
  ::closedir(proc);
  return pids;
}

std::vector<std::string> environment_for(const Spawn& spawn) {
  std::map<std::string, std::string> merged;
  auto add = [&](const std::string& pair) { merged[pair.substr(0, pair.find('='))] = pair; };
  if (!spawn.has_clean_environment) {
    for (char** pair = environ; *pair != nullptr; ++pair) add(*pair);
  }
  for (const std::string& pair : spawn.environment) add(pair);
  if (!spawn.preload.empty()) add("LD_PRELOAD=" + spawn.preload);
  std::vector<std::string> pairs;
  for (const auto& [name, pair] : merged) pairs.push_back(pair);
  return pairs;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const std::string& string : strings) result.push_back(const_cast<char*>(string.c_str()));
  result.push_back(nullptr);
  return result;
}

Fd open_for(const std::string& path, int flags) {
  Fd fd(::open(path.empty() ? "/dev/null" : path.c_str(), flags | O_CLOEXEC, 0666));
  if (!fd) fail("open " + path);
  return fd;
}

std::string hex_port(int port) {
  char text[8];
  std::snprintf(text, sizeof text, "%04X", port);
  return text;
}

// The child's part: system calls only.
struct ChildPlan {
  int in = -1, out = -1, err = -1;
  const char* folder = nullptr;
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t parent = 0;
};

[[noreturn]] void become(const ChildPlan& plan, char* const* argv, char* const* envp) {
  ::setsid();  // httpd signals its process group, which must not be the test's
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < 32; ++number) ::sigaction(number, &standard, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  rlimit core{};
  ::getrlimit(RLIMIT_CORE, &core);
  core.rlim_cur = core.rlim_max;
  ::setrlimit(RLIMIT_CORE, &core);
  const int in = ::fcntl(plan.in, F_DUPFD, 10), out = ::fcntl(plan.out, F_DUPFD, 10),
            err = ::fcntl(plan.err, F_DUPFD, 10);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  ::close_range(3, ~0U, 0);
  if (plan.folder != nullptr && ::chdir(plan.folder) != 0) ::_exit(125);
  if (plan.uid != 0 && (::setgroups(0, nullptr) != 0 || ::setgid(plan.gid) != 0 || ::setuid(plan.uid) != 0))
    ::_exit(124);
  // A crash of the test must not leave its servers behind. (Changing the user would clear it.)
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != plan.parent) ::_exit(126);
  ::execvpe(argv[0], argv, envp);
  ::_exit(127);
}

}  // namespace

Process::Process(const Spawn& spawn) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const std::vector<std::string> environment = environment_for(spawn);
  const std::vector<char*> argv = pointers(spawn.command), envp = pointers(environment);
  ChildPlan plan;
  plan.parent = ::getpid();
  Fd null_in;
  if (spawn.stdin_fd < 0) null_in = open_for("", O_RDONLY);
  const Fd out = open_for(spawn.stdout_file, O_WRONLY | O_APPEND | O_CREAT);
  const Fd err = open_for(spawn.stderr_file, O_WRONLY | O_APPEND | O_CREAT);
  plan.in = spawn.stdin_fd < 0 ? null_in.get() : spawn.stdin_fd;
  plan.out = out.get();
  plan.err = err.get();
  if (!spawn.folder.empty()) plan.folder = spawn.folder.c_str();
  if (!spawn.user.empty() && ::geteuid() == 0) {
    const passwd* user = ::getpwnam(spawn.user.c_str());
    if (user == nullptr) throw std::runtime_error("no user " + spawn.user);
    plan.uid = user->pw_uid;
    plan.gid = user->pw_gid;
  }
  pid_ = ::fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) become(plan, argv.data(), envp.data());
  started().insert(pid_);
}

Process::Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, 0)), status_(other.status_) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    kill();
    pid_ = std::exchange(other.pid_, 0);
    status_ = other.status_;
  }
  return *this;
}

Process::~Process() { kill(); }

bool Process::is_running() { return pid_ > 0 && !wait(Milliseconds(0)); }

void Process::signal(int number) const {
  if (pid_ > 0 && !status_) ::kill(pid_, number);
}

std::optional<int> Process::wait(Milliseconds within) {
  if (pid_ <= 0) return std::nullopt;
  wait_until(
      [&] {
        int status = 0;
        if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
          status_ = status;
          started().erase(pid_);
        }
        return status_.has_value();
      },
      within);
  return status_;
}

void Process::kill() {
  if (pid_ <= 0 || status_) return;
  signal(SIGKILL);
  wait();
}

RunResult run(const std::vector<std::string>& command, Milliseconds within,
              const std::vector<std::string>& environment) {
  const TempFolder folder("cppfcgi-run");
  Process process({.command = command,
                   .environment = environment,
                   .stdout_file = folder / "output",
                   .stderr_file = folder / "output"});
  const std::optional<int> status = process.wait(within);
  if (!status) throw std::runtime_error(command.at(0) + " did not end in time");
  return {WIFEXITED(*status) ? WEXITSTATUS(*status) : 128 + WTERMSIG(*status), read_file(folder / "output")};
}

std::optional<ProcessId> process_id(pid_t pid) {
  const auto stat = read_stat(pid);
  if (!stat) return std::nullopt;
  return ProcessId{pid, stat->start_time};
}

bool is_alive(const ProcessId& process) {
  const auto stat = read_stat(process.pid);
  return stat && stat->start_time == process.start_time && stat->state != 'Z' && stat->state != 'X';
}

std::string command_line(pid_t pid) {
  std::string text = read_file("/proc/" + std::to_string(pid) + "/cmdline");
  std::replace(text.begin(), text.end(), '\0', ' ');
  return std::to_string(pid) + " (" + text + ")";
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  for (const pid_t other : all_pids()) {
    const auto stat = read_stat(other);
    if (stat && stat->parent == pid && stat->state != 'Z') children.push_back(other);
  }
  return children;
}

std::vector<pid_t> descendants_of(pid_t pid) {
  std::multimap<pid_t, pid_t> by_parent;
  for (const pid_t other : all_pids()) {
    const auto stat = read_stat(other);
    if (stat && stat->state != 'Z') by_parent.emplace(stat->parent, other);
  }
  std::vector<pid_t> found{pid};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto [first, last] = by_parent.equal_range(found[i]);
    for (auto child = first; child != last; ++child) found.push_back(child->second);
  }
  found.erase(found.begin());
  return found;
}

std::size_t resident_bytes(pid_t pid) {
  const std::string text = read_file("/proc/" + std::to_string(pid) + "/status");
  const auto at = text.find("VmRSS:");
  return at == std::string::npos ? 0 : std::stoull(text.substr(at + 6)) * 1024;
}

std::size_t open_descriptors(pid_t pid) {
  std::error_code gone;
  const std::filesystem::directory_iterator entries("/proc/" + std::to_string(pid) + "/fd", gone);
  return gone ? 0 : static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

std::string executable_of(pid_t pid) {
  std::error_code gone;
  return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", gone).string();
}

std::vector<pid_t> adopted_orphans() {
  std::vector<pid_t> orphans;
  for (const pid_t pid : all_pids()) {
    const auto stat = read_stat(pid);
    if (!stat || stat->parent != ::getpid() || started().contains(pid)) continue;
    if (::waitpid(pid, nullptr, WNOHANG) != pid) orphans.push_back(pid);
  }
  return orphans;
}

int free_port() {
  static std::mt19937 random(std::random_device{}());
  for (int attempt = 0; attempt < 200; ++attempt) {
    const int port = 12'000 + static_cast<int>(random() % 20'000);
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return port;
  }
  throw std::runtime_error("no free port on 127.0.0.1");
}

bool has_connections_to_close(int port) {
  std::istringstream lines(read_file("/proc/net/tcp"));
  std::string line;
  for (std::getline(lines, line); std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string number, local, remote, state;
    fields >> number >> local >> remote >> state;
    if (state == "08" && local.ends_with(":" + hex_port(port))) return true;
  }
  return false;
}

bool is_at_rest(pid_t pid) {
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
    const std::string stat = read_file(task.path() / "stat");
    const auto name_end = stat.rfind(") ");
    if (name_end != std::string::npos && stat[name_end + 2] != 'S') return false;
  }
  return true;
}

}  // namespace cppfcgi::test
