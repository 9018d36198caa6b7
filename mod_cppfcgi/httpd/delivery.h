// The answer's body on its way down httpd's output filters. Small bodies are collected and leave in one brigade with
// the end of the answer; larger ones and streams leave piece by piece.
#pragma once

#include <apr_buckets.h>
#include <httpd.h>

#include "mod_cppfcgi/core/spool.h"
#include "mod_cppfcgi/httpd/client_output.h"
#include "shared/record.h"

namespace cppfcgi {

class Delivery {
 public:
  Delivery(request_rec* request, ClientOutput& output) : request_(request), output_(output) {}

  // Borrowed until the next pass_on(), finish(), keep() or forget(), whichever comes first.
  void collect(Bytes bytes);
  void keep();    // what is borrowed becomes our own
  void forget();  // what is collected
  std::size_t collected_bytes() const { return collected_; }

  // Passes on what is collected; false: the client is gone, or the answer is replaced. May take as long as the client
  // takes.
  bool pass_on(bool is_flushed);
  bool finish();
  bool finish(Spool::Rest rest);

  // The answer ends here, and is not whole: the client must not take it for whole.
  void cut();

  bool has_begun() const { return has_begun_; }  // something has gone down the filters
  // A filter gave the client another answer instead (416 to a Range that is not there): nobody waits for ours, and the
  // connection is well.
  bool is_replaced() const { return is_replaced_; }

 private:
  apr_bucket_brigade* brigade();
  void append(apr_bucket* bucket);
  bool pass();
  bool is_delimited_by_close() const;
  void reset_connection();

  request_rec* request_;
  ClientOutput& output_;
  apr_bucket_brigade* brigade_ = nullptr;
  apr_bucket* borrowed_ = nullptr;  // the first bucket that is
  std::size_t collected_ = 0;
  bool has_begun_ = false;
  bool is_replaced_ = false;
};

}  // namespace cppfcgi
