#include "mod_cppfcgi/httpd/retained.h"

#include <httpd.h>

// after httpd.h, on which it leans
#include <http_config.h>

#include <algorithm>
#include <new>
#include <utility>

#include "shared/fd.h"

namespace cppfcgi {
namespace {

constexpr const char* key = "mod_cppfcgi manager link 2";  // count up where Retained changes

}  // namespace

Retained::Generation* Retained::find_generation(int number) {
  Generation* end = generations + generation_count;
  Generation* found = std::find_if(generations, end, [&](const Generation& g) { return g.number == number; });
  return found == end ? nullptr : found;
}

// Where the table is full, the oldest ones stand for the new one as well: its pools are kept as long as theirs.
void Retained::begin_generation(int number) {
  if (find_generation(number) || generation_count == max_generations) return;
  generations[generation_count++] = {number, 0, configuration};
}

void Retained::forget_childless(int current) {
  Generation* end = generations + generation_count;
  Generation* kept =
      std::remove_if(generations, end, [&](const Generation& g) { return g.children <= 0 && g.number != current; });
  generation_count = static_cast<int>(kept - generations);
}

std::uint64_t Retained::oldest_configuration() const {
  std::uint64_t oldest = configuration;
  for (int i = 0; i < generation_count; ++i) oldest = std::min(oldest, generations[i].configuration);
  return oldest;
}

Retained* retained() { return static_cast<Retained*>(ap_retained_data_get(key)); }

Retained& make_retained() {
  if (Retained* known = retained()) return *known;
  return *new (ap_retained_data_create(key, sizeof(Retained))) Retained;
}

void close_descriptor(int& descriptor) { Fd(std::exchange(descriptor, -1)); }

}  // namespace cppfcgi
