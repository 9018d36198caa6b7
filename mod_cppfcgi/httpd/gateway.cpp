#include "mod_cppfcgi/httpd/gateway.h"

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "mod_cppfcgi/core/worker_life.h"
#include "mod_cppfcgi/httpd/log.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t input_bytes = 64 * 1024;
constexpr std::size_t memory_bytes = 256 * 1024;     // answers up to here are read whole before the client gets them
constexpr std::size_t unwanted_bytes = 1024 * 1024;  // of a body that nobody wants; beyond it the connection is closed
constexpr auto abort_patience = 50ms;                // for a worker to end what was aborted while we wait
constexpr int most_pools = 20;                       // of a dynamic application, one after the other, for one request
constexpr std::size_t one_piece_bytes = 8'192;       // a request up to here is read whole or not at all

bool is_idempotent(const request_rec* request) {
  switch (request->method_number) {
    case M_GET:  // HEAD, too
    case M_OPTIONS:
    case M_TRACE:
    case M_PUT:
    case M_DELETE:
      return true;
    default:
      return false;
  }
}

// A stream of HTTP/2 has no socket of its own.
int client_socket(conn_rec* connection) {
  apr_socket_t* socket = connection->master == nullptr ? ap_get_conn_socket(connection) : nullptr;
  apr_os_sock_t fd = -1;
  return socket != nullptr && apr_os_sock_get(&fd, socket) == APR_SUCCESS ? fd : -1;
}

bool is_aborted(const void* connection) { return static_cast<const conn_rec*>(connection)->aborted != 0; }

}  // namespace

Gateway::Gateway(request_rec* request, const PoolSettings& settings, ChildState& child, std::string& opening,
                 const BodySource& body)
    : request_(request),
      settings_(settings),
      child_(child),
      opening_(opening),
      source_(opening, body),
      output_(request, client_socket(request->connection), child.temp_folder),
      client_(client_socket(request->connection), is_aborted, request->connection, &output_),
      delivery_(request, output_),
      error_text_(request, settings.pool.name),
      worker_(settings, child),
      suspect_(request, settings, body, child.poisons, child.access.load->poison_seed.load(std::memory_order_relaxed)) {
}

int Gateway::run() {
  if (const auto begun = worker_.begin(); !begun) return without_pool(begun.error()).status;
  Tries tries(settings_.retries);
  for (;;) {
    if (const std::uint32_t seconds = suspect_.refused_for()) return refuse_poison(seconds);
    const Outcome outcome = attempt();
    if (const Over* over = std::get_if<Over>(&outcome)) return over->status;
    const Verdict verdict = judge(std::get<Attempt>(outcome));
    if (!tries.take(verdict)) return unavailable();
    if (verdict == Verdict::fresh_connection) {
      worker_.want_fresh_connection();
    } else {
      log(APLOG_INFO, last_failure_ + "; trying another worker");
      worker_.leave();
    }
    delivery_.forget();
  }
}

Gateway::Outcome Gateway::attempt() {
  if (!worker_.is_held()) {
    if (const auto over = claim()) return *over;
  }
  auto connection = worker_.connect(opening_, is_idempotent(request_));
  if (!connection) {
    last_failure_ = connection.error().what;
    return lost(Loss::refused, nullptr);
  }
  worker_.count_request();
  Conversation conversation(*std::move(connection), source_, {.is_head_request = request_->header_only != 0},
                            worker_.end());
  return converse(conversation);
}

