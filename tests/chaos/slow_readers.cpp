#include "tests/chaos/slow_readers.h"

#include <sys/socket.h>

#include <algorithm>

#include "tests/chaos/pattern.h"
#include "tests/chaos/traffic.h"

namespace cppfcgi::test {
namespace {

constexpr std::size_t answer_bytes = 8'000'000;
constexpr Milliseconds pause{50};         // one more begins each time, and
constexpr std::size_t piece_bytes = 512;  // each reads so much

}  // namespace

SlowReaders::SlowReaders(int port, std::size_t count, std::uint64_t seed)
    : port_(port), count_(count), seed_(seed), thread_([this] { read_on(); }) {}

void SlowReaders::finish() {
  is_over_ = true;
  if (thread_.joinable()) thread_.join();
}

std::size_t SlowReaders::right() const {
  return static_cast<std::size_t>(
      std::count_if(readers_.begin(), readers_.end(), [](const auto& reader) { return is_right(*reader); }));
}

bool SlowReaders::is_right(const Reader& reader) {
  const std::size_t head_end = reader.got.find("\r\n\r\n");
  if (reader.has_ended || !reader.got.starts_with("HTTP/1.1 200 ") || head_end == std::string::npos) return false;
  const std::string body = reader.got.substr(head_end + 4);
  return !body.empty() && body == pattern_of(reader.nonce, body.size());
}

void SlowReaders::begin_one() {
  auto reader = std::make_unique<Reader>(port_);
  reader->nonce = mixed_question(seed_, readers_.size()).nonce;
  const int little = 8'192;
  ::setsockopt(reader->connection.fd(), SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
  reader->connection.send(request_text("GET", target_of({.nonce = reader->nonce, .bytes = answer_bytes})));
  readers_.push_back(std::move(reader));
}

void SlowReaders::read_on() {
  for (auto next = Clock::now(); !is_over_; next += pause) {
    std::this_thread::sleep_until(next);  // the rate at which they read
    if (readers_.size() < count_) begin_one();
    std::size_t begun = 0;
    for (auto& reader : readers_) {
      char piece[piece_bytes];
      const ssize_t got = ::recv(reader->connection.fd(), piece, sizeof piece, MSG_DONTWAIT);
      if (got > 0) reader->got.append(piece, static_cast<std::size_t>(got));
      if (got == 0) reader->has_ended = true;
      begun += !reader->got.empty();
    }
    has_begun_ = begun;
  }
}

}  // namespace cppfcgi::test
