#include "mod_cppfcgi/manager/pinned_program.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace cppfcgi {
namespace {

bool is_same_content(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

// A program that may be run need not be readable; then it is no script either.
bool begins_as_script(const Fd& file) {
  char first[2] = {};
  return file && ::read(file.get(), first, sizeof first) == sizeof first && first[0] == '#' && first[1] == '!';
}

}  // namespace

Result<PinnedProgram> PinnedProgram::open(const std::string& path, const std::string& name) {
  PinnedProgram program;
  program.fd_.reset(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!program.fd_) return posix_error("open " + name, errno);
  if (fstat(program.fd(), &program.state_) < 0) return posix_error("stat " + name, errno);
  if (!S_ISREG(program.state_.st_mode))
    return posix_error("open " + name, S_ISDIR(program.state_.st_mode) ? EISDIR : EINVAL);
  program.is_script_ = begins_as_script(program.open_to_read());
  return program;
}

Result<PinnedProgram> PinnedProgram::pin(const std::string& path) { return open(path, path); }

Result<PinnedProgram> PinnedProgram::pin_running(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/exe";
  return open(path, path);
}

Fd PinnedProgram::open_to_read() const {
  const std::string path = "/proc/self/fd/" + std::to_string(fd());
  return Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

bool PinnedProgram::is_in_place(const std::string& path) const {
  struct stat now {};
  return stat(path.c_str(), &now) == 0 && is_same_content(now, state_);
}

std::uint64_t PinnedProgram::id() const {
  std::uint64_t id = 0;
  for (const auto part : {static_cast<std::uint64_t>(state_.st_dev), static_cast<std::uint64_t>(state_.st_ino),
                          static_cast<std::uint64_t>(state_.st_size), static_cast<std::uint64_t>(state_.st_mtim.tv_sec),
                          static_cast<std::uint64_t>(state_.st_mtim.tv_nsec)}) {
    id = (id ^ part) * 0x9e3779b97f4a7c15;
    id ^= id >> 32;
  }
  return id == 0 ? 1 : id;
}

bool PinnedProgram::is_same_state(const PinnedProgram& other) const {
  return is_same_content(state_, other.state_) && state_.st_mode == other.state_.st_mode &&
         state_.st_uid == other.state_.st_uid && state_.st_gid == other.state_.st_gid;
}

}  // namespace cppfcgi
