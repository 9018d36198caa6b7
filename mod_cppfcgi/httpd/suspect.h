// Suspect: a request before the table of those that workers died of (core/poison.h): by which fingerprint it is known
// there. Costs nothing while nobody is under suspicion.
#pragma once

#include <httpd.h>

#include <cstdint>
#include <string>

#include "mod_cppfcgi/core/poison.h"
#include "mod_cppfcgi/core/request_source.h"
#include "mod_cppfcgi/httpd/pool_settings.h"

namespace cppfcgi {

class Suspect {
 public:
  // `seed`: of the fingerprints. What the body borrows must outlive it.
  Suspect(request_rec* request, const PoolSettings& settings, const BodySource& body, Poisons& poisons,
          std::uint64_t seed)
      : request_(request), settings_(settings), body_(body), poisons_(poisons), seed_(seed) {}

  // For how many seconds it is refused yet; 0: it is not.
  std::uint32_t refused_for();

  // Its worker died while it had the request. `worker` tells it from all others. Logs where that was one too many.
  void add_death(std::uint64_t worker);

  // Its worker gave an answer.
  void acquit();

 private:
  std::uint64_t fingerprint();

  request_rec* request_;
  const PoolSettings& settings_;
  BodySource body_;
  Poisons& poisons_;
  std::uint64_t seed_;
  std::uint64_t fingerprint_ = 0;  // once it is known
};

}  // namespace cppfcgi
