#include "mod_cppfcgi/httpd/delivery.h"

#include <apr_portable.h>
#include <http_core.h>
#include <http_protocol.h>
#include <sys/socket.h>
#include <util_filter.h>

namespace cppfcgi {
namespace {

constexpr std::size_t small_bytes = 16 * 1024;  // an answer that httpd takes at once, whatever the client does

}  // namespace

apr_bucket_brigade* Delivery::brigade() {
  if (brigade_ == nullptr) brigade_ = apr_brigade_create(request_->pool, request_->connection->bucket_alloc);
  return brigade_;
}

void Delivery::append(apr_bucket* bucket) { APR_BRIGADE_INSERT_TAIL(brigade(), bucket); }

void Delivery::collect(Bytes bytes) {
  apr_bucket* bucket =
      apr_bucket_transient_create(as_text(bytes).data(), bytes.size(), request_->connection->bucket_alloc);
  append(bucket);
  if (borrowed_ == nullptr) borrowed_ = bucket;
  collected_ += bytes.size();
}

void Delivery::keep() {
  if (borrowed_ == nullptr) return;
  for (apr_bucket* bucket = borrowed_; bucket != APR_BRIGADE_SENTINEL(brigade_); bucket = APR_BUCKET_NEXT(bucket)) {
    apr_bucket_setaside(bucket, request_->pool);
  }
  borrowed_ = nullptr;
}

void Delivery::forget() {
  if (brigade_ != nullptr) apr_brigade_cleanup(brigade_);
  borrowed_ = nullptr;
  collected_ = 0;
}

bool Delivery::pass() {
  has_begun_ = true;
  const apr_status_t passed = ap_pass_brigade(request_->output_filters, brigade());
  forget();
  if (passed == AP_FILTER_ERROR) is_replaced_ = true;
  return passed == APR_SUCCESS && !request_->connection->aborted;
}

bool Delivery::pass_on(bool is_flushed) {
  output_.begin();
  if (is_flushed) append(apr_bucket_flush_create(request_->connection->bucket_alloc));
  return pass();
}

bool Delivery::finish() {
  if (collected_ > small_bytes) output_.begin();
  append(apr_bucket_eos_create(request_->connection->bucket_alloc));
  return pass();
}

bool Delivery::finish(Spool::Rest rest) {
  apr_os_file_t fd = rest.file.release();
  apr_file_t* file = nullptr;
  // The pool closes it, once httpd has written all of it, long after the handler perhaps.
  apr_os_file_put(&file, &fd, APR_FOPEN_READ, request_->pool);
  apr_pool_cleanup_register(
      request_->pool, file, [](void* its) { return apr_file_close(static_cast<apr_file_t*>(its)); },
      apr_pool_cleanup_null);
  apr_brigade_insert_file(brigade(), file, static_cast<apr_off_t>(rest.offset), static_cast<apr_off_t>(rest.bytes),
                          request_->pool);
  return finish();
}

void Delivery::cut() {
  conn_rec* connection = request_->connection;
  // No cache may keep it, nor what includes it.
  for (request_rec* each = request_; each != nullptr; each = each->main) each->no_cache = 1;
  forget();
  // httpd's own sign for it: the chunked coding ends without its last chunk, HTTP/2 resets the stream, the connection
  // closes.
  append(ap_bucket_error_create(HTTP_BAD_GATEWAY, nullptr, request_->pool, connection->bucket_alloc));
  append(apr_bucket_eos_create(connection->bucket_alloc));
  pass();
  connection->keepalive = AP_CONN_CLOSE;
  if (is_delimited_by_close()) reset_connection();
}

// Nothing but the connection's end says where this answer ends (HTTP/1.0).
bool Delivery::is_delimited_by_close() const {
  return request_->connection->master == nullptr && request_->chunked == 0 &&
         apr_table_get(request_->headers_out, "Content-Length") == nullptr;
}

// So that the end must not be an orderly one.
void Delivery::reset_connection() {
  conn_rec* connection = request_->connection;
  apr_os_sock_t fd = -1;
  apr_socket_t* socket = ap_get_conn_socket(connection);
  if (socket == nullptr || apr_os_sock_get(&fd, socket) != APR_SUCCESS) return;
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  if (::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) != 0) return;
  connection->aborted = 1;
}

}  // namespace cppfcgi
