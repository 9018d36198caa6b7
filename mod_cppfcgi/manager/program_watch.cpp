#include "mod_cppfcgi/manager/program_watch.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <optional>

namespace cppfcgi {
namespace {

namespace fs = std::filesystem;

constexpr int most_links = 40;  // as many as the kernel follows
constexpr std::uint32_t wanted_events =
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR;

struct Events {
  bool has_program = false;
  bool has_neighbour = false;
};

// Reads all that is there.
Events read_events(int inotify, const std::map<int, std::set<std::string>>& names, int own_folder) {
  alignas(inotify_event) std::array<char, 4096> bytes;
  Events found;
  for (ssize_t got = 0; (got = read(inotify, bytes.data(), bytes.size())) > 0;) {
    for (ssize_t at = 0; at < got;) {
      inotify_event event{};
      std::memcpy(&event, &bytes[static_cast<std::size_t>(at)], sizeof event);
      const char* name = &bytes[static_cast<std::size_t>(at)] + sizeof event;
      at += static_cast<ssize_t>(sizeof event + event.len);
      if ((event.mask & IN_Q_OVERFLOW) != 0) found.has_program = true;  // something was missed
      const auto folder = names.find(event.wd);
      if (event.len == 0 || folder == names.end()) continue;
      if (folder->second.contains(name)) {
        found.has_program = true;
      } else if (event.wd == own_folder) {
        found.has_neighbour = true;
      }
    }
  }
  return found;
}

}  // namespace

Result<void> ProgramWatch::add(const std::string& folder, const std::string& name) {
  const int number = inotify_add_watch(inotify_.get(), folder.c_str(), wanted_events);
  if (number < 0) return posix_error("watch " + folder, errno);
  names_[number].insert(name);
  own_folder_ = number;
  return {};
}

// The folder is watched and not the file: a new program usually comes by rename. And the folder of each link on the
// way.
Result<void> ProgramWatch::follow(const std::string& program) {
  fs::path done = "/";
  fs::path left = fs::path(program).relative_path();
  int links = 0;
  while (!left.empty()) {
    const fs::path name = *left.begin();
    const fs::path rest = left.lexically_relative(name);
    std::error_code failure;
    const fs::path target = fs::read_symlink(done / name, failure);
    const bool is_link = !failure;
    left = rest == "." ? fs::path() : rest;
    if (is_link || left.empty()) {
      if (auto added = add(done, name); !added) return added;
    }
    if (!is_link) {
      done = (done / name).lexically_normal();
    } else if (++links > most_links) {
      return posix_error("follow " + program, ELOOP);
    } else {
      left = left.empty() ? target.relative_path() : target.relative_path() / left;
      if (target.is_absolute()) done = "/";
    }
  }
  return {};
}

Result<ProgramWatch> ProgramWatch::make(Loop& loop, const std::string& program, const Callback& changed) {
  ProgramWatch watch;
  watch.inotify_.reset(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!watch.inotify_) return posix_error("inotify", errno);
  if (auto followed = watch.follow(program); !followed) return followed.error();
  auto watching = loop.watch(
      watch.inotify_.get(), EPOLLIN,
      [inotify = watch.inotify_.get(), names = watch.names_, own = watch.own_folder_, changed](std::uint32_t) {
        const Events events = read_events(inotify, names, own);
        if (events.has_program) {
          changed(Change::program);
        } else if (events.has_neighbour) {
          changed(Change::neighbour);
        }
      });
  if (!watching) return watching.error();
  watch.watch_ = *std::move(watching);
  return watch;
}

}  // namespace cppfcgi
