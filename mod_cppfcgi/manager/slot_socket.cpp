#include "mod_cppfcgi/manager/slot_socket.h"

#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "shared/pool_config.h"

namespace cppfcgi {
namespace {

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, max_socket_path_bytes);
  return address;
}

// For its owner alone: whoever may connect to a worker may tell it anything.
class PrivateUmask {
 public:
  PrivateUmask() : old_(umask(0177)) {}
  ~PrivateUmask() { umask(old_); }
  PrivateUmask(const PrivateUmask&) = delete;
  PrivateUmask& operator=(const PrivateUmask&) = delete;

 private:
  mode_t old_;
};

bool is_slot_name(std::string_view name) {
  return name.size() > 17 && name[16] == '.' && name.find_first_not_of("0123456789abcdef") == 16 &&
         name.find_first_not_of("0123456789", 17) == std::string_view::npos;
}

}  // namespace

Result<SlotSocket> SlotSocket::open(const std::string& path, std::uint32_t depth) {
  if (path.size() > max_socket_path_bytes) return posix_error("socket " + path, ENAMETOOLONG);
  SlotSocket slot;
  // Blocking: the worker inherits it so.
  slot.fd_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!slot.fd_) return posix_error("socket " + path, errno);
  unlink(path.c_str());
  const sockaddr_un address = address_of(path);
  const PrivateUmask only_owner;
  if (bind(slot.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return posix_error("bind " + path, errno);
  }
  if (listen(slot.fd(), static_cast<int>(depth)) < 0) return posix_error("listen on " + path, errno);
  struct stat file {};
  if (lstat(path.c_str(), &file) < 0) return posix_error("socket " + path, errno);
  slot.path_ = path;
  slot.device_ = file.st_dev;
  slot.inode_ = file.st_ino;
  return slot;
}

SlotSocket SlotSocket::take_from(const Fd& pidfd, const std::string& path) {
  SlotSocket slot;
  slot.path_ = path;
  struct stat file {};
  if (lstat(path.c_str(), &file) < 0) return slot;
  slot.device_ = file.st_dev;
  slot.inode_ = file.st_ino;
  Fd socket(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), 0, 0)));
  sockaddr_un name{};
  socklen_t bytes = sizeof name;
  int listens = 0;
  socklen_t listens_bytes = sizeof listens;
  const bool is_it = socket && getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &bytes) == 0 &&
                     path == std::string_view(name.sun_path, strnlen(name.sun_path, sizeof name.sun_path)) &&
                     getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_bytes) == 0 && listens != 0;
  if (is_it) slot.fd_ = std::move(socket);
  return slot;
}

void SlotSocket::set_depth(std::uint32_t depth) const {
  if (fd_) listen(fd(), static_cast<int>(depth));
}

void SlotSocket::turn_away_waiting() const {
  pollfd waiting{.fd = fd(), .events = POLLIN, .revents = 0};
  while (poll(&waiting, 1, 0) == 1 && (waiting.revents & POLLIN) != 0) {
    const Fd turned_away(accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!turned_away) return;
  }
}

void SlotSocket::remove() {
  struct stat file {};
  if (!path_.empty() && lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_) {
    unlink(path_.c_str());
  }
  path_.clear();
  fd_.reset();
}

void remove_dead_sockets(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(folder.c_str()), closedir);
  if (!listing) return;
  while (const dirent* entry = readdir(listing.get())) {
    if (!is_slot_name(entry->d_name)) continue;
    const std::string path = folder + "/" + entry->d_name;
    const Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un address = address_of(path);
    const int connected = connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (connected < 0 && errno == ECONNREFUSED) unlink(path.c_str());
  }
}

}  // namespace cppfcgi
