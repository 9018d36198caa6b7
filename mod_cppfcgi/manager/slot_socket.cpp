#include "mod_cppfcgi/manager/slot_socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "shared/address.h"
#include "shared/pool_config.h"

namespace cppfcgi {
namespace {

bool is_listened_at(const std::string& path) {
  const auto address = Address::from(path);
  const Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return !address || !probe || connect(probe.get(), address->get(), address->size()) == 0 || errno != ECONNREFUSED;
}

// By anybody, also by another server of ours, with which a socket that may be shared would share it in silence.
bool is_port_taken(const std::string& text) {
  const auto address = Address::from(text);
  if (!address || address->is_path()) return false;
  const Fd probe(socket(address->family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return bind(probe.get(), address->get(), address->size()) < 0 && errno == EADDRINUSE;
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

constexpr int descriptors_looked_at = 256;  // of a worker

bool listens_at(const Fd& socket, const Address& address) {
  sockaddr_storage name{};
  socklen_t bytes = sizeof name;
  int listens = 0;
  socklen_t listens_bytes = sizeof listens;
  return getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &bytes) == 0 &&
         std::memcmp(&name, address.get(), address.size()) == 0 &&
         getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_bytes) == 0 && listens != 0;
}

bool is_slot_name(std::string_view name) {
  return name.size() > 17 && name[16] == '.' && name.find_first_not_of("0123456789abcdef") == 16 &&
         name.find_first_not_of("0123456789", 17) == std::string_view::npos;
}

}  // namespace

Result<SlotSocket> SlotSocket::open(const std::string& address, std::uint32_t depth) {
  if (address.starts_with('/')) {
    if (address.size() > max_socket_path_bytes) return posix_error("socket " + address, ENAMETOOLONG);
    unlink(address.c_str());
  }
  SlotSocket slot;
  if (auto listening = slot.listen_at(address, depth); !listening) return listening.error();
  return slot;
}

Result<SlotSocket> SlotSocket::open_for_others(const std::string& address, std::uint32_t depth) {
  struct stat file {};
  if (address.starts_with('/') && lstat(address.c_str(), &file) == 0) {
    if (!S_ISSOCK(file.st_mode)) return posix_error("bind " + address + ": not a socket lies there", EEXIST);
    if (is_listened_at(address)) return posix_error("bind " + address, EADDRINUSE);
    unlink(address.c_str());
  } else if (is_port_taken(address)) {
    return posix_error("bind " + address, EADDRINUSE);
  }
  SlotSocket slot;
  if (auto listening = slot.listen_at(address, depth); !listening) return listening.error();
  return slot;
}

Result<SlotSocket> SlotSocket::of(std::shared_ptr<const void> shared, int fd) {
  SlotSocket slot;
  slot.fd_.reset(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!slot.fd_) return posix_error("dup of a shared socket", errno);
  slot.shared_ = std::move(shared);
  return slot;
}

Result<void> SlotSocket::listen_at(const std::string& text, std::uint32_t depth) {
  const auto address = Address::from(text);
  if (!address) return posix_error("bind " + text, EINVAL);
  // Blocking: the worker inherits it so.
  fd_.reset(socket(address->family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd_) return posix_error("socket " + text, errno);
  const int on = 1;
  if (!address->is_path()) {
    setsockopt(fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // For the next manager, where it cannot take the socket from a worker.
    setsockopt(fd(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  }
  const PrivateUmask only_owner;
  if (bind(fd(), address->get(), address->size()) < 0) return posix_error("bind " + text, errno);
  note_file(text);
  if (listen(fd(), static_cast<int>(depth)) < 0) return posix_error("listen on " + text, errno);
  return {};
}

void SlotSocket::note_file(const std::string& address) {
  struct stat file {};
  if (!address.starts_with('/') || lstat(address.c_str(), &file) < 0) return;
  path_ = address;
  device_ = file.st_dev;
  inode_ = file.st_ino;
}

SlotSocket SlotSocket::take_from(const Fd& pidfd, const std::string& text) {
  SlotSocket slot;
  slot.path_ = text.starts_with('/') ? text : "";
  slot.note_file(text);
  const auto address = Address::from(text);
  // It was given as descriptor 0, from where our library moves it, out of the way of what a handler may read.
  for (int number = 0; address && number < descriptors_looked_at; ++number) {
    Fd socket(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), number, 0)));
    if (socket && listens_at(socket, *address)) {
      slot.fd_ = std::move(socket);
      break;
    }
  }
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
  shared_.reset();
}

void remove_dead_sockets(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(folder.c_str()), closedir);
  if (!listing) return;
  while (const dirent* entry = readdir(listing.get())) {
    if (!is_slot_name(entry->d_name)) continue;
    const std::string path = folder + "/" + entry->d_name;
    if (!is_listened_at(path)) unlink(path.c_str());
  }
}

}  // namespace cppfcgi
