// The manager's one question to each new worker, by the protocol's own means: FCGI_GET_VALUES, and its answer. Pure.
#pragma once

#include <optional>
#include <string>

#include "mod_cppfcgi/manager/pool_events.h"
#include "shared/record.h"

namespace cppfcgi {

// One record that asks for FCGI_MAX_CONNS, FCGI_MAX_REQS and FCGI_MPXS_CONNS.
std::string capacity_question();

// Reads the answer, however it arrives.
class CapacityAnswer {
 public:
  // The offer once it is whole. Any other record, and anything that is no FastCGI, is a worker that knows nothing of
  // capacities: 1, 1, 0.
  std::optional<Offer> feed(Bytes bytes);

 private:
  RecordReader reader_;
  std::string content_;
};

}  // namespace cppfcgi
