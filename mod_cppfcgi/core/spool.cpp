#include "mod_cppfcgi/core/spool.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "mod_cppfcgi/core/temp_file.h"

namespace cppfcgi {

bool Spool::is_full() const { return has_failed_ || write_at_ >= limits_.file_bytes; }

Result<void> Spool::append(Bytes bytes) {
  const bool has_file_content = read_at_ < write_at_;
  if (!has_failed_ && !has_file_content && memory_.size() + bytes.size() <= limits_.memory_bytes) {
    memory_ += as_text(bytes);
    return {};
  }
  if (has_failed_) {
    behind_ += as_text(bytes);
    return {};
  }
  return append_to_file(bytes);
}

Result<void> Spool::append_to_file(Bytes bytes) {
  if (!file_) {
    auto made = make_temp_file(folder_);
    if (!made) {
      has_failed_ = true;
      behind_ += as_text(bytes);
      return made.error();
    }
    file_ = *std::move(made);
  }
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(write_at_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int code = errno;
      has_failed_ = true;
      behind_ += as_text(bytes);
      return posix_error("write to a temporary file in " + folder_, code);
    }
    write_at_ += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<std::string> Spool::take() {
  if (!memory_.empty()) return std::exchange(memory_, {});
  if (read_at_ == write_at_) return std::exchange(behind_, {});
  std::string taken(std::min<std::uint64_t>(limits_.memory_bytes, write_at_ - read_at_), '\0');
  std::size_t filled = 0;
  while (filled < taken.size()) {
    const auto at = static_cast<off_t>(read_at_ + filled);
    const ssize_t got = ::pread(file_.get(), taken.data() + filled, taken.size() - filled, at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return posix_error("read from a temporary file", errno);
    if (got == 0) return Error{0, "a temporary file has become shorter"};
    filled += static_cast<std::size_t>(got);
  }
  read_at_ += filled;
  if (read_at_ == write_at_) {
    // All of it is used up: its place on the disk, too.
    if (::ftruncate(file_.get(), 0) != 0) return posix_error("truncate a temporary file", errno);
    read_at_ = write_at_ = 0;
  }
  return taken;
}

std::optional<Spool::Rest> Spool::take_file() {
  if (!memory_.empty() || !behind_.empty() || read_at_ == write_at_) return std::nullopt;
  Rest rest{.file = std::move(file_), .offset = read_at_, .bytes = write_at_ - read_at_};
  read_at_ = write_at_ = 0;
  return rest;
}

}  // namespace cppfcgi