std::optional<Gateway::Over> Gateway::claim() {
  auto failure = worker_.claim([this] { return client_.is_gone_now(); });
  // It was unused, and has ended just now.
  for (int tries = 0; failure == ClaimFailure::pool_gone && tries < most_pools; ++tries) {
    if (const auto begun = worker_.begin(); !begun) return without_pool(begun.error());
    failure = worker_.claim([this] { return client_.is_gone_now(); });
  }
  if (!failure) return std::nullopt;
  switch (*failure) {
    case ClaimFailure::queue_full:
      last_failure_ = "all workers are busy and " + std::to_string(worker_.queue_limit()) + " requests wait already (" +
                      size_option() + ", -queue, -max-threads)";
      break;
    case ClaimFailure::no_thread:
      last_failure_ =
          "all workers are busy, and requests that wait hold as many threads of this process as they may (" +
          size_option() + ", -max-threads)";
      break;
    case ClaimFailure::timed_out:
      last_failure_ = "no worker became free within " + std::to_string(settings_.claim_timeout.count()) + " ms (" +
                      size_option() + ", -queue-timeout)";
      break;
    case ClaimFailure::abandoned:
      return abandon(nullptr);
    case ClaimFailure::breaker_open:
      return Over{refuse()};
    case ClaimFailure::pool_gone:
      last_failure_ = "its pool ends again and again";
      break;
  }
  return Over{turn_away(worker_.count_overload(), worker_.retry_after())};
}

// What CGI says of a file that is no program, as far as this is why.
Gateway::Over Gateway::without_pool(const Error& why) {
  last_failure_ = why.what;
  int status = 0;
  if (why.code == ENOENT) status = HTTP_NOT_FOUND;
  if (why.code == EACCES) status = HTTP_FORBIDDEN;
  if (why.code == EINVAL) status = HTTP_INTERNAL_SERVER_ERROR;
  if (status == 0 || !begun_in_.empty()) return {unavailable()};
  log(APLOG_ERR, last_failure_ + "; the client gets " + std::to_string(status));
  return {status};
}

// What to raise where more could be served at once.
std::string Gateway::size_option() const {
  if (settings_.pool.is_external()) return "-max-connections";
  return settings_.template_key != 0 ? "-maxClassProcesses" : "-processes, -max-processes";
}

Gateway::Outcome Gateway::converse(Conversation& conversation) {
  std::array<std::byte, input_bytes> buffer;
  std::optional<DrainedAnswer> drained;
  for (;;) {
    const auto input = conversation.receive(buffer, settings_.idle_timeout, client_);
    if (input.outcome != Conversation::Outcome::bytes) return lose(conversation, input);
    if (const auto outcome = take(conversation, std::span(buffer).first(input.bytes))) return *outcome;
    if (const auto over = pass_on(conversation, drained)) return *over;
  }
}

std::optional<Gateway::Outcome> Gateway::take(Conversation& conversation, Bytes bytes) {
  for (;;) {
    const Exchange::Event event = conversation.exchange().next(bytes);
    switch (event.kind) {
      case Exchange::Kind::need_more:
        return std::nullopt;
      case Exchange::Kind::head:
        is_stream_ = settings_.flush || is_stream(conversation.exchange().head());
        break;
      case Exchange::Kind::body:
        if (is_wanted()) {
          delivery_.collect(event.bytes);
        } else {
          swallowed_ += event.bytes.size();
        }
        break;
      case Exchange::Kind::error_text:
        error_text_.append(event.bytes);
        break;
      case Exchange::Kind::ended:
        return end(conversation, event.end);
      case Exchange::Kind::violation:
        return break_off(&conversation, HTTP_BAD_GATEWAY, std::string("its answer is broken: ") + event.why);
    }
  }
}

// What is left of the body, once the header has been applied.
bool Gateway::is_wanted() const {
  return !answer_ || (answer_->plan == AnswerPlan::send && request_->header_only == 0);
}

