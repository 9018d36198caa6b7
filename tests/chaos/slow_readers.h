// SlowReaders: clients that read 10 KB/s each of an answer of 8 MB, and check it as far as it comes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/http_client.h"

namespace cppfcgi::test {

class SlowReaders {
 public:
  SlowReaders(int port, std::size_t count, std::uint64_t seed);
  ~SlowReaders() { finish(); }
  SlowReaders(const SlowReaders&) = delete;
  SlowReaders& operator=(const SlowReaders&) = delete;

  bool have_all_begun() const { return has_begun_ == count_; }
  void finish();
  std::size_t right() const;  // afterwards: those that were answered well as far as they came

 private:
  struct Reader {
    explicit Reader(int port) : connection(port) {}
    HttpConnection connection;
    std::uint64_t nonce = 0;
    std::string got;
    bool has_ended = false;
  };

  void begin_one();
  void read_on();
  static bool is_right(const Reader& reader);

  const int port_;
  const std::size_t count_;
  const std::uint64_t seed_;
  std::vector<std::unique_ptr<Reader>> readers_;
  std::atomic<std::size_t> has_begun_{0};
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

}  // namespace cppfcgi::test
