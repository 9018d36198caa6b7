// The build id in a program or library as it lies in memory. Reads only, for signal handlers.
#pragma once

#include <span>

namespace cppfcgi {

// `image`: its mapping from offset 0 of the file on. Empty: there is none in it.
std::span<const unsigned char> find_build_id(std::span<const unsigned char> image);

}  // namespace cppfcgi
