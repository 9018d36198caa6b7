#include "worker/src/task.h"

#include <cerrno>
#include <exception>

#include "worker/src/crash_recorder.h"
#include "worker/src/log.h"
#include "worker/src/server.h"

namespace cppfcgi {
namespace {

constexpr std::size_t memory_body_bytes = std::size_t{256} << 10;  // a longer body lies in a file
constexpr std::size_t batch_records = 16;                          // leave by one system call
constexpr std::size_t whole_record_bytes = 65'528;                 // needs no padding

iovec as_part(std::string_view text) { return {const_cast<char*>(text.data()), text.size()}; }

std::array<std::byte, header_bytes> stream_header(RecordType type, std::uint16_t id, std::size_t content_bytes) {
  return encode({.type = static_cast<std::uint8_t>(type),
                 .id = id,
                 .content_length = static_cast<std::uint16_t>(content_bytes),
                 .padding_length = padding_for(content_bytes)});
}

}  // namespace

Task::Task(Server& server) : server_(server) {
  detail::Access::connect(request_, *this);
  detail::Access::connect(response_, *this);
}

void Task::begin(const std::shared_ptr<Connection>& connection, std::size_t slot, std::uint16_t id) {
  connection_ = connection;
  slot_ = slot;
  id_ = id;
  detail::Access::begin(request_, id);
}

void Task::reset() {
  detail::Access::reset(request_);
  detail::Access::reset(response_);
  connection_.reset();
  is_handed_over_ = is_finished_ = has_stderr_ = is_stopping_ = false;
  body_failure_.clear();
  is_aborted_.store(false, std::memory_order_relaxed);
  stop_source_.reset();
}

void Task::append_body(Bytes content) {
  if (!body_failure_.empty()) return;
  try {
    detail::Access::append_body(request_, content, memory_body_bytes);
  } catch (const std::exception& failure) {
    body_failure_ = failure.what();
  }
}

void Task::take_params(detail::ParamSet& params) {
  detail::Access::swap_params(request_, params);
  is_handed_over_ = true;
}

void Task::abort() {
  is_aborted_.store(true, std::memory_order_relaxed);
  stop();
}

void Task::stop() {
  std::optional<std::stop_source> source;
  {
    const std::lock_guard guard(stop_lock_);
    is_stopping_ = true;
    source = stop_source_;
  }
  if (source) source->request_stop();  // runs the application's callbacks, which may ask for the token again
}

std::stop_token Task::stop_token() {
  server_.watch_while_running();
  const std::lock_guard guard(stop_lock_);
  if (!stop_source_) {
    stop_source_.emplace();
    if (is_stopping_) stop_source_->request_stop();
  }
  return stop_source_->get_token();
}

Connection::Next Task::run(const Handler& handler) {
  bool is_whole = false;
  try {
    if (connection_->outlet().is_lost()) {
      is_whole = false;
    } else if (is_aborted_.load(std::memory_order_relaxed)) {
      is_whole = send_end();
    } else {
      is_whole = call(handler) && send_end();
    }
  } catch (const RequestStopped&) {
    is_whole = false;
  } catch (const std::exception& failure) {
    log_line(name() + ": the answer is cut: " + failure.what());
    is_whole = false;
  }
  finish();
  return connection_->finished(!is_whole);
}

void Task::finish() {
  if (!is_finished_) connection_->finish(slot_);
  is_finished_ = true;
}

bool Task::call(const Handler& handler) {
  try {
    if (!body_failure_.empty()) return answer_failure(body_failure_);
    const RequestUnderWay under_way(request_);
    handler(request_, response_);
    return true;
  } catch (const RequestStopped&) {
    return is_aborted_.load(std::memory_order_relaxed);  // an abort is answered by END_REQUEST, whatever was sent
  } catch (const std::exception& failure) {
    return answer_failure(failure.what());
  } catch (...) {
    return answer_failure("an exception that is no std::exception");
  }
}

// For log lines: "request abc GET /cart".
std::string Task::name() const {
  std::string text;
  if (const std::string_view id = request_.unique_id(); !id.empty()) text.append("request ").append(id).append(" ");
  return text.append(request_.method()).append(" ").append(request_.uri());
}

// Says why, and answers 500 where nothing has left yet.
bool Task::answer_failure(std::string_view what) {
  try {
    std::string line = "cppfcgi: " + name() + ": ";
    line.append(what);
    if (response_.is_sent()) line += "; the answer is cut";
    response_.log(line);
    if (response_.is_sent()) return false;
    detail::Access::reset(response_);
    response_.status(500).header("Content-Type", "text/plain; charset=utf-8");
    response_ << "500 Internal Server Error\n";
    return true;
  } catch (const std::exception&) {
    return false;  // the connection is lost as well
  }
}

// The record's header in front of the content, its padding behind it.
void Task::frame(std::string& framed) const {
  const std::size_t content = framed.size() - header_bytes;
  framed.replace(0, header_bytes, as_text(stream_header(RecordType::stdout_stream, id_, content)));
  framed.append(padding_for(content), '\0');
}

// Records that leave together. Their content is borrowed until then.
class Task::Batch {
 public:
  explicit Batch(Task& task) : task_(task) {}

