// Spool: bytes of an answer that the client has not taken yet, in order: first in memory, then in a file without a
// name. Bounded: at its bound whoever fills it waits. A shell; not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shared/fd.h"
#include "shared/record.h"
#include "shared/result.h"

namespace cppfcgi {

class Spool {
 public:
  struct Limits {
    std::size_t memory_bytes = 256 * 1024;
    std::uint64_t file_bytes = std::uint64_t{256} << 20;
  };
  Spool(std::string folder, const Limits& limits) : folder_(std::move(folder)), limits_(limits) {}

  // Takes all of it, even where that crosses a bound by a little. After an error (a full disk) it is full for good:
  // what it was given is kept in memory all the same, and nothing is lost.
  Result<void> append(Bytes bytes);

  bool is_full() const;
  bool is_empty() const { return memory_.empty() && read_at_ == write_at_ && behind_.empty(); }

  // The oldest bytes, up to the bound of memory; "" where there are none.
  Result<std::string> take();

  // All that is left, where it lies in the file alone: nothing may be appended afterwards.
  struct Rest {
    Fd file;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  std::optional<Rest> take_file();

 private:
  Result<void> append_to_file(Bytes bytes);

  std::string folder_;
  Limits limits_;
  std::string memory_;  // older than what is in the file
  std::string behind_;  // newer than what is in the file: what could not be written
  Fd file_;
  std::uint64_t read_at_ = 0;
  std::uint64_t write_at_ = 0;
  bool has_failed_ = false;
};

}  // namespace cppfcgi
