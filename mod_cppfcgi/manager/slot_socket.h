// SlotSocket: the listening socket of one slot. It belongs to the slot and outlives its workers, so that what is queued
// on it when one dies is answered by the next. A shell; owned by the pool's keeper.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class SlotSocket {
 public:
  SlotSocket() = default;
  // A new socket at this Address; an old one of ours there is replaced.
  static Result<SlotSocket> open(const std::string& address, std::uint32_t depth);
  // A new socket at an Address that an operator has chosen: nothing is replaced there but the file of a socket on which
  // nobody listens.
  static Result<SlotSocket> open_for_others(const std::string& address, std::uint32_t depth);
  // A descriptor of its own of a socket that others share, which lives as long as they do.
  static Result<SlotSocket> of(std::shared_ptr<const void> shared, int fd);
  // The socket at this Address that a worker of an earlier manager listens on. Where we may not reach it, one
  // without a descriptor.
  static SlotSocket take_from(const Fd& pidfd, const std::string& address);

  SlotSocket(SlotSocket&&) = default;
  SlotSocket& operator=(SlotSocket&&) = default;

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  void set_depth(std::uint32_t depth) const;
  void turn_away_waiting() const;  // resets the connections in the listen queue, where no worker will accept them
  void remove();                   // closes it, and removes its file unless somebody has put another there

 private:
  Result<void> listen_at(const std::string& address, std::uint32_t depth);
  void note_file(const std::string& address);

  Fd fd_;
  std::shared_ptr<const void> shared_;
  std::string path_;
  dev_t device_ = 0;  // of the file, which fstat on the socket does not tell
  ino_t inode_ = 0;
};

// Removes the sockets of dead managers from the folder: those with names like ours on which nobody listens.
void remove_dead_sockets(const std::string& folder);

}  // namespace cppfcgi
