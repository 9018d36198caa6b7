#include "mod_cppfcgi/manager/shared_sockets.h"

#include <utility>

namespace cppfcgi {

Result<SlotSocket> SharedSockets::open(const std::string& address, std::uint32_t depth) {
  std::shared_ptr<SharedSocket> shared = all_[address].lock();
  if (!shared) {
    const bool is_ours = out_of_reach_.contains(address);
    auto socket = is_ours ? SlotSocket::open(address, depth) : SlotSocket::open_for_others(address, depth);
    if (!socket) return socket.error();
    shared = std::make_shared<SharedSocket>(*std::move(socket));
    all_[address] = shared;
    out_of_reach_.erase(address);
  }
  return SlotSocket::of(shared, shared->fd());
}

SlotSocket SharedSockets::take_from(const Fd& pidfd, const std::string& address) {
  std::shared_ptr<SharedSocket> shared = all_[address].lock();
  if (!shared) {
    SlotSocket socket = SlotSocket::take_from(pidfd, address);
    if (socket.fd() < 0) {
      out_of_reach_.insert(address);
      return {};
    }
    shared = std::make_shared<SharedSocket>(std::move(socket));
    all_[address] = shared;
  }
  auto slot = SlotSocket::of(shared, shared->fd());
  return slot ? *std::move(slot) : SlotSocket();
}

}  // namespace cppfcgi
