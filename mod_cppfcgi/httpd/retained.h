// Retained: what of the link to the manager outlives a restart of httpd, in which this module is unloaded. Numbers,
// descriptors and a path in httpd's retained data; never a pointer. One per process; httpd's parent writes it, children
// have the copy of the fork.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <type_traits>

#include "shared/pool_config.h"

namespace cppfcgi {

struct Retained {
  std::uint32_t layout = 0;  // of the areas
  pid_t parent = 0;
  pid_t manager = 0;  // 0: none
  int control = -1;
  int directory = -1;  // writable; for the next manager
  int load = -1;
  int nudge = -1;
  int orders = -1;                   // children's end of the socket for orders of dynamic pools
  int managers_orders = -1;          // the managers', one after the other
  std::uint64_t configuration = 0;   // number of the latest
  std::uint64_t oldest_told = 0;     // to this manager: no child knows a configuration before it
  std::int64_t manager_started = 0;  // of the steady clock, in ms
  int short_lives = 0;               // managers in a row that died early
  bool is_tried_at_stop = false;
  char socket_folder[max_socket_path_bytes + 1] = {};

  // httpd's generations that may still have children, and so send requests by an old configuration.
  struct Generation {
    int number = 0;
    int children = 0;
    std::uint64_t configuration = 0;
  };
  static constexpr int max_generations = 64;
  Generation generations[max_generations] = {};
  int generation_count = 0;

  Generation* find_generation(int number);
  void begin_generation(int number);
  void forget_childless(int current);
  std::uint64_t oldest_configuration() const;
};
static_assert(std::is_trivially_copyable_v<Retained>);

Retained* retained();       // nullptr: not yet made
Retained& make_retained();  // or as it was before the restart

void close_descriptor(int& descriptor);

}  // namespace cppfcgi
