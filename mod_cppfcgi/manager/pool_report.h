// PoolReport: what the log says of a pool, but for its workers' deaths (obituaries.h). A worker is given by its name,
// "worker 3 (pid 812) of pool /srv/a". A shell around the log; owned by the pool's keeper.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "mod_cppfcgi/manager/log.h"
#include "mod_cppfcgi/manager/pool_events.h"
#include "mod_cppfcgi/manager/worker.h"
#include "shared/pool_config.h"

namespace cppfcgi {

class PoolReport {
 public:
  PoolReport(const Log& log, const PoolConfig& config) : log_(log), config_(config) {}  // borrowed, and may change

  void took_over(std::uint32_t workers) const;
  void is_silent(const std::string& worker) const;
  void hangs(const std::string& worker, bool was_idle) const;
  void is_killed(const std::string& worker, Duration grace) const;
  // Its end was wanted, but not this way: a request may have been lost with it.
  void ended_badly(const std::string& worker, const Worker::End& end) const;

  void breaker_opened(Duration pause) const;
  void breaker_closed() const;

  // The new program. `last_words`: of a worker that died; `failure`: of the check, "" where no answer came.
  void refused(const std::string& worker, Reason reason, const std::string& last_words,
               const std::string& failure) const;
  void committed() const;

  void grew(std::uint32_t before, std::uint32_t workers, std::uint32_t waiting) const;
  void was_not_needed(const std::string& worker, std::uint32_t stay) const;
  // Told now and then. `shortage`: of the machine; "": the room for all pools of its kind is used up.
  void is_held_back(std::uint32_t workers, std::uint32_t waiting, const std::string& shortage, Time now);

 private:
  const Log& log_;
  const PoolConfig& config_;
  std::optional<Time> told_;  // that a start was held back
};

}  // namespace cppfcgi
