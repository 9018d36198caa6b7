// The control socket between httpd's parent (or cppfcgictl, later) and the manager: SOCK_SEQPACKET, one message a
// packet, a few descriptors with it. Long text (a configuration) travels as a memfd. A shell: makes system calls, never
// blocks beyond its deadline.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {

enum class MessageKind : std::uint32_t {
  configure = 1,   // to the manager; descriptors: the JSON of a Configuration (memfd), the error log to write to from
                   // now on, and those that PoolConfig::log counts (1: the first of these)
  configured = 2,  // from it: `number` is in force, every pool has its row in the directory
  refused = 3,     // from it: `number` is not; text says why
  generation_ended =
      4,  // to it: httpd's children that knew configurations before `number` are gone: removed pools may end
  // Over the orders' socket, from a child of httpd, for which the first request for a dynamic application has come:
  order = 5,       // `number` is the key of a PoolTemplate, text the program's path; descriptor: where the answer goes
  opened = 6,      // the answer: the pool has its row in the directory
  not_opened = 7,  // or: `number` is an errno value that says of what kind the reason in text is
};

struct Message {
  MessageKind kind = MessageKind::configure;
  std::uint64_t number = 0;  // of the configuration, counted up by the sender
  std::string text;          // at most 4,000 bytes
  std::vector<Fd> descriptors;
};

inline constexpr std::size_t max_message_text_bytes = 4'000;
inline constexpr std::size_t max_message_descriptors = 200;  // the kernel takes 253
inline constexpr std::size_t max_pool_logs = max_message_descriptors - 2;

Result<void> send_message(int socket, const Message& message);  // does not block; SIGPIPE never
// Error with code 0: the other end has closed. ETIMEDOUT: nothing came in time (0 ms: do not wait).
Result<Message> receive_message(int socket, std::chrono::milliseconds timeout);

// A memfd that holds `text`, and its content back (at most max_bytes).
Result<Fd> text_to_memory(const std::string& text);
Result<std::string> text_from_memory(int fd, std::size_t max_bytes);

}  // namespace cppfcgi
