// The answer's body on its way down httpd's output filters. Small bodies are collected and leave in one brigade with
// the end of the answer; larger ones and streams leave piece by piece.
#pragma once

#include <apr_buckets.h>
#include <httpd.h>

#include "shared/record.h"

namespace cppfcgi {

class Delivery {
 public:
  explicit Delivery(request_rec* request) : request_(request) {}

  void collect(Bytes bytes);  // copies
  std::size_t collected_bytes() const { return collected_; }

  void forget();  // what is collected

  // Passes on what is collected; false: the client is gone. May take as long as the client takes.
  bool pass_on(bool is_flushed);
  bool finish();

  // The answer ends here, and is not whole: the client must not take it for whole.
  void cut();

  bool has_begun() const { return has_begun_; }  // something has gone down the filters

 private:
  apr_bucket_brigade* brigade();
  bool pass();

  request_rec* request_;
  apr_bucket_brigade* brigade_ = nullptr;
  std::size_t collected_ = 0;
  bool has_begun_ = false;
};

}  // namespace cppfcgi
