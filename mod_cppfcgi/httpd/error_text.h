// What a worker writes on STDERR, for the virtual host's error log: a line each, with the client's address as httpd
// adds it. Bounded: a long line is split, and what exceeds the request's share is counted, not logged.
#pragma once

#include <httpd.h>

#include <string>

#include "shared/record.h"

namespace cppfcgi {

class ErrorText {
 public:
  ErrorText(request_rec* request, const std::string& pool) : request_(request), pool_(pool) {}
  ~ErrorText() { finish(); }
  ErrorText(const ErrorText&) = delete;
  ErrorText& operator=(const ErrorText&) = delete;

  void append(Bytes bytes);
  void drop(std::size_t bytes) { dropped_ += bytes; }  // there was more, which nobody kept
  void finish();                                       // logs what is left of the last line

 private:
  void log(std::string_view line);

  request_rec* request_;
  const std::string& pool_;
  std::string line_;
  std::size_t logged_ = 0;
  std::size_t dropped_ = 0;
};

}  // namespace cppfcgi
