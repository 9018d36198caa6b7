// Exchange under any bytes: what it says does not depend on how they are cut, a body never exceeds its Content-Length,
// and nothing but END_REQUEST ends an answer.
#include <cstdlib>
#include <string>

#include "mod_cppfcgi/core/exchange.h"

namespace {

using cppfcgi::Bytes;
using cppfcgi::Exchange;

void require(bool holds) {
  if (!holds) std::abort();
}

struct Seen {
  std::string body;
  std::string error_text;
  std::string how;
  bool is_reusable = false;
  friend bool operator==(const Seen&, const Seen&) = default;
};

// True: nothing more is to be read.
bool feed(Exchange& exchange, Bytes bytes, Seen& seen) {
  for (;;) {
    const Exchange::Event event = exchange.next(bytes);
    switch (event.kind) {
      case Exchange::Kind::need_more:
        require(bytes.empty());
        return false;
      case Exchange::Kind::head:
        require(exchange.head().is_complete());
        seen.how += "head " + std::to_string(exchange.head().status()) + " ";
        break;
      case Exchange::Kind::body:
        require(exchange.head().is_complete() && !event.bytes.empty());
        seen.body += cppfcgi::as_text(event.bytes);
        break;
      case Exchange::Kind::error_text:
        seen.error_text += cppfcgi::as_text(event.bytes);
        break;
      case Exchange::Kind::ended:
        require(exchange.has_ended());
        seen.how += "ended " + std::to_string(event.end.protocol_status);
        break;
      case Exchange::Kind::violation:
        require(!exchange.has_ended() && !exchange.is_reusable());
        seen.how += event.why;
        return true;
    }
  }
}

Seen parse(std::string_view input, std::size_t piece, bool is_head_request) {
  Exchange exchange({.head_limit_bytes = 4'096, .is_head_request = is_head_request});
  exchange.request_sent();
  Seen seen;
  while (!input.empty()) {
    const std::string_view part = input.substr(0, piece);
    input.remove_prefix(part.size());
    if (feed(exchange, cppfcgi::as_bytes(part), seen)) break;
  }
  if (const auto length = exchange.head().content_length();
      exchange.head().is_complete() && length && !is_head_request) {
    const int status = exchange.head().status();
    require(status == 204 || status == 304 || seen.body.size() <= *length);
  }
  seen.is_reusable = exchange.is_reusable();
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool is_head_request = (data[0] & 1) != 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Seen whole = parse(input, std::string_view::npos, is_head_request);
  require(parse(input, 1, is_head_request) == whole);
  require(parse(input, 5, is_head_request) == whole);
  return 0;
}
