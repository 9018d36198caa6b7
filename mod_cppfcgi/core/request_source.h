// RequestSource: a whole FastCGI request as a stream of bytes that can be read from any offset: the opening
// (BEGIN_REQUEST and PARAMS, already encoded), the body in STDIN records, and the empty STDIN record. The body lies in
// memory, where it is sent from without a copy, or in a file. Reading again from 0 repeats the request.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shared/record.h"
#include "shared/result.h"

namespace cppfcgi {

// Borrowed; must outlive what sends it.
struct BodySource {
  std::string_view memory{};
  int file = -1;  // if not -1, the body is its first `file_bytes` bytes
  std::uint64_t file_bytes = 0;
};

class RequestSource {
 public:
  RequestSource(std::string_view opening, const BodySource& body);

  std::uint64_t size() const { return size_; }

  // Pieces of the stream from `offset` (< size()) on, as many as fit `room` and, from a file, as one read gives.
  // They stay valid until the next call.
  Result<std::span<iovec>> pieces(std::uint64_t offset, std::span<iovec> room);

  // Is this offset between two records, where an ABORT_REQUEST may stand?
  bool is_between_records(std::uint64_t offset) const;

 private:
  static constexpr std::size_t chunk_bytes = 65'528;  // the most that needs no padding
  static constexpr std::size_t record_bytes = header_bytes + chunk_bytes;
  static constexpr std::size_t window_bytes = 4 * chunk_bytes;

  Result<std::string_view> content(std::uint64_t offset, std::size_t bytes);

  std::string_view opening_;
  BodySource body_;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t records_bytes_ = 0;  // of all STDIN records with content
  std::uint64_t size_ = 0;
  std::array<std::byte, header_bytes> full_header_{};
  std::array<std::byte, header_bytes> last_header_{};
  std::array<std::byte, header_bytes> end_header_{};
  std::vector<char> window_;  // of a file
  std::uint64_t window_at_ = 0;
  std::size_t window_filled_ = 0;
};

}  // namespace cppfcgi
