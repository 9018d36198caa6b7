#include "mod_cppfcgi/core/request_source.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mod_cppfcgi/core/exchange.h"

namespace cppfcgi {
namespace {

constexpr char padding[8] = {};

std::array<std::byte, header_bytes> stdin_header(std::size_t content_bytes) {
  return encode({.type = static_cast<std::uint8_t>(RecordType::stdin_stream),
                 .id = Exchange::request_id,
                 .content_length = static_cast<std::uint16_t>(content_bytes),
                 .padding_length = padding_for(content_bytes)});
}

// Collects the parts of a stream that lie behind an offset.
class Collector {
 public:
  Collector(std::uint64_t skip, std::span<iovec> room) : skip_(skip), room_(room) {}
  bool is_full() const { return used_ == room_.size(); }
  std::span<iovec> pieces() const { return room_.first(used_); }

  void add(const void* data, std::size_t bytes) {
    if (skip_ >= bytes) {
      skip_ -= bytes;
      return;
    }
    if (is_full()) return;
    const char* from = static_cast<const char*>(data) + skip_;
    room_[used_++] = {const_cast<char*>(from), bytes - static_cast<std::size_t>(skip_)};
    skip_ = 0;
  }

 private:
  std::uint64_t skip_;
  std::span<iovec> room_;
  std::size_t used_ = 0;
};

}  // namespace

RequestSource::RequestSource(std::string_view opening, const BodySource& body)
    : opening_(opening), body_(body), body_bytes_(body.file >= 0 ? body.file_bytes : body.memory.size()) {
  const auto last_bytes = static_cast<std::size_t>(body_bytes_ % chunk_bytes);
  records_bytes_ = body_bytes_ / chunk_bytes * record_bytes;
  if (last_bytes > 0) records_bytes_ += header_bytes + last_bytes + padding_for(last_bytes);
  size_ = opening_.size() + records_bytes_ + header_bytes;
  if (body_bytes_ >= chunk_bytes) full_header_ = stdin_header(chunk_bytes);
  if (last_bytes > 0) last_header_ = stdin_header(last_bytes);
  end_header_ = stdin_header(0);
}

bool RequestSource::is_between_records(std::uint64_t offset) const {
  if (offset < opening_.size()) return false;
  const std::uint64_t behind = offset - opening_.size();
  return behind == records_bytes_ || behind == records_bytes_ + header_bytes ||
         (behind < records_bytes_ && behind % record_bytes == 0);
}

// The body's bytes from `offset` on: all `bytes` from memory, and from a file those of them that are in the window.
Result<std::string_view> RequestSource::content(std::uint64_t offset, std::size_t bytes) {
  if (body_.file < 0) return body_.memory.substr(static_cast<std::size_t>(offset), bytes);
  if (offset < window_at_ || offset >= window_at_ + window_filled_) {
    window_.resize(std::min<std::uint64_t>(window_bytes, body_bytes_));
    window_at_ = offset / chunk_bytes * chunk_bytes;
    window_filled_ = 0;
    const std::size_t wanted = std::min<std::uint64_t>(window_.size(), body_bytes_ - window_at_);
    while (window_filled_ < wanted) {
      const auto at = static_cast<off_t>(window_at_ + window_filled_);
      const ssize_t got = ::pread(body_.file, window_.data() + window_filled_, wanted - window_filled_, at);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return posix_error("read the spooled request body", errno);
      if (got == 0) return Error{0, "the spooled request body has become shorter"};
      window_filled_ += static_cast<std::size_t>(got);
    }
  }
  const auto inside = static_cast<std::size_t>(offset - window_at_);
  return std::string_view(window_.data(), window_filled_).substr(inside, bytes);
}

Result<std::span<iovec>> RequestSource::pieces(std::uint64_t offset, std::span<iovec> room) {
  std::uint64_t record = 0;
  std::uint64_t skip = offset;
  if (offset >= opening_.size()) {
    record = std::min((offset - opening_.size()) / record_bytes, (body_bytes_ + chunk_bytes - 1) / chunk_bytes);
    skip = offset - opening_.size() - record * record_bytes;
  }
  // Past the last record, whose size differs, `skip` would count from its beginning.
  if (offset >= opening_.size() + records_bytes_) {
    record = (body_bytes_ + chunk_bytes - 1) / chunk_bytes;
    skip = offset - opening_.size() - records_bytes_;
  }
  Collector collected(skip, room);
  if (offset < opening_.size()) collected.add(opening_.data(), opening_.size());
  std::uint64_t at = record * chunk_bytes;
  bool has_read_file = false;
  while (at < body_bytes_) {
    const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, body_bytes_ - at));
    const bool is_in_window = at >= window_at_ && at < window_at_ + window_filled_;
    if (room.size() - collected.pieces().size() < 3 || (body_.file >= 0 && has_read_file && !is_in_window)) {
      return collected.pieces();
    }
    auto piece = content(at, bytes);
    if (!piece) return piece.error();
    has_read_file = true;
    collected.add(bytes == chunk_bytes ? full_header_.data() : last_header_.data(), header_bytes);
    collected.add(piece->data(), piece->size());
    collected.add(padding, padding_for(bytes));
    at += bytes;
  }
  collected.add(end_header_.data(), end_header_.size());
  return collected.pieces();
}

}  // namespace cppfcgi
