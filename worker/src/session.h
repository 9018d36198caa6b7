// Session: the protocol on one connection from a web server, as a value machine: bytes in, events out. It knows which
// requests live on the connection, gathers their params, counts their bodies, refuses what must be refused and answers
// management records. Pure: no system call, no clock, no log. It does not run handlers, keep bodies or write answers;
// the shell does.
//
//   BEGIN ─▶ receiving ──────────────── PARAMS and STDIN ended ─▶ handed over ── finish() ─▶ free
//               │  └─ too large, malformed, contradictory ─▶ refused ── STDIN ended: reply ─▶ free
//               └─ ABORT: END_REQUEST ─▶ free                  (ABORT of one handed over: `aborted`, it ends by
//               finish())
//
// Decided here, where the specification leaves it open:
//   - A request is ready when both its streams have ended; a connection that ends before that never makes it ready.
//   - CONTENT_LENGTH that is no number, or contradicts STDIN: 400. Params that break off: 400. Params above the limit:
//   431.
//     A body above the limit: 413. Refused requests are read to the end of their STDIN first, so that the connection
//     stays in step.
//   - A role other than Responder: UNKNOWN_ROLE. More requests than there is room for: OVERLOADED. Their later records
//   are
//     those of an unknown id: ignored, as are types that a web server does not send.
//   - id 0 with a type other than GET_VALUES: UNKNOWN_TYPE.
//   - Violations, after which the connection cannot go on: another version, BEGIN with other than 8 bytes, BEGIN of an
//   id
//     that lives, more of a stream that has ended.
#pragma once

#include <cppfcgi/request.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "shared/record.h"

namespace cppfcgi {

struct SessionLimits {
  std::size_t params_bytes = std::size_t{16} << 20;
  std::uint64_t body_bytes = std::numeric_limits<std::uint64_t>::max();
  std::size_t requests = 256;  // that live on one connection at the same time
};

// What the worker says of itself when asked by FCGI_GET_VALUES.
struct Capacity {
  unsigned connections = 1;
  unsigned requests = 1;
};

class Session {
 public:
  enum class Kind {
    need_more,  // all bytes are taken
    begun,      // a request has begun; its slot is good until it is dropped, or finish()
    body,       // `content`: the next piece of its body
    ready,      // it is complete: take params(slot) by swap and run the handler
    dropped,    // it will not be run; forget its body
    aborted,    // the web server no longer wants the answer of a request that was handed over; finish() it all the same
    reply,      // `content`: bytes for the web server
    violation,  // `content` says what: close the connection; nothing else follows
  };
  struct Event {
    Kind kind = Kind::need_more;
    std::size_t slot = 0;
    std::uint16_t id = 0;
    Bytes content{};  // body: borrowed from the bytes given to next(); reply: good until the next call
  };

  explicit Session(const SessionLimits& limits, const Capacity& capacity) : limits_(limits), capacity_(capacity) {}

  // The next event from the front of `bytes`. Call it until need_more, or violation.
  Event next(Bytes& bytes);

  // False: new requests are refused as overloaded.
  void admit(bool is_admitting) { is_admitting_ = is_admitting; }

  // Of a request that is ready. The empty one that is swapped in keeps its memory for a later request.
  detail::ParamSet& params(std::size_t slot) { return requests_[slot].params; }

  // The request's answer is made: its id is free again. Call it before the web server can learn of the end.
  void finish(std::size_t slot);
  // No new requests; the connection is over as soon as nothing lives on it.
  void end() { is_over_ = true; }

  // Nothing lives on the connection and no record has begun: it may be closed without harm.
  bool is_idle() const { return live_ == 0 && reader_.is_between_records(); }
  // A request that asked for it (no FCGI_KEEP_CONN) has ended and nothing else lives: close the connection.
  bool is_over() const { return is_over_ && live_ == 0; }
  std::size_t live() const { return live_; }

 private:
  enum class Stage { free, receiving, refused, handed_over };
  enum class Refusal { params_too_large, params_malformed, content_length_malformed, body_contradicts, body_too_large };
  struct Live {
    Stage stage = Stage::free;
    Refusal refusal{};
    std::uint16_t id = 0;
    bool is_kept = false;  // FCGI_KEEP_CONN
    bool params_ended = false;
    bool stdin_ended = false;
    bool has_content_length = false;
    std::uint64_t content_length = 0;
    std::uint64_t body_bytes = 0;
    detail::ParamSet params;
  };

  Event application_record(const RecordReader::Step& step);
  Event management_record(const RecordReader::Step& step);
  Event begin(std::uint16_t id, std::string_view content);
  Event abort(std::size_t slot);
  Event params_content(std::size_t slot, const RecordReader::Step& step);
  Event stdin_content(std::size_t slot, const RecordReader::Step& step);
  Event complete(std::size_t slot);
  Event refuse(std::size_t slot, Refusal refusal);
  Event reply_refusal(std::size_t slot);
  Event reply_end(std::uint16_t id, ProtocolStatus status);
  Event reply();
  Event violation(std::string_view what);
  bool index_params(Live& request) const;
  std::size_t find(std::uint16_t id);
  void free(std::size_t slot);
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  SessionLimits limits_;
  Capacity capacity_;
  RecordReader reader_;
  std::vector<Live> requests_;  // by slot
  std::size_t last_slot_ = 0;
  std::size_t live_ = 0;
  bool is_admitting_ = true;
  bool is_over_ = false;
  std::string_view broken_by_;  // the violation; "": none
  bool has_deferred_ = false;
  Event deferred_;       // what must follow the event that was given last
  std::string control_;  // content of a BEGIN or management record, gathered
  std::string reply_;
};

}  // namespace cppfcgi
