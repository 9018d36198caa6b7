// What goes into a Pool and what comes out: what happened to it and its workers, and what is to be done. Values; pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "mod_cppfcgi/manager/scaling.h"
#include "shared/scoreboard.h"

namespace cppfcgi {

using Time = std::chrono::steady_clock::time_point;
using Duration = std::chrono::milliseconds;

// Why a slot stands where it does, or why its worker ended.
enum class Reason : std::uint8_t {
  none,
  crashed,      // ended by itself after it was ready
  short_lived,  // so, and sooner than it should
  died_early,   // ended before it was ready, or could not be started
  not_ready,    // on trial, and not ready in time
  unfit,        // on trial, and did not pass the check
  superseded,   // on trial, when another program or other settings came
  hung,         // let its requests' time pass, or was silent while idle
  idle,         // was not needed for long
  recycled,     // has served, lived or grown enough
  redeployed,   // of an earlier program
  changed,      // of earlier settings
  removed,      // no configuration knows the pool any more
  shut_down,    // the manager ends
};

// What a worker says it can do at the same time.
struct Offer {
  std::uint8_t capacity = 1;
  std::uint8_t connections = 1;
  bool is_multiplexed = false;
  friend bool operator==(const Offer&, const Offer&) = default;
};

enum class Happened : std::uint8_t {
  began,             // the sockets listen: workers may be started
  adopted,           // a living worker of an earlier manager has this slot; before `began`
  start_failed,      // no process came of `start`
  notified,          // the worker says that it is ready
  answered,          // the worker told its capacity
  closed,            // the worker lives and closed the question's connection without a word
  exited,            // the process has ended
  drained,           // nobody holds a claim on the draining worker
  late,              // requests in it are over their time
  recovered,         // they have ended after all
  unresponsive,      // it was asked while idle, and has not answered
  stacks_read,       // of the hung worker; or they cannot be had
  worn,              // it has served or grown enough
  settings_changed,  // workers are made of something else from now on
  deployed,          // another program lies in the place of the one in force
  withdrawn,         // the one in force lies there again
  check_passed,      // by the worker on trial
  check_failed,
  program_changed,  // what could not be started may start now
  looked,           // at load; demand
  time_passed,      // next_deadline() is over
  removed,          // end all workers, with time for what they do
  restored,         // a configuration knows the pool again
  shut_down,        // end all workers soon
};

struct Event {
  Happened what = Happened::time_passed;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  // that it is about: what comes from an earlier one is ignored
  Offer offer{};
  Phase phase = Phase::empty;  // of the adopted
  bool is_outdated = false;    // adopted: it is of an earlier edition
  bool begins_whole = false;   // adopted: as its row says
  Demand demand{};             // looked
  bool is_unused = false;      // exited: by itself, and before its first request
};

enum class Do : std::uint8_t {
  start,                  // a worker, in the slot's generation
  publish,                // the slot's state has changed
  ask,                    // for the capacity
  stop_asking,            // it holds the worker up
  check,                  // whether the worker on trial answers well
  commit,                 // the program on trial is the pool's from now on
  report_refusal,         // the deploy is given up; reason
  report_hang,            // reason: hung
  read_stacks,            // of all its threads, into the log
  terminate,              // SIGTERM
  kill,                   // SIGKILL
  report_death,           // reason; delay: until the next start, 0 for at once
  report_breaker_opened,  // delay: likewise
  report_breaker_closed,
};

struct Action {
  Do what = Do::publish;
  std::uint32_t slot = 0;
  Reason reason = Reason::none;
  Duration delay{0};
  friend bool operator==(const Action&, const Action&) = default;
};
using Actions = std::vector<Action>;

// Or about the pool as a whole.
bool is_about_worker(Happened what);

}  // namespace cppfcgi
