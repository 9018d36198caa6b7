#include "mod_cppfcgi/core/exchange.h"

#include <algorithm>
#include <utility>

namespace cppfcgi {

Exchange::Event Exchange::fail(const char* why) {
  why_ = why;
  return {.kind = Kind::violation, .why = why};
}

void Exchange::request_sent() { is_sent_ = true; }

bool Exchange::expects_body() const {
  return !rules_.is_head_request && head_.status() != 204 && head_.status() != 304;
}

Exchange::Event Exchange::next(Bytes& bytes) {
  if (why_ != nullptr) return {.kind = Kind::violation, .why = why_};
  if (!rest_.empty()) {
    const Event event = clip(std::exchange(rest_, {}));
    if (event.kind != Kind::need_more) return event;
  }
  if (!bytes.empty()) has_begun_ = true;
  while (!has_ended_) {
    const RecordReader::Step step = reader_.next(bytes);
    if (step.kind == RecordReader::Kind::need_more) return {};
    if (step.kind == RecordReader::Kind::violation) return fail("a record of another protocol version");
    const RecordHeader& header = step.header;
    if (header.id == 0) {
      // Management records are nobody's request: the late answer to a question of the manager's, say.
      if (header.is(RecordType::get_values_result) || header.is(RecordType::unknown_type)) continue;
      return fail("a record of request 0 that belongs to a request");
    }
    if (header.id != request_id) return fail("a record of a request that was never sent");
    if (header.is(RecordType::stdout_stream)) {
      const Event event = output(step.content);
      if (header.content_length == 0) output_closed_ = true;
      if (event.kind != Kind::need_more) return event;
    } else if (header.is(RecordType::stderr_stream)) {
      if (!step.content.empty()) return {.kind = Kind::error_text, .bytes = step.content};
    } else if (header.is(RecordType::end_request)) {
      const Event event = end(step);
      if (event.kind != Kind::need_more) {
        if (has_ended_) swallow(bytes);
        return event;
      }
    } else {
      return fail("a record of a type that workers do not send");
    }
  }
  swallow(bytes);
  return {};
}

// Padding may follow END_REQUEST; whatever else does is no part of any answer.
void Exchange::swallow(Bytes& bytes) {
  if (reader_.next(bytes).kind != RecordReader::Kind::need_more) is_in_step_ = false;
  bytes = {};
}

Exchange::Event Exchange::output(Bytes content) {
  if (content.empty()) return {};
  if (output_closed_) return fail("output after the end of its output");
  if (head_.is_complete()) return clip(content);
  switch (head_.take(content)) {
    case AnswerHead::Step::need_more:
      return {};
    case AnswerHead::Step::broken:
      return fail(head_.why());
    case AnswerHead::Step::complete:
      rest_ = content;
      return {.kind = Kind::head};
  }
  return {};
}

Exchange::Event Exchange::clip(Bytes content) {
  if (const auto length = head_.content_length(); length && expects_body()) {
    const std::uint64_t left = *length - body_bytes_;
    if (content.size() > left) {
      has_excess_ = true;
      content = content.first(static_cast<std::size_t>(left));
    }
  }
  body_bytes_ += content.size();
  return content.empty() ? Event{} : Event{.kind = Kind::body, .bytes = content};
}

Exchange::Event Exchange::end(const RecordReader::Step& step) {
  if (step.header.content_length != end_body_.size()) return fail("an END_REQUEST of a wrong length");
  std::copy(step.content.begin(), step.content.end(), end_body_.begin() + static_cast<std::ptrdiff_t>(end_bytes_));
  end_bytes_ += step.content.size();
  if (!step.is_last) return {};
  has_seen_end_ = true;
  const EndRequestBody end = *decode_end_request(as_text(end_body_));
  if (end.protocol_status == static_cast<std::uint8_t>(ProtocolStatus::request_complete)) {
    if (!head_.is_complete()) return fail(head_.has_begun() ? "its header is incomplete" : "it is empty");
    const auto length = head_.content_length();
    if (length && expects_body() && body_bytes_ < *length) return fail("its body is shorter than its Content-Length");
  }
  has_ended_ = true;
  is_in_step_ = is_sent_ && !has_excess_;
  return {.kind = Kind::ended, .end = end};
}

}  // namespace cppfcgi
