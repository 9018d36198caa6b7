#include "mod_cppfcgi/manager/capacity.h"

#include <algorithm>
#include <charconv>

#include "shared/params.h"

namespace cppfcgi {
namespace {

std::uint8_t clamped(std::string_view digits, std::uint32_t most) {
  std::uint32_t number = 1;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (failure == std::errc::result_out_of_range) number = most;
  return static_cast<std::uint8_t>(std::clamp<std::uint32_t>(number, 1, most));
}

Offer offer_from(std::string_view content) {
  Offer offer;
  PairCursor pairs(content);
  while (const auto pair = pairs.next()) {
    if (pair->name == "FCGI_MAX_REQS") offer.capacity = clamped(pair->value, max_capacity);
    if (pair->name == "FCGI_MAX_CONNS") offer.connections = clamped(pair->value, 255);
    if (pair->name == "FCGI_MPXS_CONNS") offer.is_multiplexed = pair->value == "1";
  }
  return offer;
}

}  // namespace

std::string capacity_question() {
  std::string content;
  for (const std::string_view name : {"FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"})
    append_pair(content, {name, ""});
  RecordHeader header{.type = static_cast<std::uint8_t>(RecordType::get_values),
                      .content_length = static_cast<std::uint16_t>(content.size()),
                      .padding_length = padding_for(content.size())};
  // libfcgi as Debian ships it waits for more where a lone FCGI_GET_VALUES has no padding.
  if (header.padding_length == 0) header.padding_length = 8;
  return std::string(as_text(encode(header))) + content + std::string(header.padding_length, '\0');
}

std::optional<Offer> CapacityAnswer::feed(Bytes bytes) {
  while (true) {
    const RecordReader::Step step = reader_.next(bytes);
    switch (step.kind) {
      case RecordReader::Kind::need_more:
        return std::nullopt;
      case RecordReader::Kind::violation:
        return Offer{};
      case RecordReader::Kind::fragment:
        if (!step.header.is(RecordType::get_values_result)) return Offer{};
        content_ += as_text(step.content);
        if (step.is_last) return offer_from(content_);
    }
  }
}

}  // namespace cppfcgi
