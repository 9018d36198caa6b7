#include "mod_cppfcgi/httpd/client_output.h"

#include <apr_portable.h>
#include <http_connection.h>
#include <http_core.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mod_cppfcgi/core/temp_file.h"
#include "mod_cppfcgi/httpd/barrier.h"

namespace cppfcgi {
namespace {

constexpr const char* filter_name = "CPPFCGI_CLIENT_OUTPUT";
constexpr std::size_t piece_bytes = 60 * 1024;                  // httpd blocks from 64 KiB on (FlushMaxThreshold)
constexpr std::uint64_t file_bytes = std::uint64_t{256} << 20;  // the worker waits beyond it
constexpr int patience_ms = 5;                                  // for a client that is about to take the rest

apr_status_t on_output(ap_filter_t* filter, apr_bucket_brigade* brigade) noexcept {
  auto* output = static_cast<ClientOutput*>(filter->ctx);
  if (output == nullptr) return ap_pass_brigade(filter->next, brigade);
  return barrier(filter->c->base_server, "the output to a client", APR_EGENERAL, [&] { return output->pass(brigade); });
}

// It stays in the connection: a filter that is taken out leaves pointers behind.
ap_filter_t* filter_of(request_rec* request) {
  for (ap_filter_t* each = request->connection->output_filters; each != nullptr; each = each->next) {
    if (each->frec->filter_func.out_func == on_output) return each;
  }
  return ap_add_output_filter(filter_name, nullptr, request, request->connection);
}

bool is_memory(apr_bucket* bucket) { return !APR_BUCKET_IS_METADATA(bucket) && !APR_BUCKET_IS_FILE(bucket); }

request_rec* main_of(request_rec* request) {
  while (request->main != nullptr) request = request->main;
  return request;
}

apr_status_t close_file(void* its_fd) {
  ::close(static_cast<int>(reinterpret_cast<std::intptr_t>(its_fd)));
  return APR_SUCCESS;
}

}  // namespace

void client_output_register() {
  ap_register_output_filter(filter_name, on_output, nullptr, static_cast<ap_filter_type>(AP_FTYPE_NETWORK - 1));
}

void ClientOutput::begin() {
  if (filter_ != nullptr || socket_ < 0) return;
  ap_filter_t* filter = filter_of(request_);
  if (filter == nullptr || filter->ctx != nullptr) return;  // it serves the page that includes ours
  filter_ = filter;
  filter_->ctx = this;
  piece_ = apr_brigade_create(request_->pool, connection_->bucket_alloc);
}

ClientOutput::~ClientOutput() {
  if (filter_ == nullptr) return;
  if (sent_to_ < written_to_ && connection_->aborted == 0) hand_over(nullptr);
  filter_->ctx = nullptr;
}

bool ClientOutput::is_pending() const {
  return filter_ != nullptr && (connection_->data_in_output_filters != 0 || sent_to_ < written_to_);
}

bool ClientOutput::is_full() const { return is_slow_ && written_to_ >= file_bytes; }

apr_status_t ClientOutput::pass(apr_bucket_brigade* brigade) {
  apr_status_t status = APR_SUCCESS;
  while (status == APR_SUCCESS && !APR_BRIGADE_EMPTY(brigade)) {
    status = takes_more() ? pass_piece(brigade) : spool(brigade);
  }
  apr_brigade_cleanup(brigade);
  return status;
}

bool ClientOutput::takes_more() {
  if (has_failed_) return true;
  if (is_slow_) {
    write_on();
  } else if (connection_->data_in_output_filters != 0) {
    if (has_room_within(patience_ms)) push();
    is_slow_ = connection_->data_in_output_filters != 0;
  }
  return !is_slow_;
}

// As much as httpd takes without blocking.
apr_status_t ClientOutput::pass_piece(apr_bucket_brigade* brigade) {
  std::size_t room = piece_bytes;
  bool is_flushed = false;
  while (!APR_BRIGADE_EMPTY(brigade)) {
    apr_bucket* bucket = APR_BRIGADE_FIRST(brigade);
    if (APR_BUCKET_IS_FLUSH(bucket)) {
      // It would block until the client has all.
      is_flushed = true;
      apr_bucket_delete(bucket);
      continue;
    }
    if (is_memory(bucket)) {
      const char* data = nullptr;
      apr_size_t bytes = bucket->length;
      if (bytes == static_cast<apr_size_t>(-1)) {
        if (const auto read = apr_bucket_read(bucket, &data, &bytes, APR_BLOCK_READ); read != APR_SUCCESS) return read;
      }
      if (bytes > 0 && room == 0) break;
      if (bytes > room) apr_bucket_split(bucket, room);
      room -= std::min(room, bytes);
    }
    APR_BUCKET_REMOVE(bucket);
    APR_BRIGADE_INSERT_TAIL(piece_, bucket);
  }
  apr_status_t status = APR_SUCCESS;
  if (!APR_BRIGADE_EMPTY(piece_)) status = ap_pass_brigade(filter_->next, piece_);
  apr_brigade_cleanup(piece_);
  if (is_flushed && connection_->data_in_output_filters != 0) push();
  return status;
}

apr_status_t ClientOutput::spool(apr_bucket_brigade* brigade) {
  while (!APR_BRIGADE_EMPTY(brigade)) {
    apr_bucket* bucket = APR_BRIGADE_FIRST(brigade);
    if (is_memory(bucket)) {
      if (const auto appended = append(bucket); !appended) {
        give_up_spooling(appended.error());
        return hand_over(nullptr);
      }
      apr_bucket_delete(bucket);
    } else if (APR_BUCKET_IS_FLUSH(bucket)) {
      apr_bucket_delete(bucket);
    } else {
      APR_BUCKET_REMOVE(bucket);
      if (const auto handed = hand_over(bucket); handed != APR_SUCCESS) return handed;
    }
  }
  write_on();
  return connection_->aborted != 0 ? APR_ECONNABORTED : APR_SUCCESS;
}

// The file, and what comes behind it (or nothing): httpd may keep it for the client without blocking.
apr_status_t ClientOutput::hand_over(apr_bucket* last) {
  if (sent_to_ < written_to_) APR_BRIGADE_INSERT_TAIL(piece_, unsent_file());
  if (last != nullptr) APR_BRIGADE_INSERT_TAIL(piece_, last);
  apr_status_t status = APR_SUCCESS;
  if (!APR_BRIGADE_EMPTY(piece_)) status = ap_pass_brigade(filter_->next, piece_);
  apr_brigade_cleanup(piece_);
  return status;
}

Result<void> ClientOutput::append(apr_bucket* bucket) {
  if (fd_ < 0) {
    if (auto made = make_file(); !made) return made.error();
  }
  const char* data = nullptr;
  apr_size_t bytes = 0;
  if (apr_bucket_read(bucket, &data, &bytes, APR_BLOCK_READ) != APR_SUCCESS) return Error{0, "read from httpd"};
  apr_size_t done = 0;
  while (done < bytes) {
    const ssize_t written = ::pwrite(fd_, data + done, bytes - done, static_cast<off_t>(written_to_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int code = errno;
      // Its beginning is in the file already.
      if (done > 0) {
        apr_bucket_split(bucket, done);
        apr_bucket_delete(bucket);
      }
      return posix_error("write to a temporary file in " + folder_, code);
    }
    written_to_ += static_cast<std::uint64_t>(written);
    done += static_cast<std::size_t>(written);
  }
  return {};
}

Result<void> ClientOutput::make_file() {
  auto made = make_temp_file(folder_);
  if (!made) return made.error();
  fd_ = made->release();
  // httpd ends the request once the client has all of the answer, long after the handler perhaps.
  apr_pool_cleanup_register(main_of(request_)->pool, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd_)),
                            close_file, apr_pool_cleanup_null);
  // By sendfile(), and in the connection's pool, so that it is a file for httpd until the client has it.
  apr_os_file_t fd = fd_;
  apr_os_file_put(&file_, &fd, APR_FOPEN_READ | APR_FOPEN_SENDFILE_ENABLED, connection_->pool);
  return {};
}

