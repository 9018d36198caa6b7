#include "mod_cppfcgi/manager/pool_report.h"

#include <algorithm>
#include <csignal>

#include "mod_cppfcgi/manager/obituaries.h"
#include "mod_cppfcgi/manager/pool.h"

namespace cppfcgi {
namespace {

constexpr Duration tell_again_after{60'000};

}  // namespace

void PoolReport::took_over(std::uint32_t workers) const {
  log_.notice("pool {}: took over {} of {} workers", config_.name, workers, std::max(workers, config_.processes));
}

void PoolReport::is_silent(const std::string& worker) const {
  log_.info("{} has not said that it is ready within {}: it gets one request at a time", worker,
            text_of(config_.ready_timeout));
}

void PoolReport::hangs(const std::string& worker, bool was_idle) const {
  log_.error("{} hangs: {}; its threads' stacks follow, then it is ended, and a successor starts", worker,
             was_idle ? "it was asked while idle and did not answer (-probe-interval)"
                      : "requests in it are over their time (-request-timeout, -idle-timeout)");
}

void PoolReport::is_killed(const std::string& worker, Duration grace) const {
  log_.warn("{} has not ended within {} after SIGTERM: killed", worker, text_of(grace));
}

void PoolReport::ended_badly(const std::string& worker, const Worker::End& end) const {
  if (!end.is_known || !end.is_failure || end.signal == SIGTERM) return;
  log_.warn("{} crashed while it was being ended: {}", worker, end.text);
}

void PoolReport::breaker_opened(Duration pause) const {
  log_.error(
      "pool {}: workers keep dying before they are ready: from now on one at a time is tried, the next in {} (the "
      "longest pause, -restart-delay, is {})",
      config_.name, text_of(pause), text_of(config_.restart_delay));
}

void PoolReport::breaker_closed() const {
  log_.notice("pool {}: a worker has become ready again, and all others are started", config_.name);
}

void PoolReport::refused(const std::string& worker, Reason reason, const std::string& last_words,
                         const std::string& failure) const {
  std::string why = "died before it was ready: " + last_words;
  if (reason == Reason::not_ready)
    why = "was not ready within " + text_of(config_.ready_timeout * Pool::spoken_patience);
  if (reason == Reason::unfit)
    why = fmt::format("did not pass -deploy-check {}: {}", config_.deploy_check,
                      failure.empty() ? "no answer within " + text_of(Pool::check_grace) : failure);
  log_.error(
      "pool {}: the new program is refused: {} {}; the old one goes on, and workers are started from it until the file "
      "changes again",
      config_.name, worker, why);
}

void PoolReport::committed() const {
  log_.notice("pool {}: the new program is in force; workers of the old one are replaced", config_.name);
}

void PoolReport::grew(std::uint32_t before, std::uint32_t workers, std::uint32_t waiting) const {
  log_.info("pool {}: {} requests wait: {} workers instead of {} (-max-processes {})", config_.name, waiting, workers,
            before, config_.max_processes);
}

void PoolReport::was_not_needed(const std::string& worker, std::uint32_t stay) const {
  log_.info("{} was not needed for {} (-idle-process-timeout): it ends, and {} stay", worker,
            text_of(config_.idle_process_timeout), stay);
}

void PoolReport::is_held_back(std::uint32_t workers, std::uint32_t waiting, const std::string& shortage, Time now) {
  if (told_ && now - *told_ < tell_again_after) return;
  told_ = now;
  const std::string why = shortage.empty()
                              ? "as many workers of dynamic applications live as may (FastCgiConfig -maxProcesses)"
                              : shortage + ": no more are started (-scale-guard)";
  log_.warn("pool {}: {} requests wait, and {} workers are not enough, but {}", config_.name, waiting, workers, why);
}

}  // namespace cppfcgi