// What is too large to be read whole first, or is not to wait.
std::optional<Gateway::Over> Gateway::pass_on(Conversation& conversation, std::optional<DrainedAnswer>& drained) {
  const bool is_due = is_stream_ || answer_ || delivery_.collected_bytes() > memory_bytes;
  if (!conversation.exchange().head().is_complete() || !is_due) {
    delivery_.keep();
    return std::nullopt;
  }
  begin_answer(conversation.exchange().head());
  if (!is_wanted()) {
    delivery_.forget();
    if (swallowed_ <= unwanted_bytes) return std::nullopt;
    worker_.let_go(conversation);
    return settle();
  }
  if (delivery_.collected_bytes() == 0 && delivery_.has_begun()) return std::nullopt;
  if (!drained) {
    drained.emplace(child_.drainer, conversation, settings_.idle_timeout,
                    DrainedAnswer::Callbacks{.on_end = [this, &conversation] { worker_.let_go(conversation); },
                                             .on_late = [this, &conversation] { worker_.leave_late(conversation); }});
  }
  drained->begin_pass();
  const bool is_there = delivery_.pass_on(is_stream_);
  const bool reads_on = drained->end_pass();
  if (!is_there) {
    drained->retake();
    return abandon(&conversation);
  }
  if (!reads_on) return pass_drained(conversation, *drained);
  return output_.is_full() ? wait_for_room(conversation) : std::nullopt;
}

// What the client has not taken has reached its bound: the worker waits, which is no fault of its own.
std::optional<Gateway::Over> Gateway::wait_for_room(Conversation& conversation) {
  const auto began = Conversation::Clock::now();
  const bool is_there = output_.wait_for_room();
  conversation.extend(Conversation::Clock::now() - began);
  return is_there ? std::nullopt : std::optional(abandon(&conversation));
}

// The client was slow, and the drainer has read on meanwhile. nullopt: this thread reads on.
std::optional<Gateway::Over> Gateway::pass_drained(Conversation& conversation, DrainedAnswer& drained) {
  for (;;) {
    DrainedAnswer::Portion portion = drained.next();
    error_text_.append(as_bytes(portion.error_text));
    error_text_.drop(portion.error_text_dropped);
    switch (portion.kind) {
      case DrainedAnswer::Portion::Kind::bytes:
        if (!portion.error.empty()) {
          log(APLOG_WARNING, "its answer cannot be spooled: " + portion.error + "; it waits for the slow client");
        }
        delivery_.collect(as_bytes(portion.bytes));
        if (delivery_.pass_on(is_stream_)) break;
        drained.retake();
        return abandon(&conversation);
      case DrainedAnswer::Portion::Kind::rest:
        suspect_.acquit();
        if (!delivery_.finish(std::move(portion.rest)) && !delivery_.is_replaced()) request_->connection->aborted = 1;
        return Over{};
      case DrainedAnswer::Portion::Kind::retaken:
        return std::nullopt;
      case DrainedAnswer::Portion::Kind::over:
        return end_drained(conversation, drained.ending());
      case DrainedAnswer::Portion::Kind::failed:
        drained.retake();
        return break_off(&conversation, HTTP_INTERNAL_SERVER_ERROR, portion.error);
    }
  }
}

Gateway::Over Gateway::end_drained(Conversation& conversation, const DrainedAnswer::Ending& ending) {
  Outcome outcome;
  if (ending.has_ended) {
    outcome = end(conversation, ending.end);
  } else if (ending.violation != nullptr) {
    outcome = break_off(&conversation, HTTP_BAD_GATEWAY, std::string("its answer is broken: ") + ending.violation);
  } else {
    outcome = lose(conversation, ending.input);
  }
  // The client has got something already: nothing is repeated.
  const Over* over = std::get_if<Over>(&outcome);
  return over != nullptr ? *over : break_off(&conversation, HTTP_BAD_GATEWAY, last_failure_);
}

void Gateway::begin_answer(const AnswerHead& head) {
  if (!answer_) answer_ = apply_head(request_, head, settings_.nph);
}

