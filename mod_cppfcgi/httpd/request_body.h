// The request's body, read whole before a worker is claimed: a slow client never holds a worker, a malformed or cut
// body never reaches one. Small ones stay in memory, larger ones go to a file without a name.
#pragma once

#include <httpd.h>

#include <cstdint>
#include <optional>
#include <string>

#include "mod_cppfcgi/core/request_source.h"
#include "shared/fd.h"

namespace cppfcgi {

class RequestBody {
 public:
  explicit RequestBody(const std::string& temp_folder) : temp_folder_(temp_folder) {}

  // OK, or what to return from the handler (an HTTP status, AP_FILTER_ERROR). Failures are logged.
  int read(request_rec* request);

  std::optional<std::uint64_t> bytes() const;  // nullopt: the request has none
  BodySource source() const;

 private:
  int read_brigade(request_rec* request, apr_bucket_brigade* brigade, bool& is_whole);
  int append(request_rec* request, const char* data, std::size_t bytes);
  int write_out(request_rec* request);

  const std::string& temp_folder_;
  bool is_present_ = false;
  std::string memory_;  // the body, or what of it is not yet in the file
  Fd file_;
  std::uint64_t file_bytes_ = 0;
};

}  // namespace cppfcgi
