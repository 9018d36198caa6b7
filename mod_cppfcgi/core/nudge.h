// The nudge: how httpd's children tell the manager that there is something to see in Load. An eventfd that both have.
#pragma once

namespace cppfcgi {

// One system call; never blocks. It cannot get lost: a full eventfd means that the manager has been told and did not
// look yet.
void nudge_manager(int nudge);

}  // namespace cppfcgi
