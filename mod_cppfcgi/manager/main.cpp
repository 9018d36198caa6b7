// cppfcgi-manager: the program that keeps workers. Started by httpd's parent with its descriptors, or alone with a
// configuration file. Here: options, the process itself, and the way from one to the other.
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <iostream>

#include "mod_cppfcgi/manager/config_file.h"
#include "mod_cppfcgi/manager/control_link.h"
#include "mod_cppfcgi/manager/manager.h"
#include "mod_cppfcgi/manager/order_desk.h"
#include "shared/futex.h"
#include "shared/memory.h"

namespace cppfcgi {
namespace {

constexpr Duration last_orphans_take{200};

struct Options {
  std::string config;
  std::string check;
  int control = -1;
  int directory = -1;
  int load = -1;
  int nudge = -1;
  int orders = -1;
  pid_t parent = 0;
  std::string level = "notice";

  bool is_alone() const { return !config.empty(); }
};

struct Areas {
  Mapping directory_memory;
  Mapping load_memory;
  Directory* directory = nullptr;
  Load* load = nullptr;
};

Result<Areas> map_areas(const Options& options) {
  Fd directory(options.directory);
  Fd load(options.load);
  if (options.is_alone()) {
    auto made = make_shared_memory("cppfcgi-directory", sizeof(Directory));
    if (!made) return made.error();
    directory = *std::move(made);
    made = make_shared_memory("cppfcgi-load", sizeof(Load));
    if (!made) return made.error();
    load = *std::move(made);
  }
  Areas areas;
  auto mapped = Mapping::map(directory.get(), sizeof(Directory), Access::read_write);
  if (!mapped) return mapped.error();
  areas.directory_memory = *std::move(mapped);
  mapped = Mapping::map(load.get(), sizeof(Load), Access::read_write);
  if (!mapped) return mapped.error();
  areas.load_memory = *std::move(mapped);
  areas.directory = static_cast<Directory*>(areas.directory_memory.address());
  areas.load = static_cast<Load*>(areas.load_memory.address());

  const std::uint32_t version = areas.directory->version.load();
  if (version != 0 && version != layout_version) {
    return Error{EINVAL,
                 fmt::format("the shared memory has layout {}, this program knows {}: module and manager differ",
                             version, layout_version)};
  }
  areas.load->version.store(layout_version);
  areas.directory->manager_pid.store(getpid());
  areas.directory->version.store(layout_version);
  return areas;
}

// Nothing of ours is anybody's business: children of httpd run as the same user, and must not read our descriptors or
// memory. The number of open files is raised, since each worker takes several; workers get the old limit back.
Result<std::uint64_t> prepare_process() {
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_CHILD_SUBREAPER,
        1);  // what workers leave behind is ours to reap: process 1 of a container may not do it
  signal(SIGPIPE, SIG_IGN);
  if (chdir("/") < 0) return posix_error("chdir /", errno);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(standard, F_GETFD) < 0 && open("/dev/null", O_RDWR) != standard)
      return posix_error("open /dev/null", errno);
  }
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) return posix_error("getrlimit", errno);
  const std::uint64_t old = files.rlim_cur;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  return old;
}

// What was given to us is for us alone; what was not given to us is closed.
void close_others(const Options& options) {
  std::vector<unsigned> ours;
  for (const int fd : {options.control, options.directory, options.load, options.nudge, options.orders}) {
    if (fd < 0) continue;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    ours.push_back(static_cast<unsigned>(fd));
  }
  std::sort(ours.begin(), ours.end());
  unsigned next = STDERR_FILENO + 1;
  for (const unsigned fd : ours) {
    if (fd > next) close_range(next, fd - 1, 0);
    next = std::max(next, fd + 1);
  }
  close_range(next, ~0U, 0);
}

class Program {
 public:
  Program(const Options& options, Log& log) : options_(options), log_(log) {}

  Result<void> run() {
    auto open_files = prepare_process();
    if (!open_files) return open_files.error();
    close_others(options_);
    auto areas = map_areas(options_);
    if (!areas) return areas.error();
    auto loop = Loop::make();
    if (!loop) return loop.error();
    Board board(*areas->directory);
    Claims claims(*areas->directory, *areas->load, wake_one);
    auto stacks = StackReader::make(**loop);
    if (!stacks) return stacks.error();
    Manager manager({.loop = **loop,
                     .board = board,
                     .claims = claims,
                     .load = *areas->load,
                     .stacks = **stacks,
                     .log = log_,
                     .open_files = *open_files,
                     .workers_end_with_us = options_.is_alone()});
    auto signals = watch_signals(**loop, manager);
    if (!signals) return signals.error();
    auto nudges = watch_nudges(**loop, manager);
    if (!nudges) return nudges.error();
    std::unique_ptr<OrderDesk> orders;
    if (options_.orders >= 0) {
      auto opened = OrderDesk::open(**loop, manager, log_, Fd(options_.orders));
      if (!opened) return opened.error();
      orders = *std::move(opened);
    }
    auto source = watch_source(**loop, manager);
    if (!source) return source.error();

    while (!manager.is_over()) turn(**loop, manager, manager.next_deadline());
    await_orphans(**loop, manager);
    manager.clean_up();
    areas->directory->manager_pid.store(0);
    log_.notice("ended");
    return {};
  }

