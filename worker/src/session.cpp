#include "worker/src/session.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "shared/params.h"

namespace cppfcgi {
namespace {

constexpr std::size_t kept_block_bytes = std::size_t{64} << 10;  // more than this is given back when a request ends

std::optional<std::uint64_t> parse_length(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Session::Event Session::next(Bytes& bytes) {
  if (has_deferred_) {
    has_deferred_ = false;
    return deferred_;
  }
  if (!broken_by_.empty()) return violation(broken_by_);
  for (;;) {
    const RecordReader::Step step = reader_.next(bytes);
    if (step.kind == RecordReader::Kind::need_more) return {};
    if (step.kind == RecordReader::Kind::violation) return violation("a record of another protocol version");
    const Event event = step.header.id == 0 ? management_record(step) : application_record(step);
    if (event.kind != Kind::need_more) return event;
  }
}

std::size_t Session::find(std::uint16_t id) {
  const auto is_it = [id](const Live& request) { return request.stage != Stage::free && request.id == id; };
  if (last_slot_ < requests_.size() && is_it(requests_[last_slot_])) return last_slot_;
  const auto found = std::ranges::find_if(requests_, is_it);
  if (found == requests_.end()) return none;
  return last_slot_ = static_cast<std::size_t>(found - requests_.begin());
}

Session::Event Session::management_record(const RecordReader::Step& step) {
  if (step.is_first) control_.clear();
  if (step.header.is(RecordType::get_values)) control_ += as_text(step.content);
  if (!step.is_last) return {};
  reply_.clear();
  if (!step.header.is(RecordType::get_values)) {
    append_unknown_type(reply_, step.header.type);
    return reply();
  }
  // Only what is asked for, and only what is known; an empty result is an answer too.
  std::string result;
  PairCursor asked(control_);
  while (const auto pair = asked.next()) {
    if (pair->name == "FCGI_MAX_CONNS") append_pair(result, {pair->name, std::to_string(capacity_.connections)});
    if (pair->name == "FCGI_MAX_REQS") append_pair(result, {pair->name, std::to_string(capacity_.requests)});
    if (pair->name == "FCGI_MPXS_CONNS") append_pair(result, {pair->name, "1"});
    if (result.size() > max_content_bytes / 2) break;
  }
  append_record(reply_, RecordType::get_values_result, 0, result);
  return reply();
}

Session::Event Session::application_record(const RecordReader::Step& step) {
  const std::uint16_t id = step.header.id;
  if (step.header.is(RecordType::begin_request)) {
    if (step.is_first) control_.clear();
    if (step.header.content_length != 8) return violation("a BEGIN_REQUEST of another size");
    control_ += as_text(step.content);
    return step.is_last ? begin(id, control_) : Event{};
  }
  const std::size_t slot = find(id);
  if (slot == none) return {};  // not ours, or refused, or ended before the web server knew
  if (step.header.is(RecordType::params)) return params_content(slot, step);
  if (step.header.is(RecordType::stdin_stream)) return stdin_content(slot, step);
  if (step.header.is(RecordType::abort_request) && step.is_last) return abort(slot);
  return {};
}

Session::Event Session::begin(std::uint16_t id, std::string_view content) {
  const auto body = decode_begin_request(content);
  if (find(id) != none) return violation("a BEGIN_REQUEST for an id that is in use");
  const bool is_kept = (body->flags & keep_conn_flag) != 0;
  if (body->role != static_cast<std::uint16_t>(Role::responder)) {
    is_over_ = is_over_ || !is_kept;
    return reply_end(id, ProtocolStatus::unknown_role);
  }
  if (!is_admitting_ || is_over_ || live_ >= limits_.requests) {
    is_over_ = is_over_ || !is_kept;
    return reply_end(id, ProtocolStatus::overloaded);
  }
  const auto place = std::ranges::find(requests_, Stage::free, &Live::stage);
  last_slot_ = static_cast<std::size_t>(place - requests_.begin());
  Live& request = place == requests_.end() ? requests_.emplace_back() : *place;
  request.stage = Stage::receiving;
  request.id = id;
  request.is_kept = is_kept;
  request.params_ended = request.stdin_ended = request.has_content_length = false;
  request.content_length = request.body_bytes = 0;
  ++live_;
  return {.kind = Kind::begun, .slot = last_slot_, .id = id};
}

Session::Event Session::abort(std::size_t slot) {
  const Live& request = requests_[slot];
  const std::uint16_t id = request.id;
  switch (request.stage) {
    case Stage::handed_over:
      return {.kind = Kind::aborted, .slot = slot, .id = id};
    case Stage::refused:
      free(slot);
      return reply_end(id, ProtocolStatus::request_complete);
    case Stage::receiving:
      free(slot);
      deferred_ = reply_end(id, ProtocolStatus::request_complete);
      has_deferred_ = true;
      return {.kind = Kind::dropped, .slot = slot, .id = id};
    case Stage::free:
      break;
  }
  return {};
}

Session::Event Session::params_content(std::size_t slot, const RecordReader::Step& step) {
  Live& request = requests_[slot];
  const bool is_end = step.header.content_length == 0;
  if (request.params_ended) return is_end ? Event{} : violation("PARAMS after their end");
  request.params_ended = is_end;
  if (request.stage != Stage::receiving) return {};
  auto& block = request.params.block;
  if (!is_end) {
    if (block.size() + step.content.size() > limits_.params_bytes) return refuse(slot, Refusal::params_too_large);
    const std::string_view text = as_text(step.content);
    block.insert(block.end(), text.begin(), text.end());
    return {};
  }
  if (!index_params(request)) return refuse(slot, Refusal::params_malformed);
  for (const Param& param : request.params.pairs) {
    if (param.name != "CONTENT_LENGTH" || param.value.empty()) continue;
    const auto length = parse_length(param.value);
    if (!length || (request.has_content_length && request.content_length != *length)) {
      return refuse(slot, Refusal::content_length_malformed);
    }
    request.has_content_length = true;
    request.content_length = *length;
  }
  return request.stdin_ended ? complete(slot) : Event{};
}

bool Session::index_params(Live& request) const {
  const auto& block = request.params.block;
  PairCursor cursor(std::string_view(block.data(), block.size()));
  while (const auto pair = cursor.next()) request.params.pairs.push_back({pair->name, pair->value});
  return !cursor.is_malformed();
}

Session::Event Session::stdin_content(std::size_t slot, const RecordReader::Step& step) {
  Live& request = requests_[slot];
  const bool is_end = step.header.content_length == 0;
  if (request.stdin_ended) return is_end ? Event{} : violation("STDIN after its end");
  request.stdin_ended = is_end;
  if (request.stage == Stage::refused) return is_end ? reply_refusal(slot) : Event{};
  if (is_end) return request.params_ended ? complete(slot) : Event{};
  request.body_bytes += step.content.size();
  if (request.body_bytes > limits_.body_bytes) return refuse(slot, Refusal::body_too_large);
  if (request.has_content_length && request.body_bytes > request.content_length) {
    return refuse(slot, Refusal::body_contradicts);
  }
  return {.kind = Kind::body, .slot = slot, .id = request.id, .content = step.content};
}

Session::Event Session::complete(std::size_t slot) {
  Live& request = requests_[slot];
  if (request.has_content_length && request.body_bytes != request.content_length) {
    return refuse(slot, Refusal::body_contradicts);
  }
  request.stage = Stage::handed_over;
  return {.kind = Kind::ready, .slot = slot, .id = request.id};
}

// The shell forgets the request now; the answer follows when its STDIN has ended.
Session::Event Session::refuse(std::size_t slot, Refusal refusal) {
  Live& request = requests_[slot];
  const std::uint16_t id = request.id;
  request.stage = Stage::refused;
  request.refusal = refusal;
  if (request.stdin_ended) {
    deferred_ = reply_refusal(slot);
    has_deferred_ = true;
  }
  return {.kind = Kind::dropped, .slot = slot, .id = id};
}

Session::Event Session::reply_refusal(std::size_t slot) {
  struct Text {
    std::string_view status;
    std::string_view why;
  };
  const auto text = [&]() -> Text {
    switch (requests_[slot].refusal) {
      case Refusal::params_too_large:
        return {"431 Request Header Fields Too Large", "its parameters exceed the worker's limit"};
      case Refusal::params_malformed:
        return {"400 Bad Request", "its parameters are malformed"};
      case Refusal::content_length_malformed:
        return {"400 Bad Request", "its CONTENT_LENGTH is no length"};
      case Refusal::body_contradicts:
        return {"400 Bad Request", "its body is not as long as CONTENT_LENGTH says"};
      case Refusal::body_too_large:
        return {"413 Content Too Large", "its body exceeds the worker's limit"};
    }
    return {};
  }();
  const std::uint16_t id = requests_[slot].id;
  std::string answer = "Status: ";
  answer.append(text.status).append("\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n").append(text.status) += '\n';
  free(slot);
  reply_.clear();
  append_stream(reply_, RecordType::stderr_stream, id,
                std::string("cppfcgi: request refused: ").append(text.why) + '\n');
  append_record(reply_, RecordType::stderr_stream, id, {});
  append_stream(reply_, RecordType::stdout_stream, id, answer);
  append_record(reply_, RecordType::stdout_stream, id, {});
  append_end_request(reply_, id, 0, ProtocolStatus::request_complete);
  return reply();
}

Session::Event Session::reply_end(std::uint16_t id, ProtocolStatus status) {
  reply_.clear();
  append_end_request(reply_, id, 0, status);
  return reply();
}

Session::Event Session::reply() { return {.kind = Kind::reply, .content = as_bytes(reply_)}; }

Session::Event Session::violation(std::string_view what) {
  broken_by_ = what;
  return {.kind = Kind::violation, .content = as_bytes(what)};
}

void Session::finish(std::size_t slot) { free(slot); }

void Session::free(std::size_t slot) {
  Live& request = requests_[slot];
  is_over_ = is_over_ || !request.is_kept;
  request.stage = Stage::free;
  request.params.pairs.clear();
  request.params.block.clear();
  if (request.params.block.capacity() > kept_block_bytes) {
    request.params.block.shrink_to_fit();
    request.params.pairs.shrink_to_fit();
  }
  --live_;
}

}  // namespace cppfcgi
