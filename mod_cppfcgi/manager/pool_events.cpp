#include "mod_cppfcgi/manager/pool_events.h"

namespace cppfcgi {

bool is_about_worker(Happened what) {
  switch (what) {
    case Happened::adopted:
    case Happened::start_failed:
    case Happened::notified:
    case Happened::answered:
    case Happened::closed:
    case Happened::exited:
    case Happened::drained:
    case Happened::late:
    case Happened::recovered:
    case Happened::unresponsive:
    case Happened::stacks_read:
    case Happened::worn:
    case Happened::check_passed:
    case Happened::check_failed:
      return true;
    case Happened::began:
    case Happened::looked:
    case Happened::settings_changed:
    case Happened::deployed:
    case Happened::withdrawn:
    case Happened::program_changed:
    case Happened::time_passed:
    case Happened::removed:
    case Happened::restored:
    case Happened::shut_down:
      return false;
  }
  return false;
}

}  // namespace cppfcgi
