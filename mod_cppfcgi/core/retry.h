// Retry: may a request that a worker did not answer be sent once more? Pure: the rules of the safe retry in one place.
//
// Safe is what provably never reached the application, whatever the method: the connection was refused, the worker
// turned the request down by protocol, or the connection was gone before it took a byte. Beyond that only methods that
// RFC 9110 calls idempotent are repeated, and only as long as nothing of an answer has gone to the client.
#pragma once

#include <cstdint>

namespace cppfcgi {

enum class Loss {
  refused,      // could not connect
  unsent,       // the connection was closed before it took a byte
  reset,        // closed by the worker, which had not read all that was sent
  closed,       // closed by the worker, which had read all that was sent
  turned_down,  // END_REQUEST with OVERLOADED or CANT_MPX_CONN
  broken,       // the worker broke the protocol
};

struct Attempt {
  Loss loss = Loss::closed;
  bool was_kept = false;  // the connection had carried a request before: it may have been closed as idle
  bool is_idempotent = false;
  bool has_delivered = false;  // something of an answer, to the client
  bool was_unread = false;     // on `reset`: the worker had not read what would let it begin
};

enum class Verdict {
  give_up,
  fresh_connection,  // the kept one was stale: no fault of anybody's, and no attempt that counts
  another_worker,    // no worker has taken it yet
  second_try,        // a worker took it and was lost: once, not more
};

Verdict judge(const Attempt& attempt);

}  // namespace cppfcgi
