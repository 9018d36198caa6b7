// How long the chaos suite's tests last. Short, as `make test` runs them, unless the environment says otherwise:
//   CHAOS_SECONDS   of random faults under each setting       CHAOS_FULL=1   all settings, and the fault table at its
//   length SEED            of the random faults and of the questions: repeats a run
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tests/chaos/site.h"

namespace cppfcgi::test {

bool is_full();
Milliseconds row_length();     // of the fault table
Milliseconds random_length();  // of random faults
int repetitions();             // of restarts, deploys, deaths of the manager
std::uint64_t seed();

// Does it again and again, every so often, for the length of a row.
void every(Milliseconds period, const std::function<void()>& strike);

std::vector<Setting> settings_of_rows();
std::vector<Setting> settings_of_random_faults();

}  // namespace cppfcgi::test
