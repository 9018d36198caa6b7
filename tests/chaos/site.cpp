#include "tests/chaos/site.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <span>

#include "shared/fd.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;

constexpr Milliseconds census_pause{10};
constexpr std::size_t small_disk_bytes = std::size_t{8} << 20;

// A file system of its own at this folder, in a mount name space of this process's own, so that it ends with us.
bool mount_small_disk(const std::string& folder) {
  static const bool is_alone = ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0;
  const std::string options = fmt::format("size={},mode=1777", small_disk_bytes);
  return is_alone && ::mount("tmpfs", folder.c_str(), "tmpfs", 0, options.c_str()) == 0;
}

// Enough threads or processes at once that the readers of large answers leave some to others.
HttpdOptions options_for(const Setting& setting) {
  HttpdOptions options{.mpm = setting.mpm, .has_http2 = setting.is_http2};
  options.mpm_tuning = setting.mpm == "prefork"
                           ? "StartServers 80\nMinSpareServers 10\nMaxSpareServers 100\nMaxRequestWorkers 100\n"
                           : "StartServers 4\nThreadsPerChild 25\nMinSpareThreads 50\nMaxSpareThreads 400\n"
                             "MaxRequestWorkers 400\n";
  return options;
}

Mapping must(Result<Mapping> mapping) {
  if (!mapping) throw std::runtime_error(mapping.error().what);
  return *std::move(mapping);
}

}  // namespace

std::vector<pid_t> pids_of(const std::string& program) {
  std::vector<std::pair<std::uint64_t, pid_t>> found;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc", gone)) {
    const int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    const std::string executable = executable_of(pid);
    if (!executable.starts_with(program)) continue;
    const std::string rest = executable.substr(program.size());
    if (!rest.empty() && rest != " (deleted)") continue;
    if (const auto id = process_id(pid)) found.emplace_back(id->start_time, pid);
  }
  std::sort(found.begin(), found.end());
  std::vector<pid_t> pids;
  for (const auto& [start, pid] : found) pids.push_back(pid);
  return pids;
}

void replace_program(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  write_file(fresh, text);
  fs::permissions(fresh, fs::perms(0755));
  fs::rename(fresh, path);
}

// ---- census ----

Census::Census(const std::string& program)
    : program_(program), thread_([this] {
        while (!is_over_) {
          const std::size_t count = pids_of(program_).size();
          most_ = std::max<std::size_t>(most_, count);
          least_ = std::min<std::size_t>(least_, count);
          std::this_thread::sleep_for(census_pause);  // between two samples; nothing is waited for
        }
      }) {}

Census::~Census() {
  is_over_ = true;
  thread_.join();
}

void Census::begin_anew() {
  most_ = 0;
  least_ = ~std::size_t{0};
}

// ---- site ----

