#include "tests/process/manager_rig.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <sstream>
#include <stdexcept>

#include "shared/futex.h"

namespace cppfcgi::test {
namespace {

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return *std::move(result);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

ManagerRig::ManagerRig()
    : directory_(must(make_shared_memory("directory", sizeof(Directory)))),
      load_(must(make_shared_memory("load", sizeof(Load)))),
      nudge_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      directory_view_(must(Mapping::map(directory_.get(), sizeof(Directory), Access::read_only))),
      load_view_(must(Mapping::map(load_.get(), sizeof(Load), Access::read_write))),
      claims_(std::make_unique<Claims>(directory(), load(), wake_one)) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
    throw std::runtime_error("socketpair");
  orders_.reset(ends[0]);
  managers_orders_.reset(ends[1]);
  start_manager();
}

ManagerRig::~ManagerRig() {
  if (manager_ > 0) {
    for (const pid_t child : descendants_of(manager_)) workers_.insert(child);
  }
  if (manager_ > 0 && end_manager() != 0) ADD_FAILURE() << "the manager has failed:\n" << log();
  check_nothing_is_left();
  check_log();
}

void ManagerRig::start_manager() {
  // Orphans come to us, so that descendants_of sees them.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) throw std::runtime_error("socketpair");
  control_.reset(ends[0]);
  const Fd theirs(ends[1]);
  // Inherited: copies without CLOEXEC, as httpd gives them.
  std::vector<Fd> given;
  for (const int fd : {theirs.get(), directory_.get(), load_.get(), nudge_.get(), managers_orders_.get()})
    given.emplace_back(fcntl(fd, F_DUPFD, 30));
  std::vector<std::string> words = {product("cppfcgi-manager"), "--log-level", "info"};
  const char* names[] = {"--control", "--directory", "--load", "--nudge", "--orders"};
  for (std::size_t i = 0; i < given.size(); ++i) {
    words.emplace_back(names[i]);
    words.push_back(std::to_string(given[i].get()));
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const std::string log_file = folder_ / "log";
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int failure = posix_spawn(&manager_, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw std::runtime_error("start the manager");
}

void ManagerRig::kill_manager() {
  ::kill(manager_, SIGKILL);
  await_end();
}

int ManagerRig::end_manager() {
  control_.reset();
  return await_end();
}

int ManagerRig::await_end() {
  int status = 0;
  const pid_t pid = std::exchange(manager_, 0);
  if (wait_until([&] { return waitpid(pid, &status, WNOHANG) == pid; }, Milliseconds(20'000))) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  ::kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return -1;
}

void ManagerRig::nudge() const {
  const std::uint64_t one = 1;
  ASSERT_EQ(write(nudge_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
}

PoolConfig ManagerRig::pool(const Script& script, std::uint32_t processes) {
  PoolConfig pool;
  pool.program = product("tests/process/programs/actor");
  pool.name = "/actor";
  pool.arguments = script;
  pool.environment = {"PATH=/usr/bin:/bin"};
  pool.processes = pool.max_processes = processes;
  return pool;
}

Message ManagerRig::configure(const std::vector<PoolConfig>& pools, const std::vector<std::string>& logs,
                              const std::vector<PoolTemplate>& templates) {
  Message message{.number = ++number_, .text = {}, .descriptors = {}};
  message.descriptors.push_back(
      must(text_to_memory(to_json({.socket_folder = socket_folder(), .pools = pools, .templates = templates}))));
  message.descriptors.emplace_back(open((folder_ / "log").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  for (const std::string& log : logs)
    message.descriptors.emplace_back(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const auto sent = send_message(control_.get(), message);
  if (!sent) throw std::runtime_error(sent.error().what);
  return must(receive_message(control_.get(), Milliseconds(10'000)));
}

void ManagerRig::end_generation() {
  const auto sent = send_message(
      control_.get(), {.kind = MessageKind::generation_ended, .number = number_, .text = {}, .descriptors = {}});
  if (!sent) throw std::runtime_error(sent.error().what);
}

const SlotRow& ManagerRig::slot(const PoolConfig& pool, std::uint32_t index) const {
  const auto found = row(pool);
  if (!found) throw std::runtime_error("the pool has no row");
  return directory().slots[directory().pools[*found].first_slot + index];
}

SlotState ManagerRig::state(const PoolConfig& pool, std::uint32_t index) const {
  return SlotState::unpack(slot(pool, index).state.load());
}

pid_t ManagerRig::pid(const PoolConfig& pool, std::uint32_t index) const { return slot(pool, index).pid.load(); }

std::vector<pid_t> ManagerRig::pids(const PoolConfig& pool) const {
  std::vector<pid_t> all;
  for (std::uint32_t index = 0; index < pool.processes; ++index) all.push_back(pid(pool, index));
  return all;
}

std::vector<pid_t> ManagerRig::serving(const PoolConfig& pool) const {
  std::vector<pid_t> all;
  for (std::uint32_t index = 0; index <= pool.max_processes; ++index) {
    if (state(pool, index).phase == Phase::ready) all.push_back(pid(pool, index));
  }
  return all;
}

std::uint32_t ManagerRig::serving_slot(const PoolConfig& pool) const {
  for (std::uint32_t index = 0; index <= pool.max_processes; ++index) {
    if (state(pool, index).phase == Phase::ready) return index;
  }
  throw std::runtime_error("no worker of the pool serves");
}

std::size_t ManagerRig::living(const PoolConfig& pool) const {
  std::size_t count = 0;
  for (std::uint32_t index = 0; index <= pool.max_processes; ++index) count += state(pool, index).phase != Phase::empty;
  return count;
}

std::string ManagerRig::socket(const PoolConfig& pool, std::uint32_t index) const {
  return socket_path(socket_folder(), pool.key(), index);
}

bool ManagerRig::is_ready(const PoolConfig& pool, Milliseconds within) const {
  return wait_until([&] { return serving(pool).size() >= pool.processes; }, within);
}

bool ManagerRig::becomes(const PoolConfig& pool, std::uint32_t index, Phase phase) const {
  return wait_until([&] { return state(pool, index).phase == phase; });
}

bool ManagerRig::logs(const std::string& text, Milliseconds within) {
  allow(text);
  return wait_until([&] { return contains(log(), text); }, within);
}

std::string ManagerRig::log() const { return read_file(folder_ / "log"); }

std::size_t ManagerRig::count_in_log(const std::string& text) const {
  std::size_t count = 0;
  for (const std::string& line : lines_of(log())) count += contains(line, text);
  return count;
}

void ManagerRig::check_nothing_is_left() {
  const auto left = [&] {
    std::vector<std::string> all;
    for (const pid_t worker : workers_) {
      const auto id = process_id(worker);
      if (id && is_alive(*id)) all.push_back(std::to_string(worker) + " " + command_line(worker));
    }
    for (const pid_t orphan : adopted_orphans()) all.push_back(std::to_string(orphan) + " " + command_line(orphan));
    return all;
  };
  if (!wait_until([&] { return left().empty(); }, Milliseconds(2'000))) {
    for (const std::string& process : left()) ADD_FAILURE() << "left behind: " << process;
  }
  EXPECT_FALSE(std::filesystem::exists(socket_folder())) << "left behind";
}

void ManagerRig::check_log() const {
  for (const std::string& line : lines_of(log())) {
    if (contains(line, "[cppfcgi:notice]") || contains(line, "[cppfcgi:info]")) continue;
    bool is_allowed = false;
    for (const std::string& text : allowed_) is_allowed = is_allowed || contains(line, text);
    if (!is_allowed) ADD_FAILURE() << "unexpected in the log: " << line;
  }
}

}  // namespace cppfcgi::test
