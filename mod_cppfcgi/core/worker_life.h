// Whether a process still lives, for the one question of a safe retry: did a worker close a connection, or die? Reads
// /proc.
#pragma once

#include <cstdint>

namespace cppfcgi {

// False as well where it cannot be known. A process that ends gives up its memory before its sockets, so one whose
// sockets were closed by its end is never taken for a living one.
bool is_living(std::int32_t pid);

}  // namespace cppfcgi
