// SlotSocket: the listening socket of one slot. It belongs to the slot and outlives its workers, so that what is queued
// on it when one dies is answered by the next. A shell; owned by the pool's keeper.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

class SlotSocket {
 public:
  SlotSocket() = default;
  // A new socket at this path; an old one there is replaced.
  static Result<SlotSocket> open(const std::string& path, std::uint32_t depth);
  // The socket that a worker of an earlier manager holds as its fd 0. Where we may not reach it, one without a
  // descriptor.
  static SlotSocket take_from(const Fd& pidfd, const std::string& path);

  SlotSocket(SlotSocket&&) = default;
  SlotSocket& operator=(SlotSocket&&) = default;

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  void set_depth(std::uint32_t depth) const;
  void turn_away_waiting() const;  // resets the connections in the listen queue, where no worker will accept them
  void remove();                   // closes it, and removes its file unless somebody has put another there

 private:
  Fd fd_;
  std::string path_;
  dev_t device_ = 0;  // of the file, which fstat on the socket does not tell
  ino_t inode_ = 0;
};

// Removes the sockets of dead managers from the folder: those with names like ours on which nobody listens.
void remove_dead_sockets(const std::string& folder);

}  // namespace cppfcgi
