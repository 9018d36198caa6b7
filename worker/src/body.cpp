// Body: where a request's body lies while its handler runs.
#include <cppfcgi/request.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace cppfcgi {
namespace {

[[noreturn]] void fail(const std::string& what, int code) {
  throw std::system_error(code, std::generic_category(), what);
}

// A file without a name: it is gone with its descriptor, however the worker ends.
int open_unnamed_file_in(const std::string& folder) {
  const int file = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return file;
  std::string name = folder + "/cppfcgi-body-XXXXXX";  // a file system that knows no unnamed files
  const int named = mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) unlink(name.c_str());
  return named;
}

int open_unnamed_file() {
  const char* const wished = std::getenv("TMPDIR");
  const std::string folder = wished != nullptr && *wished != '\0' ? wished : "/var/tmp";
  const int file = open_unnamed_file_in(folder);
  if (file < 0) fail("temporary file in " + folder, errno);
  return file;
}

void write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write a request's body to a temporary file", errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace

Body::Body(std::string content) : memory_(std::move(content)), size_(memory_.size()) {}

Body::~Body() { clear(); }

void Body::clear() {
  if (file_ >= 0) ::close(file_);
  file_ = -1;
  memory_.clear();
  size_ = position_ = 0;
}

void Body::append(std::span<const std::byte> bytes, std::size_t memory_limit) {
  if (file_ < 0 && size_ + bytes.size() <= memory_limit) {
    memory_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } else {
    if (file_ < 0) {
      file_ = open_unnamed_file();
      write_all(file_, std::as_bytes(std::span(memory_)));
      memory_.clear();
    }
    write_all(file_, bytes);
  }
  size_ += bytes.size();
}

std::size_t Body::read(std::span<std::byte> into) {
  const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - position_));
  if (wanted == 0) return 0;
  std::size_t got = wanted;
  if (file_ < 0) {
    std::memcpy(into.data(), memory_.data() + position_, wanted);
  } else {
    ssize_t count = 0;
    do {
      count = pread(file_, into.data(), wanted, static_cast<off_t>(position_));
    } while (count < 0 && errno == EINTR);
    if (count < 0) fail("read a request's body from its temporary file", errno);
    if (count == 0) fail("read a request's body from its temporary file", EIO);
    got = static_cast<std::size_t>(count);
  }
  position_ += got;
  return got;
}

std::string Body::read_all(std::size_t limit) {
  const std::uint64_t left = size_ - position_;
  if (left > limit) {
    throw std::length_error("a request's body of " + std::to_string(left) + " bytes exceeds the limit of " +
                            std::to_string(limit));
  }
  std::string content(static_cast<std::size_t>(left), '\0');
  for (std::size_t have = 0; have < content.size();) have += read(std::span(content).subspan(have));
  return content;
}

}  // namespace cppfcgi
