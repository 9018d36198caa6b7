#include "tests/chaos/http2_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace cppfcgi::test {
namespace {

constexpr std::int32_t window_bytes = 4 << 20;

void must(int result) {
  if (result < 0) throw std::runtime_error(std::string("nghttp2: ") + nghttp2_strerror(result));
}

Fd connect_to(int port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("connect to port " + std::to_string(port) + ": " + std::strerror(errno));
  }
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

nghttp2_nv header(const std::string& name, const std::string& value) {
  const auto bytes = [](const std::string& text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

// What nghttp2 calls. None of them throws: all that they may meet is bad_alloc.
struct Http2Connection::Hooks {
  static Http2Connection& self(void* user) { return *static_cast<Http2Connection*>(user); }
  static Stream* stream(void* user, std::int32_t id) {
    auto& streams = self(user).streams_;
    const auto found = streams.find(id);
    return found == streams.end() ? nullptr : &found->second;
  }

  static ssize_t send(nghttp2_session*, const std::uint8_t* data, std::size_t bytes, int, void* user) {
    const ssize_t sent = ::send(self(user).fd(), data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return sent;
    return errno == EAGAIN || errno == EINTR ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_bytes,
                       const std::uint8_t* value, std::size_t value_bytes, std::uint8_t, void* user) {
    Stream* const known = stream(user, frame->hd.stream_id);
    if (known == nullptr) return 0;
    const std::string key(reinterpret_cast<const char*>(name), name_bytes);
    const std::string text(reinterpret_cast<const char*>(value), value_bytes);
    if (key == ":status") known->answer.status = std::atoi(text.c_str());
    known->answer.headers[key] = text;
    return 0;
  }

  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t bytes,
                     void* user) {
    if (Stream* const known = stream(user, id)) {
      known->answer.body.append(reinterpret_cast<const char*>(data), bytes);
    }
    return 0;
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY) self(user).is_leaving_ = true;
    const bool carries_end = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (!carries_end || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    if (Stream* const known = stream(user, frame->hd.stream_id)) known->has_ended = true;
    return 0;
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    auto& streams = self(user).streams_;
    const auto found = streams.find(id);
    if (found == streams.end()) return 0;
    const bool is_refused = found->second.answer.status == 0 && self(user).is_leaving_;
    self(user).finish(found, found->second.has_ended ? Ending::whole : is_refused ? Ending::none : Ending::cut);
    return 0;
  }

  static ssize_t read_body(nghttp2_session*, std::int32_t id, std::uint8_t* into, std::size_t room,
                           std::uint32_t* flags, nghttp2_data_source*, void* user) {
    Stream* const known = stream(user, id);
    if (known == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::size_t bytes = std::min(room, known->body.size() - known->sent);
    std::memcpy(into, known->body.data() + known->sent, bytes);
    known->sent += bytes;
    if (known->sent == known->body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(bytes);
  }
};

Http2Connection::Http2Connection(int port) : socket_(connect_to(port)) {
  nghttp2_session_callbacks* callbacks = nullptr;
  must(nghttp2_session_callbacks_new(&callbacks));
  const std::unique_ptr<nghttp2_session_callbacks, void (*)(nghttp2_session_callbacks*)> owner(
      callbacks, nghttp2_session_callbacks_del);
  nghttp2_session_callbacks_set_send_callback(callbacks, Hooks::send);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Hooks::on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Hooks::on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Hooks::on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Hooks::on_stream_close);
  nghttp2_session* session = nullptr;
  must(nghttp2_session_client_new(&session, callbacks, this));
  session_.reset(session);
  const nghttp2_settings_entry window{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window_bytes};
  must(nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &window, 1));
  must(nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, 4 * window_bytes));
}

void Http2Connection::ask(Http2Request request, Milliseconds patience) {
  request.headers.insert(
      request.headers.begin(),
      {{":method", request.method}, {":scheme", "http"}, {":authority", "localhost"}, {":path", request.target}});
  if (!request.body.empty()) request.headers.emplace_back("content-length", std::to_string(request.body.size()));
  std::vector<nghttp2_nv> headers;
  for (const auto& [name, value] : request.headers) headers.push_back(header(name, value));
  nghttp2_data_provider body{.source = {.ptr = nullptr}, .read_callback = Hooks::read_body};
  const std::int32_t id = nghttp2_submit_request(session_.get(), nullptr, headers.data(), headers.size(),
                                                 request.body.empty() ? nullptr : &body, nullptr);
  must(id);
  Stream stream{.answer = {}, .body = std::move(request.body), .deadline = Deadline(patience)};
  stream.answer.number = request.number;
  streams_.emplace(id, std::move(stream));
}

short Http2Connection::wanted_events() const {
  return static_cast<short>(POLLIN | (nghttp2_session_want_write(session_.get()) != 0 ? POLLOUT : 0));
}

std::vector<Http2Answer> Http2Connection::proceed() {
  if (!is_over_ && nghttp2_session_send(session_.get()) != 0) end();
  if (!is_over_) read();
  if (!is_over_) give_up_late();
  if (!is_over_ && nghttp2_session_send(session_.get()) != 0) end();
  return std::exchange(finished_, {});
}

void Http2Connection::read() {
  for (;;) {
    std::uint8_t bytes[65'536];
    const ssize_t got = ::recv(fd(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0 || nghttp2_session_mem_recv(session_.get(), bytes, static_cast<std::size_t>(got)) < 0) return end();
  }
}

void Http2Connection::give_up_late() {
  for (auto stream = streams_.begin(); stream != streams_.end();) {
    const auto here = stream++;
    if (!here->second.deadline.has_passed()) continue;
    nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, here->first, NGHTTP2_CANCEL);
    finish(here, Ending::timed_out);
  }
}

void Http2Connection::finish(std::map<std::int32_t, Stream>::iterator stream, Ending ending) {
  has_answered_ = true;
  stream->second.answer.ending = ending;
  finished_.push_back(std::move(stream->second.answer));
  streams_.erase(stream);
}

void Http2Connection::end() {
  is_over_ = true;
  while (!streams_.empty()) {
    const auto first = streams_.begin();
    const bool is_whole = first->second.has_ended;  // and the rest of the request was not wanted
    finish(first, is_whole ? Ending::whole : first->second.answer.status == 0 ? Ending::none : Ending::cut);
  }
}

}  // namespace cppfcgi::test
