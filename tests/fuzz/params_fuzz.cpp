// Name-value pairs under arbitrary bytes: what is read lies inside the block; written again, in pairs or as a PARAMS
// stream, it reads the same.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "shared/params.h"

namespace {

using namespace cppfcgi;

void require(bool holds) {
  if (!holds) std::abort();
}

std::vector<Pair> decode(std::string_view block, bool& is_malformed) {
  std::vector<Pair> pairs;
  PairCursor cursor(block);
  while (const auto pair = cursor.next()) {
    for (const std::string_view part : {pair->name, pair->value}) {
      require(part.data() >= block.data() && part.data() + part.size() <= block.data() + block.size());
    }
    pairs.push_back(*pair);
  }
  is_malformed = cursor.is_malformed();
  require(!cursor.next());
  return pairs;
}

std::string content_of(std::string_view stream) {
  std::string content;
  RecordReader reader;
  Bytes bytes = as_bytes(stream);
  for (RecordReader::Step step; (step = reader.next(bytes)).kind == RecordReader::Kind::fragment;) {
    require(step.header.is(RecordType::params));
    content += as_text(step.content);
  }
  require(reader.is_between_records());
  return content;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view block = as_text(std::as_bytes(std::span(data, size)));
  bool is_malformed = false;
  const std::vector<Pair> pairs = decode(block, is_malformed);
  std::string again, stream;
  ParamsWriter writer(stream, 1);
  for (const Pair& pair : pairs) {
    append_pair(again, pair);
    writer.add(pair.name, pair.value);
  }
  writer.finish();
  require(content_of(stream) == again);
  bool is_again_malformed = false;
  require(decode(again, is_again_malformed) == pairs && !is_again_malformed);
  return 0;
}
