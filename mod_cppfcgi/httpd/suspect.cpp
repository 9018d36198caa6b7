#include "mod_cppfcgi/httpd/suspect.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>

#include "mod_cppfcgi/core/sip_hash.h"
#include "mod_cppfcgi/httpd/log.h"

namespace cppfcgi {
namespace {

constexpr std::size_t piece_bytes = 64 * 1024;  // of a body in a file: so much of its beginning, and of its end

Poisons::Seconds now_seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<Poisons::Seconds>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

// With its length, so that no two lists of parts look the same.
void add_part(SipHash& hash, std::string_view part) {
  const std::uint64_t bytes = part.size();
  hash.add({reinterpret_cast<const char*>(&bytes), sizeof bytes});
  hash.add(part);
}
void add_part(SipHash& hash, const char* part) { add_part(hash, std::string_view(part == nullptr ? "" : part)); }

void add_piece(SipHash& hash, int file, std::uint64_t offset) {
  std::array<char, piece_bytes> piece;
  const ssize_t got = ::pread(file, piece.data(), piece.size(), static_cast<off_t>(offset));
  add_part(hash, std::string_view(piece.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))));
}

void add_body(SipHash& hash, const BodySource& body) {
  if (body.file < 0) return add_part(hash, body.memory);
  hash.add({reinterpret_cast<const char*>(&body.file_bytes), sizeof body.file_bytes});
  add_piece(hash, body.file, 0);
  if (body.file_bytes > piece_bytes) add_piece(hash, body.file, body.file_bytes - piece_bytes);
}

}  // namespace

std::uint64_t Suspect::fingerprint() {
  if (fingerprint_ != 0) return fingerprint_;
  SipHash hash(seed_, settings_.key);
  add_part(hash, request_->method);
  add_part(hash, request_->hostname);
  add_part(hash, request_->uri);
  add_part(hash, request_->args);
  add_body(hash, body_);
  fingerprint_ = std::max<std::uint64_t>(hash.finish(), 1);  // 0 is a free row
  return fingerprint_;
}

std::uint32_t Suspect::refused_for() {
  return poisons_.has_any() ? poisons_.refused_for(fingerprint(), now_seconds()) : 0;
}

void Suspect::add_death(std::uint64_t worker) {
  const std::uint32_t deaths = poisons_.add_death(fingerprint(), worker, now_seconds());
  if (deaths < Poisons::enough_deaths) return;
  ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, request_,
                "pool %s, request %s: %u workers in a row died of %s %s (fingerprint %016" APR_UINT64_T_HEX_FMT
                "): it is refused for %u s",
                settings_.pool.name.c_str(), request_->log_id, deaths, request_->method, request_->unparsed_uri,
                static_cast<apr_uint64_t>(fingerprint()), Poisons::refusal_seconds);
}

void Suspect::acquit() {
  if (poisons_.has_any()) poisons_.clear(fingerprint());
}

}  // namespace cppfcgi
