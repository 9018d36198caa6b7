// Connections to workers: connecting, and keeping those that a worker lets us keep. One per httpd child; any thread may
// call. Kept ones are bounded, least recently used out; a generation that has ended takes its kept connections with it.
// A shell.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

// A non-blocking connection to whoever listens at this Address. Waits for room in its listen queue, or for another host
// to answer, until the deadline (EAGAIN, ETIMEDOUT).
Result<Fd> connect_to_worker(const std::string& address, std::chrono::steady_clock::time_point deadline);

class Connections {
 public:
  explicit Connections(std::uint32_t limit);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  // A kept connection to this worker, nobody else's from now on; empty if there is none.
  Fd take(std::uint32_t slot, std::uint32_t generation);
  void keep(std::uint32_t slot, std::uint32_t generation, Fd connection);

 private:
  // Whoever turns `state` from `free` or a worker into `busy` owns the other members until it stores another state.
  struct Place {
    std::atomic<std::uint64_t> state{0};  // `free`, `busy`, or the worker: slot + 1 << 32 | generation
    std::atomic<std::uint64_t> used{0};   // when it was kept, in keeps
    int fd = -1;
  };
  void put(Place& place, std::uint64_t worker, Fd connection);

  std::uint32_t limit_;
  std::unique_ptr<Place[]> places_;
  std::atomic<std::uint64_t> keeps_{0};
};

}  // namespace cppfcgi
