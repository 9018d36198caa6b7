// RequestIds: ids of requests for where no other module gives them any: different in every child of every server, over
// restarts too, and made without a system call. Any thread may call. Pure: the nonce is given.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace cppfcgi {

class RequestIds {
 public:
  static constexpr std::size_t bytes = 19;  // 64 bits of nonce and 48 of a number, six to a character

  explicit RequestIds(std::uint64_t nonce) : nonce_(nonce) {}  // random, and this process's alone

  std::array<char, bytes> next();

 private:
  std::uint64_t nonce_;
  std::atomic<std::uint64_t> number_{0};
};

}  // namespace cppfcgi
