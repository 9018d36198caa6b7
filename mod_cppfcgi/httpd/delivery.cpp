#include "mod_cppfcgi/httpd/delivery.h"

#include <http_protocol.h>
#include <util_filter.h>

namespace cppfcgi {

apr_bucket_brigade* Delivery::brigade() {
  if (brigade_ == nullptr) brigade_ = apr_brigade_create(request_->pool, request_->connection->bucket_alloc);
  return brigade_;
}

void Delivery::collect(Bytes bytes) {
  apr_brigade_write(brigade(), nullptr, nullptr, as_text(bytes).data(), bytes.size());
  collected_ += bytes.size();
}

void Delivery::forget() {
  if (brigade_ != nullptr) apr_brigade_cleanup(brigade_);
  collected_ = 0;
}

bool Delivery::pass() {
  has_begun_ = true;
  collected_ = 0;
  const apr_status_t passed = ap_pass_brigade(request_->output_filters, brigade());
  apr_brigade_cleanup(brigade());
  return passed == APR_SUCCESS && !request_->connection->aborted;
}

bool Delivery::pass_on(bool is_flushed) {
  if (is_flushed) APR_BRIGADE_INSERT_TAIL(brigade(), apr_bucket_flush_create(request_->connection->bucket_alloc));
  return pass();
}

bool Delivery::finish() {
  APR_BRIGADE_INSERT_TAIL(brigade(), apr_bucket_eos_create(request_->connection->bucket_alloc));
  return pass();
}

void Delivery::cut() {
  conn_rec* connection = request_->connection;
  // No cache may keep it, nor what includes it.
  for (request_rec* each = request_; each != nullptr; each = each->main) each->no_cache = 1;
  apr_brigade_cleanup(brigade());
  // httpd's own sign for it: the chunked coding ends without its last chunk, HTTP/2 resets the stream, the connection
  // closes.
  APR_BRIGADE_INSERT_TAIL(brigade(),
                          ap_bucket_error_create(HTTP_BAD_GATEWAY, nullptr, request_->pool, connection->bucket_alloc));
  APR_BRIGADE_INSERT_TAIL(brigade(), apr_bucket_eos_create(connection->bucket_alloc));
  pass();
  connection->keepalive = AP_CONN_CLOSE;
}

}  // namespace cppfcgi
