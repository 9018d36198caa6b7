// ClientOutput: the last filter before a client's socket, while an answer of ours goes through it. httpd's core blocks
// whoever writes once 64 KiB in memory wait for a slow client, and an httpd thread would be the client's for as long as
// it likes. Files may wait without a thread, so what a client does not take at once goes into one:
//
//   quick ──a write leaves something, and the client does not take it within the patience──▶ slow
//     ▲                                                                                       │
//     └───────────────────────────────── the client has taken all ────────────────────────────┘
//
// quick: bytes go on as they come, no more than httpd takes without blocking. slow: they go into the file, and from
// there to the socket as it has room. The end of the answer takes the rest of the file along: the event MPM writes it.
// Below mod_ssl's filter, so TLS is no different. A stream of HTTP/2 has no such filter: see core/drainer.h.
#pragma once

#include <apr_buckets.h>
#include <httpd.h>
#include <util_filter.h>

#include <cstdint>
#include <string>

#include "mod_cppfcgi/core/client_watch.h"
#include "shared/record.h"
#include "shared/result.h"

namespace cppfcgi {

void client_output_register();  // with httpd's other hooks

class ClientOutput final : public PendingOutput {
 public:
  // `socket`: the client's, or -1 where it has none of its own; nothing is done then. `folder`: for the file.
  ClientOutput(request_rec* request, int socket, const std::string& folder)
      : request_(request), connection_(request->connection), socket_(socket), folder_(folder) {}
  ~ClientOutput();  // leaves what is left to httpd
  ClientOutput(const ClientOutput&) = delete;
  ClientOutput& operator=(const ClientOutput&) = delete;

  void begin();  // from here on; once more does no harm

  // Something waits for the client, and how it goes on once the client's socket has room.
  bool is_pending() const override;
  void write_on() override;

  // Waits while the file has reached its bound. False: the client is gone, or has taken nothing for httpd's Timeout.
  bool is_full() const;
  bool wait_for_room();

  apr_status_t pass(apr_bucket_brigade* brigade);  // the filter

 private:
  bool takes_more();
  apr_status_t pass_piece(apr_bucket_brigade* brigade);
  apr_status_t spool(apr_bucket_brigade* brigade);
  apr_status_t hand_over(apr_bucket* last);
  Result<void> append(apr_bucket* bucket);
  Result<void> make_file();
  void give_up_spooling(const Error& error);
  void push();
  void push_file();
  apr_bucket* unsent_file();
  bool has_room_within(int milliseconds) const;

  request_rec* request_;
  conn_rec* connection_;
  int socket_;
  const std::string& folder_;
  ap_filter_t* filter_ = nullptr;        // once begun
  apr_bucket_brigade* piece_ = nullptr;  // empty between calls
  bool is_slow_ = false;
  bool has_failed_ = false;  // the file has; from then on httpd may block
  int fd_ = -1;
  apr_file_t* file_ = nullptr;
  std::uint64_t sent_to_ = 0;  // of the file: httpd's core has it
  std::uint64_t written_to_ = 0;
};

}  // namespace cppfcgi
