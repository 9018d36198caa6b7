#include "mod_cppfcgi/manager/deploy_check.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>

#include "mod_cppfcgi/manager/question.h"
#include "shared/params.h"

namespace cppfcgi {
namespace {

constexpr std::uint16_t request_id = 1;
constexpr std::size_t max_head_bytes = 64 * 1'024;

// The status that an answer's header names, 200 where it names none; 0: that is no header.
int status_of(const std::string& head) {
  std::size_t from = 0;
  int status = 200;
  while (true) {
    const std::size_t end = head.find('\n', from);
    if (end == std::string::npos) return 0;
    std::string line = head.substr(from, end - from);
    from = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) return status;
    std::transform(line.begin(), line.end(), line.begin(), [](unsigned char c) { return std::tolower(c); });
    if (line.starts_with("status:")) status = std::atoi(line.c_str() + 7);
    if (line.starts_with("http/1.") && line.size() > 9) status = std::atoi(line.c_str() + 9);
  }
}

}  // namespace

CheckAnswer::Verdict CheckAnswer::feed(Bytes bytes) {
  while (true) {
    const RecordReader::Step step = reader_.next(bytes);
    if (step.kind == RecordReader::Kind::need_more) return Verdict::open;
    if (step.kind == RecordReader::Kind::violation) return fail("it answered with what is no FastCGI");
    if (step.header.is(RecordType::stdout_stream) && head_.size() < max_head_bytes) head_ += as_text(step.content);
    if (!step.header.is(RecordType::end_request)) continue;
    end_body_ += as_text(step.content);
    if (step.is_last) return end();
  }
}

CheckAnswer::Verdict CheckAnswer::end() {
  const auto body = decode_end_request(end_body_);
  if (!body || body->protocol_status != static_cast<std::uint8_t>(ProtocolStatus::request_complete))
    return fail("it turned the request down");
  const int status = status_of(head_);
  if (status == 0) return fail("its answer has no header");
  if (status < 200 || status > 299) return fail("it answered with status " + std::to_string(status));
  return Verdict::good;
}

CheckAnswer::Verdict CheckAnswer::fail(const std::string& why) {
  why_ = why;
  return Verdict::bad;
}

std::string check_request(const std::string& path, const std::string& mount) {
  const std::string place = mount == "/" ? "" : mount;
  const std::size_t question = std::min(path.find('?'), path.size());
  const std::string before = path.substr(0, question);
  // What an operator writes is the URL, or what of it the application sees.
  const bool is_url =
      !place.empty() && before.starts_with(place) && (before.size() == place.size() || before[place.size()] == '/');
  const std::string info = is_url ? before.substr(place.size()) : before;
  const std::string query = path.substr(std::min(question + 1, path.size()));

  std::string request;
  append_begin_request(request, request_id, Role::responder, 0);
  ParamsWriter params(request, request_id);
  params.add("GATEWAY_INTERFACE", "CGI/1.1");
  params.add("SERVER_PROTOCOL", "HTTP/1.1");
  params.add("SERVER_SOFTWARE", "cppfcgi-manager");
  params.add("SERVER_NAME", "localhost");
  params.add("SERVER_ADDR", "127.0.0.1");
  params.add("SERVER_PORT", "80");
  params.add("REMOTE_ADDR", "127.0.0.1");
  params.add("REMOTE_PORT", "0");
  params.add("REQUEST_METHOD", "GET");
  params.add("REQUEST_SCHEME", "http");
  params.add("REQUEST_URI", place + info + (query.empty() ? "" : "?" + query));
  params.add("SCRIPT_NAME", place);
  params.add("PATH_INFO", info);
  params.add("QUERY_STRING", query);
  params.add("HTTP_HOST", "localhost");
  params.add("HTTP_USER_AGENT", "cppfcgi-manager (deploy check)");
  params.finish();
  append_record(request, RecordType::stdin_stream, request_id, {});
  return request;
}

Result<std::unique_ptr<DeployCheck>> DeployCheck::begin(Loop& loop, const std::string& socket,
                                                        const std::string& request, Callback callback) {
  auto fd = send_to_slot(socket, request);
  if (!fd) return fd.error();
  std::unique_ptr<DeployCheck> check(new DeployCheck(*std::move(fd), std::move(callback)));
  auto watch = loop.watch(check->fd_.get(), EPOLLIN, [raw = check.get()](std::uint32_t) { raw->receive(); });
  if (!watch) return watch.error();
  check->watch_ = *std::move(watch);
  return check;
}

void DeployCheck::receive() {
  std::array<std::byte, 16'384> bytes;
  const ssize_t got = recv(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return finish("it closed the connection before its answer was complete");
  switch (answer_.feed(std::span(bytes).first(static_cast<std::size_t>(got)))) {
    case CheckAnswer::Verdict::open:
      return;
    case CheckAnswer::Verdict::good:
      return finish("");
    case CheckAnswer::Verdict::bad:
      return finish(std::string(answer_.why()));
  }
}

void DeployCheck::finish(const std::string& failure) {
  watch_.reset();
  const Callback callback = callback_;  // ours may end with us
  callback(failure);
}

}  // namespace cppfcgi