Site::Site(const Setting& setting, const std::string& pool_options, bool has_small_disk)
    : setting_(setting),
      pool_options_(pool_options),
      httpd_(options_for(setting)),
      program_(httpd_.root() + "/bin/answerer") {
  has_small_disk_ = has_small_disk && mount_small_disk(httpd_.root() + "/tmp");
  httpd_.allow_log("pool [^ ]*/answerer");
  httpd_.set_config(configuration());
  deploy();
  httpd_.start();
  map_scoreboard();
  if (!becomes_complete(Milliseconds(10'000))) throw std::runtime_error("the workers did not come");
}

Site::~Site() {
  try {
    if (httpd_.pid() != 0) httpd_.stop();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  if (has_small_disk_) ::umount2((httpd_.root() + "/tmp").c_str(), MNT_DETACH);
}

std::string Site::configuration() const {
  const std::string variables =
      fmt::format("-initial-env COUNTED={} -initial-env STARTED={} -initial-env START_MS=50 -initial-env CHANGE={}",
                  files_ / "counted", files_ / "started", change_);
  // The form of httpd's own, with the request's nonce instead of its Referer.
  return fmt::format(
      "ErrorLogFormat \"[%{{u}}t] [%-m:%l] [pid %P:tid %T] %7F: %E: [client\\ %a] %M% ,\\ nonce\\ %{{X-Nonce}}i\"\n"
      "FastCgiServer @ROOT@/bin/answerer -processes {} -mount /chaos {} {}\n",
      processes, variables, pool_options_);
}

TrafficPlan Site::plan(std::function<Question(std::size_t)> ask) const {
  return {.port = httpd_.port(), .is_http2 = setting_.is_http2, .ask = std::move(ask)};
}

TrafficPlan Site::plan(std::uint64_t seed) const {
  return plan([seed](std::size_t i) { return mixed_question(seed, i); });
}

// ---- processes ----

std::vector<pid_t> Site::workers() const { return pids_of(program_); }

int Site::open_memory(const char* name) const {
  const std::string folder = fmt::format("/proc/{}/fd", httpd_.pid());
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::error_code gone;
    const std::string target = fs::read_symlink(entry.path(), gone);
    if (target.find(name) == std::string::npos) continue;
    if (const int fd = ::open(entry.path().c_str(), O_RDWR | O_CLOEXEC); fd >= 0) return fd;
  }
  throw std::runtime_error(fmt::format("httpd's parent has no {}", name));
}

void Site::map_scoreboard() {
  const Fd directory(open_memory("memfd:cppfcgi-directory")), load(open_memory("memfd:cppfcgi-load"));
  directory_view_ = must(Mapping::map(directory.get(), sizeof(Directory), Access::read_only));
  load_view_ = must(Mapping::map(load.get(), sizeof(cppfcgi::Load), Access::read_write));
  auto& area = *static_cast<cppfcgi::Load*>(load_view_.address());
  claims_ = std::make_unique<Claims>(*static_cast<const Directory*>(directory_view_.address()), area,
                                     [](Shared<std::uint32_t>*) {});
  poison_seed_ = area.poison_seed;
}

std::vector<pid_t> Site::ready_workers() {
  std::vector<pid_t> ready;
  for (const SlotRow& slot : static_cast<const Directory*>(directory_view_.address())->slots) {
    if (SlotState::unpack(slot.state).phase == Phase::ready && slot.pid > 1) ready.push_back(slot.pid);
  }
  std::sort(ready.begin(), ready.end());
  return ready;
}

std::vector<pid_t> Site::idle_workers() {
  const auto& directory = *static_cast<const Directory*>(directory_view_.address());
  std::vector<pid_t> idle;
  for (std::uint32_t slot = 0; slot < max_slots; ++slot) {
    const SlotState state = SlotState::unpack(directory.slots[slot].state);
    const pid_t pid = directory.slots[slot].pid;
    if (state.phase == Phase::ready && pid > 1 && claims_->in_flight(slot, state.generation) == 0) idle.push_back(pid);
  }
  return idle;
}

bool Site::is_complete() {
  std::vector<pid_t> living = workers();
  std::sort(living.begin(), living.end());
  return living.size() == processes && living == ready_workers();
}

bool Site::becomes_complete(Milliseconds within) {
  return wait_until([this] { return is_complete(); }, within);
}

bool Site::shares_no_worker_with(const std::vector<pid_t>& others) const {
  const std::vector<pid_t> ours = workers();
  return std::find_first_of(ours.begin(), ours.end(), others.begin(), others.end()) == ours.end();
}

pid_t Site::manager() const {
  const std::vector<pid_t> managers = httpd_.managers();
  return managers.size() == 1 ? managers.front() : 0;
}

bool Site::has_manager_other_than(pid_t former) const {
  const pid_t now = manager();
  return now != 0 && now != former && httpd_.count_log(fmt::format("started another manager .pid {}.", now)) > 0;
}

std::optional<pid_t> Site::kill_manager() {
  httpd_.allow_log("the manager|no manager runs");
  const std::vector<pid_t> managers = httpd_.managers();
  for (const pid_t pid : managers) ::kill(pid, SIGKILL);
  if (managers.empty()) return std::nullopt;
  return managers.front();
}

std::optional<pid_t> Site::kill_httpd_child(Random& random) {
  httpd_.allow_log("AH00052: child pid [0-9]+ exit signal Killed");
  const std::vector<pid_t> children = httpd_.httpd_children();
  if (children.empty()) return std::nullopt;
  const pid_t child = children[random() % children.size()];
  ::kill(child, SIGKILL);
  return child;
}

std::size_t Site::starts() const { return read_file(files_ / "started").size(); }

// ---- the program and the configuration ----

void Site::deploy() {
  const std::string trailer = fmt::format("\nversion {}\n", ++version_);
  replace_program(program_, read_file(product("tests/chaos/programs/answerer")) + trailer);
}

void Site::deploy_broken() { replace_program(program_, read_file(product("tests/chaos/programs/broken"))); }

void Site::change_configuration() {
  ++change_;
  httpd_.set_config(configuration());
  httpd_.graceful();
}

// ---- resources ----

void Site::scribble_on_load(Random& random) {
  const std::span words(static_cast<std::uint64_t*>(load_view_.address()), sizeof(cppfcgi::Load) / 8);
  for (std::uint64_t& word : words) reinterpret_cast<Shared<std::uint64_t>&>(word).store(random());
}

void Site::wipe_load() {
  const std::span words(static_cast<std::uint64_t*>(load_view_.address()), sizeof(cppfcgi::Load) / 8);
  for (std::uint64_t& word : words) reinterpret_cast<Shared<std::uint64_t>&>(word).store(0);
  auto& load = *static_cast<cppfcgi::Load*>(load_view_.address());
  load.version = layout_version;
  load.poison_seed = poison_seed_;
}

void Site::fill_disk() {
  httpd_.allow_log("body cannot be spooled: .*No space left on device");
  const Fd file(::open((httpd_.root() + "/tmp/full").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const std::string block(4'096, 'x');
  while (::write(file.get(), block.data(), block.size()) > 0) {
  }
}

void Site::free_disk() { fs::remove(httpd_.root() + "/tmp/full"); }

PostBreaches Site::breaches(const Outcomes& outcomes) const {
  PostBreaches breaches;
  wait_until(
      [&] {
        breaches = check_posts(outcomes, read_file(files_ / "counted"), httpd_.error_log());
        return breaches.unexplained.empty();
      },
      Milliseconds(3'000));
  return breaches;
}

}  // namespace cppfcgi::test
