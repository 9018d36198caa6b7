#include "mod_cppfcgi/httpd/error_text.h"

#include "mod_cppfcgi/httpd/log.h"

namespace cppfcgi {
namespace {

constexpr std::size_t line_bytes = 4'000;           // httpd cuts a message at 8,192, escapes included
constexpr std::size_t request_bytes = 256 * 1'024;  // of one request

}  // namespace

void ErrorText::append(Bytes bytes) {
  std::string_view text = as_text(bytes);
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view piece = text.substr(0, std::min(end, line_bytes - line_.size()));
    line_ += piece;
    text.remove_prefix(piece.size());
    const bool is_ended = !text.empty() && text.front() == '\n';
    if (is_ended) text.remove_prefix(1);
    if (!is_ended && line_.size() < line_bytes) continue;
    log(line_);
    line_.clear();
  }
}

void ErrorText::finish() {
  log(line_);
  line_.clear();
  if (dropped_ == 0) return;
  ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, request_,
                "pool %s, request %s: %" APR_SIZE_T_FMT " bytes more on stderr; not logged", pool_.c_str(),
                request_->log_id, dropped_);
  dropped_ = 0;
}

void ErrorText::log(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) return;
  if (logged_ + line.size() > request_bytes) {
    dropped_ += line.size();
    return;
  }
  logged_ += line.size();
  ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, request_, "pool %s, request %s, stderr: %.*s", pool_.c_str(),
                request_->log_id, static_cast<int>(line.size()), line.data());
}

}  // namespace cppfcgi
