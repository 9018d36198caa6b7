#include "shared/record.h"

#include <algorithm>
#include <cassert>

namespace cppfcgi {

std::array<std::byte, header_bytes> encode(const RecordHeader& header) {
  return {std::byte{header.version},
          std::byte{header.type},
          std::byte(header.id >> 8),
          std::byte(header.id & 0xff),
          std::byte(header.content_length >> 8),
          std::byte(header.content_length & 0xff),
          std::byte{header.padding_length},
          std::byte{0}};
}

RecordHeader decode_header(std::span<const std::byte, header_bytes> bytes) {
  auto at = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  return {.version = static_cast<std::uint8_t>(at(0)),
          .type = static_cast<std::uint8_t>(at(1)),
          .id = static_cast<std::uint16_t>(at(2) << 8 | at(3)),
          .content_length = static_cast<std::uint16_t>(at(4) << 8 | at(5)),
          .padding_length = static_cast<std::uint8_t>(at(6))};
}

RecordReader::Step RecordReader::next(Bytes& bytes) {
  if (broken_) return {.kind = Kind::violation, .header = header_};
  for (;;) {
    if (in_record_) {
      if (content_left_ > 0 || is_first_) {
        if (content_left_ > 0 && bytes.empty()) return {};
        const std::size_t taken = std::min(content_left_, bytes.size());
        Step step{.kind = Kind::fragment, .header = header_, .content = bytes.first(taken), .is_first = is_first_};
        bytes = bytes.subspan(taken);
        content_left_ -= taken;
        is_first_ = false;
        step.is_last = content_left_ == 0;
        return step;
      }
      const std::size_t skipped = std::min(padding_left_, bytes.size());
      bytes = bytes.subspan(skipped);
      padding_left_ -= skipped;
      if (padding_left_ > 0) return {};
      in_record_ = false;
    }
    const std::size_t taken = std::min(header_bytes - have_, bytes.size());
    std::copy_n(bytes.begin(), taken, partial_.begin() + static_cast<std::ptrdiff_t>(have_));
    have_ += taken;
    bytes = bytes.subspan(taken);
    if (have_ < header_bytes) return {};
    have_ = 0;
    header_ = decode_header(partial_);
    if (header_.version != protocol_version) {
      broken_ = true;
      return {.kind = Kind::violation, .header = header_};
    }
    content_left_ = header_.content_length;
    padding_left_ = header_.padding_length;
    in_record_ = is_first_ = true;
  }
}

void append_record(std::string& out, RecordType type, std::uint16_t id, std::string_view content) {
  assert(content.size() <= max_content_bytes);
  const RecordHeader header{.type = static_cast<std::uint8_t>(type),
                            .id = id,
                            .content_length = static_cast<std::uint16_t>(content.size()),
                            .padding_length = padding_for(content.size())};
  out += as_text(encode(header));
  out += content;
  out.append(header.padding_length, '\0');
}

void append_stream(std::string& out, RecordType type, std::uint16_t id, std::string_view content) {
  while (!content.empty()) {
    const std::string_view piece = content.substr(0, max_content_bytes);
    append_record(out, type, id, piece);
    content.remove_prefix(piece.size());
  }
}

void append_begin_request(std::string& out, std::uint16_t id, Role role, std::uint8_t flags) {
  const auto number = static_cast<std::uint16_t>(role);
  const char body[8] = {static_cast<char>(number >> 8), static_cast<char>(number & 0xff), static_cast<char>(flags)};
  append_record(out, RecordType::begin_request, id, {body, sizeof body});
}

void append_end_request(std::string& out, std::uint16_t id, std::uint32_t app_status, ProtocolStatus status) {
  const char body[8] = {static_cast<char>(app_status >> 24), static_cast<char>(app_status >> 16 & 0xff),
                        static_cast<char>(app_status >> 8 & 0xff), static_cast<char>(app_status & 0xff),
                        static_cast<char>(status)};
  append_record(out, RecordType::end_request, id, {body, sizeof body});
}

void append_unknown_type(std::string& out, std::uint8_t type) {
  const char body[8] = {static_cast<char>(type)};
  append_record(out, RecordType::unknown_type, 0, {body, sizeof body});
}

std::optional<BeginRequestBody> decode_begin_request(std::string_view content) {
  if (content.size() != 8) return std::nullopt;
  auto at = [&](std::size_t i) { return static_cast<unsigned char>(content[i]); };
  return BeginRequestBody{.role = static_cast<std::uint16_t>(at(0) << 8 | at(1)), .flags = at(2)};
}

std::optional<EndRequestBody> decode_end_request(std::string_view content) {
  if (content.size() != 8) return std::nullopt;
  auto at = [&](std::size_t i) { return std::uint32_t{static_cast<unsigned char>(content[i])}; };
  return EndRequestBody{.app_status = at(0) << 24 | at(1) << 16 | at(2) << 8 | at(3),
                        .protocol_status = static_cast<std::uint8_t>(at(4))};
}

}  // namespace cppfcgi
