// FastCGI 1.0 records (section 3.3 and 8): headers out and in, and whole streams of them.
// Pure: no system call, no clock, no allocation while reading. Not thread-safe; one reader per direction of a
// connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cppfcgi {

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

enum class RecordType : std::uint8_t {
  begin_request = 1,
  abort_request = 2,
  end_request = 3,
  params = 4,
  stdin_stream = 5,
  stdout_stream = 6,
  stderr_stream = 7,
  data = 8,
  get_values = 9,
  get_values_result = 10,
  unknown_type = 11,
};

enum class Role : std::uint16_t { responder = 1, authorizer = 2, filter = 3 };

enum class ProtocolStatus : std::uint8_t { request_complete = 0, cant_mpx_conn = 1, overloaded = 2, unknown_role = 3 };

inline constexpr std::uint8_t protocol_version = 1;
inline constexpr std::uint8_t keep_conn_flag = 1;
inline constexpr std::size_t header_bytes = 8;
inline constexpr std::size_t max_content_bytes = 65'535;

struct RecordHeader {
  std::uint8_t version = protocol_version;
  std::uint8_t type = 0;  // RecordType, or a number that nobody knows
  std::uint16_t id = 0;   // 0: a management record
  std::uint16_t content_length = 0;
  std::uint8_t padding_length = 0;

  bool is(RecordType wanted) const { return type == static_cast<std::uint8_t>(wanted); }
  friend bool operator==(const RecordHeader&, const RecordHeader&) = default;
};

std::array<std::byte, header_bytes> encode(const RecordHeader& header);
RecordHeader decode_header(std::span<const std::byte, header_bytes> bytes);

// Padding that brings a record with this much content to a multiple of eight bytes (section 3.3 recommends it).
constexpr std::uint8_t padding_for(std::size_t content_bytes) {
  return static_cast<std::uint8_t>((8 - content_bytes % 8) % 8);
}

// Cuts a byte stream into records, however the bytes arrive. Content is handed on where it lies, in as many fragments
// as it came in; padding is swallowed. After `violation` (a version other than 1) the reader stays there: close the
// connection.
class RecordReader {
 public:
  enum class Kind { need_more, fragment, violation };
  struct Step {
    Kind kind = Kind::need_more;
    RecordHeader header{};
    Bytes content{};        // borrowed from the bytes given to next()
    bool is_first = false;  // the record's first fragment (its only one where the record is empty)
    bool is_last = false;   // the record's content is complete with this one
  };

  // Takes the next fragment off the front of `bytes`. need_more: all of `bytes` is consumed.
  Step next(Bytes& bytes);

  // True between two records: where a connection may end, or be kept.
  bool is_between_records() const { return !in_record_ && have_ == 0; }

 private:
  std::array<std::byte, header_bytes> partial_{};
  std::size_t have_ = 0;  // bytes of partial_ that are filled
  RecordHeader header_;
  std::size_t content_left_ = 0;
  std::size_t padding_left_ = 0;
  bool in_record_ = false;
  bool is_first_ = false;
  bool broken_ = false;
};

// Appenders: each adds whole records, padded, to `out`.
void append_record(std::string& out, RecordType type, std::uint16_t id, std::string_view content);  // <= 65,535 bytes
void append_stream(std::string& out, RecordType type, std::uint16_t id,
                   std::string_view content);  // split; nothing for ""
void append_begin_request(std::string& out, std::uint16_t id, Role role, std::uint8_t flags);
void append_end_request(std::string& out, std::uint16_t id, std::uint32_t app_status, ProtocolStatus status);
void append_unknown_type(std::string& out, std::uint8_t type);

struct BeginRequestBody {
  std::uint16_t role = 0;
  std::uint8_t flags = 0;
};
struct EndRequestBody {
  std::uint32_t app_status = 0;
  std::uint8_t protocol_status = 0;
};
std::optional<BeginRequestBody> decode_begin_request(std::string_view content);  // nullopt: not 8 bytes
std::optional<EndRequestBody> decode_end_request(std::string_view content);      // nullopt: not 8 bytes

}  // namespace cppfcgi
