// Retry: may a request that a worker did not answer be sent once more? Pure: the rules of the safe retry in one place.
// 503 promises the client that its request did not begin, so who gives up asks may_have_begun() of every attempt.
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
  bool was_unread = false;     // on `reset`, `closed`: the worker had not read what would let it begin
};

enum class Verdict {
  give_up,
  fresh_connection,  // the kept one was stale: no fault of anybody's, and no attempt that counts
  another_worker,    // no worker has begun it
  second_try,        // a worker may have begun it and was lost: so often as -retries says
};

Verdict judge(const Attempt& attempt);
bool may_have_begun(const Attempt& attempt);

// How often one request is tried again.
class Tries {
 public:
  explicit Tries(std::uint32_t retries) : second_tries_(retries) {}

  // False: not (any more).
  bool take(Verdict verdict);

 private:
  std::uint32_t second_tries_;
  std::uint32_t safe_tries_ = 10;  // safe for all concerned, and yet to end some time
};

}  // namespace cppfcgi
