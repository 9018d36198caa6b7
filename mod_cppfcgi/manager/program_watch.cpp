#include "mod_cppfcgi/manager/program_watch.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace cppfcgi {
namespace {

// Reads all events; whether one of them is about this file (of the watched folder).
bool has_event_about(int inotify, const std::string& file) {
  alignas(inotify_event) std::array<char, 4096> bytes;
  bool found = false;
  for (ssize_t got = 0; (got = read(inotify, bytes.data(), bytes.size())) > 0;) {
    for (ssize_t at = 0; at < got;) {
      inotify_event event{};
      std::memcpy(&event, &bytes[static_cast<std::size_t>(at)], sizeof event);
      const char* name = &bytes[static_cast<std::size_t>(at)] + sizeof event;
      found = found || (event.len > 0 && file == name);
      at += static_cast<ssize_t>(sizeof event + event.len);
    }
  }
  return found;
}

}  // namespace

// The folder is watched and not the file: a new program usually comes by rename.
Result<ProgramWatch> ProgramWatch::make(Loop& loop, const std::string& program, const std::function<void()>& changed) {
  const std::size_t slash = program.rfind('/');
  const std::string folder = program.substr(0, slash + 1);
  ProgramWatch watch;
  watch.inotify_.reset(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!watch.inotify_) return posix_error("inotify", errno);
  constexpr std::uint32_t wanted = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ATTRIB;
  if (inotify_add_watch(watch.inotify_.get(), folder.c_str(), wanted | IN_ONLYDIR) < 0) {
    return posix_error("watch " + folder, errno);
  }
  auto watching =
      loop.watch(watch.inotify_.get(), EPOLLIN,
                 [inotify = watch.inotify_.get(), file = program.substr(slash + 1), changed](std::uint32_t) {
                   if (has_event_about(inotify, file)) changed();
                 });
  if (!watching) return watching.error();
  watch.watch_ = *std::move(watching);
  return watch;
}

}  // namespace cppfcgi
