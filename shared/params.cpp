#include "shared/params.h"

#include <algorithm>
#include <cassert>

namespace cppfcgi {
namespace {

void append_length(std::string& out, std::size_t length) {
  assert(length < std::size_t{1} << 31);
  if (length < 128) {
    out += static_cast<char>(length);
  } else {
    out += static_cast<char>(length >> 24 | 0x80);
    out += static_cast<char>(length >> 16 & 0xff);
    out += static_cast<char>(length >> 8 & 0xff);
    out += static_cast<char>(length & 0xff);
  }
}

std::size_t length_bytes(std::size_t length) { return length < 128 ? 1 : 4; }

}  // namespace

std::size_t encoded_bytes(const Pair& pair) {
  return length_bytes(pair.name.size()) + length_bytes(pair.value.size()) + pair.name.size() + pair.value.size();
}

void append_pair(std::string& out, const Pair& pair) {
  append_length(out, pair.name.size());
  append_length(out, pair.value.size());
  out += pair.name;
  out += pair.value;
}

std::optional<std::uint32_t> PairCursor::length() {
  auto at = [&](std::size_t i) { return std::uint32_t{static_cast<unsigned char>(rest_[i])}; };
  if (rest_.empty()) return std::nullopt;
  if (at(0) < 128) {
    const std::uint32_t length = at(0);
    rest_.remove_prefix(1);
    return length;
  }
  if (rest_.size() < 4) return std::nullopt;
  const std::uint32_t length = (at(0) & 0x7f) << 24 | at(1) << 16 | at(2) << 8 | at(3);
  rest_.remove_prefix(4);
  return length;
}

std::optional<Pair> PairCursor::next() {
  if (rest_.empty() || malformed_) return std::nullopt;
  std::size_t name_bytes = static_cast<unsigned char>(rest_[0]);
  std::size_t value_bytes = rest_.size() > 1 ? static_cast<unsigned char>(rest_[1]) : 128;
  if (name_bytes < 128 && value_bytes < 128) {
    rest_.remove_prefix(2);  // nearly every pair there is
  } else {
    const auto long_name_bytes = length();
    const auto long_value_bytes = long_name_bytes ? length() : std::nullopt;
    malformed_ = !long_value_bytes;
    if (malformed_) return std::nullopt;
    name_bytes = *long_name_bytes;
    value_bytes = *long_value_bytes;
  }
  malformed_ = rest_.size() < name_bytes + value_bytes;
  if (malformed_) return std::nullopt;
  const Pair pair{rest_.substr(0, name_bytes), rest_.substr(name_bytes, value_bytes)};
  rest_.remove_prefix(name_bytes + value_bytes);
  return pair;
}

void ParamsWriter::open() {
  record_start_ = out_.size();
  out_.append(header_bytes, '\0');
}

void ParamsWriter::close() {
  const std::size_t content = out_.size() - record_start_ - header_bytes;
  const RecordHeader header{.type = static_cast<std::uint8_t>(RecordType::params),
                            .id = id_,
                            .content_length = static_cast<std::uint16_t>(content),
                            .padding_length = padding_for(content)};
  out_.replace(record_start_, header_bytes, as_text(encode(header)));
  out_.append(header.padding_length, '\0');
  record_start_ = std::string::npos;
}

void ParamsWriter::make_room(std::size_t bytes) {
  if (record_start_ != std::string::npos) {
    const std::size_t content = out_.size() - record_start_ - header_bytes;
    if (content + bytes <= max_content_bytes) return;
    close();
  }
  open();
}

// Only for a pair that exceeds a record: spreads it over as many as it takes.
void ParamsWriter::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t content = out_.size() - record_start_ - header_bytes;
    if (content == max_content_bytes) {
      close();
      open();
      continue;
    }
    const std::string_view piece = bytes.substr(0, max_content_bytes - content);
    out_ += piece;
    bytes.remove_prefix(piece.size());
  }
}

void ParamsWriter::add(std::string_view name, std::string_view value) {
  const Pair pair{name, value};
  const std::size_t bytes = encoded_bytes(pair);
  make_room(bytes);
  if (bytes <= max_content_bytes) return append_pair(out_, pair);
  std::string lengths;
  append_length(lengths, name.size());
  append_length(lengths, value.size());
  append(lengths);
  append(name);
  append(value);
}

void ParamsWriter::add_encoded(std::string_view pairs) {
  assert(pairs.size() <= max_content_bytes);
  if (pairs.empty()) return;
  make_room(pairs.size());
  out_ += pairs;
}

void ParamsWriter::finish() {
  if (record_start_ != std::string::npos) close();
  append_record(out_, RecordType::params, id_, {});
}

}  // namespace cppfcgi
