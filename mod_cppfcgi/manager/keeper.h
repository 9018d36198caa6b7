// Keeper: what the manager asks of each pool, whoever starts its workers: PoolKeeper where we do, ExternalKeeper where
// somebody else does.
#pragma once

#include <sys/types.h>

#include <optional>

#include "mod_cppfcgi/manager/board.h"
#include "mod_cppfcgi/manager/log.h"
#include "mod_cppfcgi/manager/pool_events.h"
#include "shared/pool_config.h"

namespace cppfcgi {

class Keeper {
 public:
  Keeper() = default;
  virtual ~Keeper() = default;  // gives the row back
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Other settings for the same pool.
  virtual void reconfigure(const PoolConfig& config, const Log::File& log) = 0;

  virtual void begin() = 0;
  virtual void remove() = 0;
  virtual void restore() = 0;
  virtual void shut_down() = 0;

  // Leaves the row, and what goes with it, to another keeper. The destructor touches nothing then.
  virtual Board::Found abandon() = 0;
  virtual bool has_config() const = 0;

  virtual void turn() = 0;  // does what is due
  virtual std::optional<Time> next_deadline() const = 0;
  virtual bool is_over() const = 0;
  virtual void be_nudged() = 0;  // httpd's children have something to tell
  virtual const PoolConfig& config() const = 0;
  virtual bool has_worker(pid_t pid) const = 0;
};

}  // namespace cppfcgi