Gateway::Outcome Gateway::end(Conversation& conversation, const EndRequestBody& end) {
  if (end.protocol_status == static_cast<std::uint8_t>(ProtocolStatus::request_complete)) {
    // From here on the worker is somebody else's, however slow the client is.
    worker_.let_go(conversation);
    suspect_.acquit();
    const Exchange& exchange = conversation.exchange();
    if (exchange.has_excess()) log(APLOG_WARNING, "its body is longer than its Content-Length; the rest is dropped");
    begin_answer(exchange.head());
    return settle();
  }
  last_failure_ = "it turned the request down with protocol status " + std::to_string(end.protocol_status);
  if (delivery_.has_begun()) return break_off(&conversation, HTTP_BAD_GATEWAY, last_failure_);
  switch (static_cast<ProtocolStatus>(end.protocol_status)) {
    case ProtocolStatus::cant_mpx_conn:
    case ProtocolStatus::overloaded:
      return lost(Loss::turned_down, &conversation);
    case ProtocolStatus::unknown_role:
      return break_off(&conversation, HTTP_INTERNAL_SERVER_ERROR, "it does not know the role Responder");
    case ProtocolStatus::request_complete:
      break;
  }
  return break_off(&conversation, HTTP_BAD_GATEWAY, last_failure_);
}

// The answer is here, or what we want of it.
Gateway::Over Gateway::settle() {
  error_text_.finish();
  switch (answer_->plan) {
    case AnswerPlan::send:
      break;
    case AnswerPlan::send_empty:
      delivery_.forget();
      break;
    case AnswerPlan::local_redirect:
      delivery_.forget();
      redirect_locally(request_, answer_->location);
      return {};
    case AnswerPlan::refuse:
      delivery_.forget();
      return {answer_->status};
  }
  if (!delivery_.finish() && !delivery_.is_replaced()) request_->connection->aborted = 1;
  return {};
}

Gateway::Outcome Gateway::lose(Conversation& conversation, const Conversation::Input& input) {
  switch (input.outcome) {
    case Conversation::Outcome::bytes:
    case Conversation::Outcome::nothing:
      break;
    case Conversation::Outcome::closed:
      last_failure_ = "it closed the connection before its answer was complete";
      return lost(Loss::closed, &conversation);
    case Conversation::Outcome::reset:
      last_failure_ = posix_error("the connection was lost", input.code).what;
      return lost(conversation.sent_bytes() == 0 ? Loss::unsent : Loss::reset, &conversation);
    case Conversation::Outcome::timed_out:
      return be_late(conversation, "nothing came from it for " + std::to_string(settings_.idle_timeout.count()) +
                                       " ms (-idle-timeout)");
    case Conversation::Outcome::out_of_time:
      return be_late(conversation, "it has not ended within " + std::to_string(settings_.request_timeout.count()) +
                                       " ms (-request-timeout)");
    case Conversation::Outcome::client_gone:
      return abandon(&conversation);
    case Conversation::Outcome::failed:
      break;
  }
  return break_off(&conversation, HTTP_INTERNAL_SERVER_ERROR, conversation.error());
}

// Its time is over. The client need not wait for what becomes of the worker.
Gateway::Over Gateway::be_late(Conversation& conversation, const std::string& why) {
  worker_.leave_late(conversation);
  return break_off(&conversation, HTTP_GATEWAY_TIME_OUT, why + "; it is told to stop");
}

// The worker failed us, and another one will not help.
Gateway::Over Gateway::break_off(Conversation* conversation, int status, const std::string& why) {
  worker_.count_failure();
  const bool is_cut = delivery_.has_begun();
  log(APLOG_ERR, why + (is_cut ? "; the client's answer is cut" : "; the client gets " + std::to_string(status)));
  // The client may be slow to take even this.
  worker_.drop(conversation);
  if (!is_cut) return {status};
  delivery_.cut();
  return {};
}

