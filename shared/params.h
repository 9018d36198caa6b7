// FastCGI 1.0 name-value pairs (section 3.4), and the PARAMS stream that carries them. Pure.
// Lengths below 128 take one byte, others four (up to 2^31 - 1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "shared/record.h"

namespace cppfcgi {

struct Pair {
  std::string_view name;
  std::string_view value;
  friend bool operator==(const Pair&, const Pair&) = default;
};

std::size_t encoded_bytes(const Pair& pair);
void append_pair(std::string& out, const Pair& pair);

// Walks a whole block of pairs; the views point into it. At its end `is_malformed` says whether the block broke off.
class PairCursor {
 public:
  explicit PairCursor(std::string_view block) : rest_(block) {}
  std::optional<Pair> next();
  bool is_malformed() const { return malformed_; }

 private:
  std::optional<std::uint32_t> length();

  std::string_view rest_;
  bool malformed_ = false;
};

// Writes a PARAMS stream to `out`, straight into records: each is filled, and a pair is split across records only where
// it alone exceeds one (php-cgi resets on a split pair). finish() ends the last record and adds the empty one that ends
// the stream. `out` is borrowed until then, and nothing else may be appended to it meanwhile.
class ParamsWriter {
 public:
  ParamsWriter(std::string& out, std::uint16_t id) : out_(out), id_(id) {}
  void add(std::string_view name, std::string_view value);
  // Pairs that were encoded before, as one unit that must not be split: at most 65,535 bytes.
  void add_encoded(std::string_view pairs);
  void finish();

 private:
  void make_room(std::size_t bytes);
  void append(std::string_view bytes);
  void open();
  void close();

  std::string& out_;
  std::uint16_t id_;
  std::size_t record_start_ = std::string::npos;  // where the open record's header lies in out_
};

}  // namespace cppfcgi
