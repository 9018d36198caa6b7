// SharedSockets: listening sockets that all workers of a pool have together (-port, -socket). Whoever takes over a
// pool's place in a new configuration wants the same one while the old pool still has it: a port can be bound once. A
// shell; one for all pools.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "mod_cppfcgi/manager/slot_socket.h"

namespace cppfcgi {

// Ends with the last who has it: closed, and its file removed.
class SharedSocket {
 public:
  explicit SharedSocket(SlotSocket socket) : socket_(std::move(socket)) {}
  ~SharedSocket() { socket_.remove(); }
  SharedSocket(const SharedSocket&) = delete;
  SharedSocket& operator=(const SharedSocket&) = delete;
  int fd() const { return socket_.fd(); }

 private:
  SlotSocket socket_;
};

class SharedSockets {
 public:
  // A slot's own descriptor of the socket that listens at this Address.
  Result<SlotSocket> open(const std::string& address, std::uint32_t depth);
  // The same where a living worker of an earlier manager has it. Without a descriptor where we may not reach it: then
  // open() makes another at that place, and workers who listen on the first should be replaced.
  SlotSocket take_from(const Fd& pidfd, const std::string& address);

 private:
  std::set<std::string> out_of_reach_;
  std::map<std::string, std::weak_ptr<SharedSocket>> all_;
};

}  // namespace cppfcgi