 private:
  struct Source {  // of configurations
    std::unique_ptr<ControlLink> link;
    std::unique_ptr<ConfigFile> file;
  };

  void turn(Loop& loop, Manager& manager, std::optional<Time> deadline) {
    loop.turn(deadline);
    manager.turn();
    if (has_orphans_) has_orphans_ = manager.reap_orphans();
  }

  // The last that were killed with their workers are about to end.
  void await_orphans(Loop& loop, Manager& manager) {
    const Time until = std::chrono::steady_clock::now() + last_orphans_take;
    while (waitpid(-1, nullptr, WNOHANG) >= 0 && std::chrono::steady_clock::now() < until) turn(loop, manager, until);
  }

  Result<Source> watch_source(Loop& loop, Manager& manager) {
    Source source;
    if (options_.is_alone()) {
      auto file = ConfigFile::open(manager, log_, options_.config);
      if (!file) return file.error();
      source.file = *std::move(file);
      file_ = source.file.get();
      return source;
    }
    const auto parent = options_.parent > 0 ? std::optional(options_.parent) : std::nullopt;
    auto link = ControlLink::open(loop, manager, log_, Fd(options_.control), parent, [this, &manager] {
      log_.notice("httpd is gone: ending all workers");
      manager.shut_down();
    });
    if (!link) return link.error();
    source.link = *std::move(link);
    return source;
  }

  Result<Loop::Watch> watch_signals(Loop& loop, Manager& manager) {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&wanted, signal);
    sigprocmask(SIG_BLOCK, &wanted, nullptr);
    signals_.reset(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return posix_error("signalfd", errno);
    return loop.watch(signals_.get(), EPOLLIN, [this, &manager](std::uint32_t) {
      signalfd_siginfo info{};
      while (read(signals_.get(), &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
          has_orphans_ = true;
        } else if (info.ssi_signo != SIGHUP) {
          log_.notice("signal {}: ending all workers", info.ssi_signo);
          manager.shut_down();
        } else if (file_ != nullptr) {
          file_->read_again();
        }
      }
    });
  }

  Result<Loop::Watch> watch_nudges(Loop& loop, Manager& manager) {
    if (options_.nudge < 0) return Loop::Watch{};
    nudge_.reset(options_.nudge);
    return loop.watch(nudge_.get(), EPOLLIN, [this, &manager](std::uint32_t) {
      std::uint64_t count = 0;
      if (read(nudge_.get(), &count, sizeof count) > 0) manager.be_nudged();
    });
  }

  const Options& options_;
  Log& log_;
  Fd signals_;
  Fd nudge_;
  ConfigFile* file_ = nullptr;
  bool has_orphans_ = false;
};

int check(const std::string& path) {
  const auto configuration = read_config_file(path);
  if (!configuration) {
    std::cerr << configuration.error().what << '\n';
    return 1;
  }
  std::cout << path << ": fine, " << configuration->pools.size() << " pools\n";
  return 0;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Keeps the workers of mod_cppfcgi: started by httpd, or alone with a configuration file.",
               "cppfcgi-manager");
  app.set_version_flag("--version", "cppfcgi-manager " CPPFCGI_VERSION);
  app.add_option("--config", options.config,
                 "run alone, in the foreground, with this configuration (JSON); SIGHUP reads it again");
  app.add_option("--check", options.check, "say what is wrong in this configuration file, and end");
  app.add_option("--log-level", options.level, "error, warn, notice or info")
      ->check(CLI::IsMember({"error", "warn", "notice", "info"}));
  const std::string httpd = "Started by httpd";
  app.add_option("--control", options.control, "descriptor of the control socket")->group(httpd);
  app.add_option("--directory", options.directory, "descriptor of the directory's memory")->group(httpd);
  app.add_option("--load", options.load, "descriptor of the load's memory")->group(httpd);
  app.add_option("--nudge", options.nudge, "descriptor of the event that says that requests wait")->group(httpd);
  app.add_option("--orders", options.orders, "descriptor of the socket for orders of pools")->group(httpd);
  app.add_option("--parent", options.parent, "process whose end is ours too")->group(httpd);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& end) {
    return app.exit(end);
  }
  if (options.is_alone()) options.config = std::filesystem::absolute(options.config);  // the working folder becomes /
  if (!options.check.empty()) return check(options.check);
  if (!options.is_alone() && (options.control < 0 || options.directory < 0 || options.load < 0)) {
    std::cerr << "either --config, or --control, --directory and --load must be given; see --help\n";
    return 2;
  }
  Log log(level_from_name(options.level).value_or(Level::notice));
  const auto result = Program(options, log).run();
  if (result) return 0;
  log.error("{}", result.error().what);
  return 1;
}

}  // namespace
}  // namespace cppfcgi

int main(int argc, char** argv) { return cppfcgi::run(argc, argv); }
