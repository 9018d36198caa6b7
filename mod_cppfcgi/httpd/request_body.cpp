#include "mod_cppfcgi/httpd/request_body.h"

#include <apr_buckets.h>
#include <http_protocol.h>
#include <util_filter.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "mod_cppfcgi/core/answer_head.h"
#include "mod_cppfcgi/core/temp_file.h"
#include "mod_cppfcgi/httpd/log.h"

namespace cppfcgi {
namespace {

constexpr std::size_t memory_bytes = 256 * 1024;  // what is kept in memory, and the size of writes to the file
constexpr apr_off_t read_bytes = 64 * 1024;

// What cannot be written: the client may well come back, be it once the disk has room or others have ended.
int storage_failed(request_rec* request, const Error& error) {
  const bool is_for_now = error.code == EMFILE || error.code == ENFILE;
  ap_log_rerror(APLOG_MARK, APLOG_ERR, error.code, request,
                "request %s: its body cannot be spooled: %s; the request is refused (%s helps)", request->log_id,
                error.what.c_str(),
                is_for_now ? "a higher limit of open files (ulimit -n) for httpd"
                           : "a larger disk for TMPDIR, or a smaller LimitRequestBody,");
  if (error.code == ENOSPC || error.code == EDQUOT) return HTTP_INSUFFICIENT_STORAGE;
  if (!is_for_now) return HTTP_INTERNAL_SERVER_ERROR;
  apr_table_setn(request->err_headers_out, "Retry-After", "1");
  return HTTP_SERVICE_UNAVAILABLE;
}

}  // namespace

std::optional<std::uint64_t> RequestBody::bytes() const {
  if (!is_present_) return std::nullopt;
  return file_ ? file_bytes_ : memory_.size();
}

BodySource RequestBody::source() const {
  if (file_) return {.file = file_.get(), .file_bytes = file_bytes_};
  return {.memory = memory_};
}

int RequestBody::read(request_rec* request) {
  const char* length = apr_table_get(request->headers_in, "Content-Length");
  const char* coding = apr_table_get(request->headers_in, "Transfer-Encoding");
  if (length == nullptr && coding == nullptr) return OK;
  // httpd undoes the chunks, and leaves what else there is (RFC 9112 section 6.1).
  if (coding != nullptr && !equal_in_any_case(coding, "chunked")) return HTTP_NOT_IMPLEMENTED;
  is_present_ = true;
  if (length != nullptr && coding == nullptr) {
    const std::uint64_t expected = std::strtoull(length, nullptr, 10);
    if (expected == 0) return OK;
    memory_.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(expected, memory_bytes)));
  }
  apr_bucket_brigade* brigade = apr_brigade_create(request->pool, request->connection->bucket_alloc);
  for (bool is_whole = false; !is_whole;) {
    const int status = read_brigade(request, brigade, is_whole);
    apr_brigade_cleanup(brigade);
    if (status != OK) return status;
  }
  return file_ ? write_out(request) : OK;
}

int RequestBody::read_brigade(request_rec* request, apr_bucket_brigade* brigade, bool& is_whole) {
  const apr_status_t got =
      ap_get_brigade(request->input_filters, brigade, AP_MODE_READBYTES, APR_BLOCK_READ, read_bytes);
  if (got != APR_SUCCESS) {
    ap_log_rerror(APLOG_MARK, APLOG_INFO, got, request, "request %s: its body did not arrive whole; no worker sees it",
                  request->log_id);
    return ap_map_http_request_error(got, HTTP_BAD_REQUEST);
  }
  for (apr_bucket* bucket = APR_BRIGADE_FIRST(brigade); bucket != APR_BRIGADE_SENTINEL(brigade);
       bucket = APR_BUCKET_NEXT(bucket)) {
    if (APR_BUCKET_IS_EOS(bucket)) {
      is_whole = true;
      return OK;
    }
    if (AP_BUCKET_IS_ERROR(bucket)) return static_cast<ap_bucket_error*>(bucket->data)->status;
    if (APR_BUCKET_IS_METADATA(bucket)) continue;
    const char* data = nullptr;
    apr_size_t bytes = 0;
    const apr_status_t read = apr_bucket_read(bucket, &data, &bytes, APR_BLOCK_READ);
    if (read != APR_SUCCESS) return ap_map_http_request_error(read, HTTP_BAD_REQUEST);
    if (const int status = append(request, data, bytes); status != OK) return status;
  }
  return OK;
}

int RequestBody::append(request_rec* request, const char* data, std::size_t bytes) {
  if (memory_.size() + bytes > memory_bytes) {
    if (const int status = write_out(request); status != OK) return status;
  }
  memory_.append(data, bytes);
  return OK;
}

int RequestBody::write_out(request_rec* request) {
  if (!file_) {
    auto file = make_temp_file(temp_folder_);
    if (!file) return storage_failed(request, file.error());
    file_ = *std::move(file);
  }
  if (const auto written = write_all(file_.get(), memory_.data(), memory_.size()); !written) {
    return storage_failed(request, written.error());
  }
  file_bytes_ += memory_.size();
  memory_.clear();
  return OK;
}

}  // namespace cppfcgi
