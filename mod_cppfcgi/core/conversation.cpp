#include "mod_cppfcgi/core/conversation.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr auto blocking_time = 50ms;  // how long recv() on a kept connection blocks before we look at the client, too
constexpr auto end_grace = 20ms;      // what came before the end of the request's time may be read so much later
constexpr std::size_t pieces_at_once = 64;
constexpr std::size_t swallowed_bytes = 16'384;
constexpr int swallows_at_once = 64;

bool is_again(int code) { return code == EAGAIN || code == EWOULDBLOCK; }

int poll_for(Conversation::Clock::duration time) {
  // Rounded up, so that a wait is never shorter than its deadline and never busy.
  return static_cast<int>(std::max<std::int64_t>(0, std::chrono::ceil<milliseconds>(time).count()));
}

}  // namespace

Result<void> make_blocking(Connection& connection) {
  const auto micro = std::chrono::duration_cast<std::chrono::microseconds>(blocking_time).count();
  const timeval timeout{.tv_sec = 0, .tv_usec = micro};
  const int flags = ::fcntl(connection.fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(connection.fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return posix_error("fcntl", errno);
  if (::setsockopt(connection.fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0) {
    return posix_error("setsockopt SO_RCVTIMEO", errno);
  }
  connection.is_blocking = true;
  return {};
}

bool is_quiet(const Connection& connection) {
  std::byte byte{};
  return ::recv(connection.fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && is_again(errno);
}

bool swallow(const Connection& connection, Exchange& exchange) {
  std::array<std::byte, swallowed_bytes> buffer;
  for (int i = 0; i < swallows_at_once; ++i) {
    const ssize_t got = ::recv(connection.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EINTR && !is_again(errno))) return true;
    if (got < 0) return false;
    Bytes bytes = std::span(buffer).first(static_cast<std::size_t>(got));
    for (;;) {
      const Exchange::Kind kind = exchange.next(bytes).kind;
      if (exchange.has_seen_end()) return true;
      if (kind == Exchange::Kind::need_more || kind == Exchange::Kind::violation) break;
    }
  }
  return false;
}

// No clock is read where there is no end.
Conversation::Clock::duration Conversation::time_left() const {
  return end_ == Clock::time_point::max() ? Clock::duration::max() : end_ - Clock::now();
}

void Conversation::extend(Clock::duration waited) {
  if (end_ != Clock::time_point::max()) end_ += waited;
}

// True: something left.
bool Conversation::send_some() {
  bool has_sent = false;
  while (is_sending()) {
    std::array<iovec, pieces_at_once> room;
    const auto pieces = source_->pieces(sent_, room);
    if (!pieces) {
      has_failed_ = true;
      error_ = pieces.error().what;
      return has_sent;
    }
    msghdr message{};
    message.msg_iov = pieces->data();
    message.msg_iovlen = pieces->size();
    const ssize_t sent = ::sendmsg(connection_.fd.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      const int code = errno;
      if (code == EINTR) continue;
      if (!is_again(code)) send_code_ = code;
      return has_sent;
    }
    has_sent = true;
    sent_ += static_cast<std::uint64_t>(sent);
    if (sent_ == source_->size()) exchange_.request_sent();
  }
  return has_sent;
}

Conversation::Wait Conversation::wait(ClientWatch& client) {
  const Clock::time_point now = Clock::now();
  if (now >= *deadline_) return Wait::timed_out;
  if (now >= end_) return Wait::out_of_time;
  const Clock::time_point until = std::min({*deadline_, end_, client.look_again(now)});
  pollfd watched[2] = {{.fd = connection_.fd.get(), .events = POLLIN, .revents = 0}, client.wanted()};
  if (is_sending()) watched[0].events |= POLLOUT;
  if (::poll(watched, 2, poll_for(until - now)) < 0) watched[0].revents = watched[1].revents = 0;
  if (watched[0].revents != 0) return Wait::ready;
  return client.is_gone(watched[1].revents, Clock::now()) ? Wait::client_gone : Wait::ready;
}

std::optional<Conversation::Input> Conversation::after_recv(ssize_t got, int code) {
  if (got > 0) {
    has_received_ = true;
    deadline_.reset();
    return Input{.outcome = Outcome::bytes, .bytes = static_cast<std::size_t>(got)};
  }
  if (got == 0) {
    // Its end came while we were still sending: the failed send says more.
    if (send_code_ != 0) return Input{.outcome = Outcome::reset, .code = send_code_};
    return Input{.outcome = Outcome::closed};
  }
  if (code == EINTR || is_again(code)) return std::nullopt;
  return Input{.outcome = Outcome::reset, .code = code};
}

Conversation::Input Conversation::receive(std::span<std::byte> buffer, milliseconds idle_timeout, ClientWatch& client) {
  for (;;) {
    const bool has_sent = is_sending() && send_some();
    if (has_failed_) return {};
    if (has_sent) deadline_.reset();
    const Clock::duration left = time_left();
    if (left <= -end_grace) return {.outcome = Outcome::out_of_time};
    const bool may_block =
        connection_.is_blocking && !is_sending() && !deadline_ && left >= blocking_time && !client.has_output();
    // A connection that does not block has nothing for us yet right after the request has left.
    if (may_block || deadline_ || has_received_ || send_code_ != 0) {
      const ssize_t got = ::recv(connection_.fd.get(), buffer.data(), buffer.size(), may_block ? 0 : MSG_DONTWAIT);
      if (const auto input = after_recv(got, errno)) return *input;
    }
    if (!deadline_) deadline_ = Clock::now() + idle_timeout - (may_block ? blocking_time : 0ms);
    switch (wait(client)) {
      case Wait::ready:
        break;
      case Wait::timed_out:
        return {.outcome = Outcome::timed_out};
      case Wait::out_of_time:
        return {.outcome = Outcome::out_of_time};
      case Wait::client_gone:
        return {.outcome = Outcome::client_gone};
    }
  }
}

Conversation::Input Conversation::receive_now(std::span<std::byte> buffer) {
  if (is_sending()) send_some();
  if (has_failed_) return {};
  const ssize_t got = ::recv(connection_.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  return after_recv(got, errno).value_or(Input{.outcome = Outcome::nothing});
}

bool Conversation::send_abort() {
  if (exchange_.has_ended() || send_code_ != 0 || !source_->is_between_records(sent_)) return false;
  std::string record;
  append_record(record, RecordType::abort_request, Exchange::request_id, {});
  return ::send(connection_.fd.get(), record.data(), record.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(record.size());
}

// The other way to say so, in the middle of a record too.
void Conversation::end_sending() { ::shutdown(connection_.fd.get(), SHUT_WR); }

void Conversation::abort(milliseconds patience) {
  if (!send_abort()) return;
  const Clock::time_point end = Clock::now() + patience;
  while (Clock::now() < end) {
    pollfd watched{.fd = connection_.fd.get(), .events = POLLIN, .revents = 0};
    if (::poll(&watched, 1, poll_for(end - Clock::now())) < 0 && errno != EINTR) return;
    if (swallow(connection_, exchange_)) return;
  }
}

}  // namespace cppfcgi
