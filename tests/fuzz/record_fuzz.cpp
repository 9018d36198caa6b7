// RecordReader under arbitrary bytes: each record comes out once, whole and the same however the bytes are cut, and
// what comes out is what went in. The input's first two bytes choose the cuts.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "shared/record.h"

namespace {

using namespace cppfcgi;

void require(bool holds) {
  if (!holds) std::abort();
}

// The stream as it was read, header by header and content by content, less its padding.
class Watcher {
 public:
  void receive(Bytes bytes) {
    for (;;) {
      const RecordReader::Step step = reader_.next(bytes);
      if (step.kind != RecordReader::Kind::fragment) {
        is_broken_ = step.kind == RecordReader::Kind::violation;
        break;
      }
      require(step.is_first == (left_ == 0));
      if (step.is_first) {
        left_ = step.header.content_length + 1u;  // one more, for the record's end
        read_ += as_text(encode(step.header));
      }
      require(step.content.size() < left_);
      left_ -= static_cast<std::uint32_t>(step.content.size());
      require(step.is_last == (left_ == 1));
      if (step.is_last) left_ = 0;
      read_ += as_text(step.content);
    }
    require(is_broken_ || bytes.empty());
  }
  const std::string& read() const { return read_; }
  bool is_broken() const { return is_broken_; }
  bool is_between_records() const { return reader_.is_between_records(); }

 private:
  RecordReader reader_;
  std::string read_;
  std::uint32_t left_ = 0;
  bool is_broken_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t first = data[0] + 1u, second = data[1] + 1u;
  const Bytes input = std::as_bytes(std::span(data + 2, size - 2));
  Watcher whole, cut;
  whole.receive(input);
  bool is_first = true;
  for (Bytes rest = input; !rest.empty() && !cut.is_broken(); is_first = !is_first) {
    const std::size_t taken = std::min(rest.size(), is_first ? first : second);
    cut.receive(rest.first(taken));
    rest = rest.subspan(taken);
  }
  require(whole.is_broken() == cut.is_broken());
  require(whole.read() == cut.read());
  require(whole.is_between_records() == cut.is_between_records());
  return 0;
}