// No worker takes it (any more). 503 promises that it has not begun, and that the client may well ask again.
int Gateway::unavailable() {
  if (!begun_in_.empty()) {
    if (begun_in_ != worker_.name()) last_failure_ += "; it may have begun in " + begun_in_;
    return break_off(nullptr, HTTP_BAD_GATEWAY, last_failure_).status;
  }
  log(APLOG_ERR, last_failure_ + "; the client gets 503");
  return come_again(1);
}

// The pool's workers die before they are ready: many clients learn that at the same time.
int Gateway::refuse() {
  const std::uint32_t seconds = std::max(worker_.refuses_for(), std::uint32_t{1});
  last_failure_ = settings_.pool.is_external() ? "no endpoint can be reached" : "no worker gets ready";
  last_failure_ += ", and the next try is in " + std::to_string(seconds) + " s";
  return turn_away(worker_.count_refusal(), seconds);
}

// Many are, at the same time; `clients`: how many a line in the log is for.
int Gateway::turn_away(std::uint32_t clients, std::uint32_t seconds) {
  if (!begun_in_.empty()) return unavailable();
  if (clients > 1) {
    log(APLOG_ERR, last_failure_ + "; " + std::to_string(clients) + " clients got 503 since the last such line");
  } else if (clients == 1) {
    log(APLOG_ERR, last_failure_ + "; the client gets 503");
  }
  return come_again(seconds);
}

// It has cost workers enough.
int Gateway::refuse_poison(std::uint32_t seconds) {
  if (!begun_in_.empty()) return unavailable();
  log(APLOG_INFO, "workers died of this request; the client gets 503");
  return come_again(seconds);
}

int Gateway::come_again(std::uint32_t seconds) {
  apr_table_setn(request_->err_headers_out, "Retry-After", apr_psprintf(request_->pool, "%u", seconds));
  return HTTP_SERVICE_UNAVAILABLE;
}

// The client is gone.
Gateway::Over Gateway::abandon(Conversation* conversation) {
  log(APLOG_DEBUG, "the client is gone");
  if (!delivery_.is_replaced()) request_->connection->aborted = 1;
  if (!delivery_.has_begun()) request_->status = 499;  // for the access log alone: nobody reads it
  if (conversation != nullptr) {
    conversation->abort(abort_patience);
    worker_.abandon(*conversation);
  }
  return {};
}

Gateway::Outcome Gateway::lost(Loss loss, Conversation* conversation) {
  const Attempt attempt{.loss = loss,
                        .was_kept = conversation != nullptr && conversation->was_kept(),
                        .is_idempotent = is_idempotent(request_),
                        .has_delivered = delivery_.has_begun() || answer_,
                        .was_unread = conversation != nullptr && has_not_begun(loss, *conversation)};
  if (may_have_begun(attempt)) {
    worker_.look_again();
    begun_in_ = worker_.name();
    if (worker_.has_died()) suspect_.add_death(worker_.identity());
  }
  if (delivery_.has_begun()) return break_off(conversation, HTTP_BAD_GATEWAY, last_failure_);
  return attempt;
}

// Had the worker read enough to begin? Who begins with the whole request alone had not where we could not send it all,
// nor where it left something unread, as a reset says. Of others, what came in one piece is read in one piece by all
// that we know of, but php-cgi, which leaves the request's last record unread while it runs, and resets the connection
// when it dies of it. It keeps no connections.
bool Gateway::has_not_begun(Loss loss, const Conversation& conversation) const {
  if (conversation.has_received() || !worker_.is_known()) return false;
  if (worker_.begins_whole()) return loss == Loss::reset || conversation.sent_bytes() < source_.size();
  if (loss != Loss::reset || source_.size() > one_piece_bytes) return false;
  return worker_.is_kept() || is_living(worker_.pid());
}

void Gateway::log(int level, const std::string& text) const {
  ap_log_rerror(APLOG_MARK, level, 0, request_, "%s, request %s: %s", worker_.name().c_str(), request_->log_id,
                text.c_str());
}

}  // namespace cppfcgi
