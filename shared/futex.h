// Futexes on words that several processes share. A shell: system calls. They survive the death of any process that uses
// them.
#pragma once

#include <chrono>
#include <cstdint>

#include "shared/scoreboard.h"

namespace cppfcgi {

void wake_one(Shared<std::uint32_t>* word);  // a Claims::WakeFutex

// Sleeps while the word reads `value`, until woken or `deadline` (steady clock). Wakes for no reason too: look again.
// False: the deadline has passed.
bool wait_while(Shared<std::uint32_t>* word, std::uint32_t value, std::chrono::steady_clock::time_point deadline);

}  // namespace cppfcgi
