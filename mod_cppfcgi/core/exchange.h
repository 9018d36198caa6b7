// Exchange: one request as httpd's side sees it. Bytes from the worker go in, events come out. Pure, zero-copy for
// content.
//
//   (sent in part or whole) ──STDOUT──▶ head ──▶ body … ──END_REQUEST──▶ ended
//              └── anything that the protocol forbids ──▶ violation: close the connection
//
// A closed connection is the caller's to notice: unless has_ended(), the answer is cut, never complete.
#pragma once

#include <cstdint>
#include <optional>

#include "mod_cppfcgi/core/answer_head.h"
#include "shared/record.h"

namespace cppfcgi {

class Exchange {
 public:
  static constexpr std::uint16_t request_id = 1;  // one request at a time on a connection

  struct Rules {
    std::size_t head_limit_bytes = std::size_t{1} << 20;
    bool is_head_request = false;  // Content-Length then speaks of a body that may well be missing
  };
  enum class Kind { need_more, head, body, error_text, ended, violation };
  struct Event {
    Kind kind = Kind::need_more;
    Bytes bytes{};         // body, error_text: borrowed from the bytes given to next()
    EndRequestBody end{};  // ended
    const char* why = "";  // violation
  };

  explicit Exchange(const Rules& rules) : rules_(rules), head_(rules.head_limit_bytes) {}

  // Takes the next event off the front of `bytes`. need_more: all of `bytes` is consumed.
  // The answer's body is all that comes as `body`: what exceeds Content-Length is swallowed, what falls short is a
  // violation in place of `ended`, and so is an answer without a complete header. A protocol status other than 0 always
  // comes as `ended`.
  Event next(Bytes& bytes);

  // The last byte of the request has left. An END_REQUEST before that ends the connection, too.
  void request_sent();

  const AnswerHead& head() const { return head_; }
  bool has_ended() const { return has_ended_; }
  bool has_seen_end() const { return has_seen_end_; }  // END_REQUEST came, whatever the answer is worth
  bool has_begun() const { return has_begun_; }        // something came back
  bool has_excess() const { return has_excess_; }      // more body than its Content-Length said

  // Once it has ended: may the connection carry another request?
  bool is_reusable() const { return has_ended_ && is_in_step_ && reader_.is_between_records(); }

 private:
  Event output(Bytes content);
  Event clip(Bytes content);
  Event end(const RecordReader::Step& step);
  void swallow(Bytes& bytes);
  Event fail(const char* why);
  bool expects_body() const;

  Rules rules_;
  RecordReader reader_;
  AnswerHead head_;
  Bytes rest_{};  // of a STDOUT fragment, behind the header that it ended
  std::array<std::byte, 8> end_body_{};
  std::size_t end_bytes_ = 0;
  std::uint64_t body_bytes_ = 0;
  const char* why_ = nullptr;
  bool has_begun_ = false;
  bool is_sent_ = false;
  bool output_closed_ = false;
  bool has_ended_ = false;
  bool has_seen_end_ = false;
  bool is_in_step_ = false;
  bool has_excess_ = false;
};

}  // namespace cppfcgi