// A full disk is no failure: the worker waits for the client.
void ClientOutput::give_up_spooling(const Error& error) {
  has_failed_ = true;
  ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, request_,
                "request %s: its answer cannot be spooled: %s; it waits for the slow client", request_->log_id,
                error.what.c_str());
}

apr_bucket* ClientOutput::unsent_file() {
  apr_bucket* bucket =
      apr_bucket_file_create(file_, static_cast<apr_off_t>(sent_to_), static_cast<apr_size_t>(written_to_ - sent_to_),
                             connection_->pool, connection_->bucket_alloc);
  apr_bucket_file_enable_mmap(bucket, 0);
  sent_to_ = written_to_;
  return bucket;
}

// What the event MPM does when the client's socket has room: the core alone keeps anything, and writes what it can.
void ClientOutput::push() {
  ap_filter_t* core = filter_;
  while (core->next != nullptr) core = core->next;
  core->frec->filter_func.out_func(core, nullptr);
}

void ClientOutput::write_on() {
  if (connection_->data_in_output_filters != 0) push();
  if (connection_->data_in_output_filters == 0 && sent_to_ < written_to_ && connection_->aborted == 0) push_file();
  if (is_pending()) return;
  is_slow_ = false;
  if (written_to_ == 0) return;
  // All of it is used up: its place on the disk, too.
  if (::ftruncate(fd_, 0) == 0) sent_to_ = written_to_ = 0;
}

void ClientOutput::push_file() {
  hand_over(nullptr);
  if (connection_->data_in_output_filters != 0) push();
}

bool ClientOutput::has_room_within(int milliseconds) const {
  pollfd client{.fd = socket_, .events = POLLOUT, .revents = 0};
  return ::poll(&client, 1, milliseconds) > 0;
}

bool ClientOutput::wait_for_room() {
  apr_interval_time_t timeout = connection_->base_server->timeout;
  while (is_full() && connection_->aborted == 0) {
    if (!has_room_within(static_cast<int>(apr_time_as_msec(timeout)))) return false;
    write_on();
  }
  return connection_->aborted == 0;
}

}  // namespace cppfcgi