  void add_framed(std::string_view record) { parts_[count_++] = as_part(record); }
  void add(std::string_view content) {
    while (!content.empty()) {
      if (records_ == batch_records) send();
      const std::string_view piece = content.substr(0, whole_record_bytes);
      content.remove_prefix(piece.size());
      auto& header = headers_[records_++];
      header = stream_header(RecordType::stdout_stream, task_.id_, piece.size());
      parts_[count_++] = as_part(as_text(header));
      parts_[count_++] = as_part(piece);
      parts_[count_++] = as_part({zeros, padding_for(piece.size())});
    }
  }
  void send() {
    if (!task_.send(std::span(parts_).first(count_))) throw RequestStopped();
    records_ = count_ = 0;
  }

 private:
  static constexpr char zeros[8] = {};
  Task& task_;
  std::array<std::array<std::byte, header_bytes>, batch_records> headers_;
  std::array<iovec, 3 * batch_records + 1> parts_;
  std::size_t records_ = 0;
  std::size_t count_ = 0;
};

void Task::send_stdout(std::string& framed, std::string_view more) {
  if (is_aborted_.load(std::memory_order_relaxed)) throw RequestStopped();
  Batch batch(*this);
  const std::string_view content = std::string_view(framed).substr(header_bytes);
  if (content.size() > max_content_bytes) {
    batch.add(content);  // a head that is longer than a record
  } else if (!content.empty()) {
    frame(framed);
    batch.add_framed(framed);
  }
  batch.add(more);
  batch.send();
}

void Task::send_stderr(std::string_view text) {
  if (connection_->outlet().is_lost()) return log_line(text.substr(0, text.find_last_not_of('\n') + 1));
  std::string records;
  append_stream(records, RecordType::stderr_stream, id_, text);
  has_stderr_ = true;
  iovec part = as_part(records);
  if (!send({&part, 1})) log_line(text.substr(0, text.find_last_not_of('\n') + 1));
}

// The rest of the answer and its end, in one piece. False: the connection is lost.
bool Task::send_end() {
  const bool is_aborted = is_aborted_.load(std::memory_order_relaxed);
  std::string& last = detail::Access::finish(response_);
  if (is_aborted) {
    last.clear();
  } else if (last.size() - header_bytes > max_content_bytes) {
    send_stdout(last, {});
    last.clear();
  } else if (last.size() == header_bytes) {
    last.clear();
  } else {
    frame(last);
  }
  append_record(last, RecordType::stdout_stream, id_, {});
  if (has_stderr_) append_record(last, RecordType::stderr_stream, id_, {});
  append_end_request(last, id_, 0, ProtocolStatus::request_complete);
  finish();  // before the web server can know, and use the id again
  iovec part = as_part(last);
  return send({&part, 1});
}

bool Task::send(std::span<iovec> parts) { return connection_->outlet().send(parts, *this); }

bool Task::wait_writable() { return server_.wait_writable(*connection_); }

}  // namespace cppfcgi
