#include "tests/support/curl_client.h"

#include <curl/curl.h>
#include <strings.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <ostream>
#include <stdexcept>

namespace cppfcgi::test {

namespace {

void initialize_curl() {
  static const CURLcode done = ::curl_global_init(CURL_GLOBAL_ALL);
  if (done != CURLE_OK) throw std::runtime_error("curl_global_init");
}

// One transfer: what curl's callbacks work on. Lives until its easy handle is done.
struct Transfer {
  Fetch fetch;
  Fetched result;
  std::size_t sent = 0;
  curl_slist* lines = nullptr;
  char error[CURL_ERROR_SIZE] = {};
  std::size_t index = 0;

  Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() { ::curl_slist_free_all(lines); }
};

std::size_t on_header(char* data, std::size_t, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  std::string_view line(data, count);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) transfer.result.headers.clear();
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return count;
  auto value = line.substr(colon + 1);
  while (value.starts_with(' ')) value.remove_prefix(1);
  transfer.result.headers.emplace_back(line.substr(0, colon), value);
  return count;
}

std::size_t on_body(char* data, std::size_t, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.fetch.consume) return transfer.fetch.consume({data, count}) ? count : 0;
  transfer.result.body.append(data, count);
  return count;
}

std::size_t on_upload(char* into, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const Fetch& fetch = transfer.fetch;
  std::size_t wanted = size * count;
  if (!fetch.produce) {
    wanted = std::min(wanted, fetch.body.size() - transfer.sent);
    std::memcpy(into, fetch.body.data() + transfer.sent, wanted);
    transfer.sent += wanted;
    return wanted;
  }
  if (fetch.body_bytes >= 0) wanted = std::min(wanted, static_cast<std::size_t>(fetch.body_bytes) - transfer.sent);
  const std::string piece = wanted == 0 ? "" : fetch.produce(transfer.sent, wanted);
  std::memcpy(into, piece.data(), piece.size());
  transfer.sent += piece.size();
  return piece.size();
}

void prepare_body(CURL* easy, Transfer& transfer) {
  const Fetch& fetch = transfer.fetch;
  const bool has_body =
      fetch.produce != nullptr || !fetch.body.empty() || fetch.method == "POST" || fetch.method == "PUT";
  if (!has_body) return;
  const long long bytes = fetch.produce ? fetch.body_bytes : static_cast<long long>(fetch.body.size());
  ::curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
  ::curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_upload);
  ::curl_easy_setopt(easy, CURLOPT_READDATA, &transfer);
  ::curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(bytes));
  const bool asks_first =
      std::any_of(fetch.header_lines.begin(), fetch.header_lines.end(),
                  [](const std::string& line) { return ::strncasecmp(line.c_str(), "Expect:", 7) == 0; });
  if (!asks_first) transfer.lines = ::curl_slist_append(transfer.lines, "Expect:");
}

void prepare(CURL* easy, Transfer& transfer) {
  const Fetch& fetch = transfer.fetch;
  ::curl_easy_reset(easy);
  ::curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  ::curl_easy_setopt(easy, CURLOPT_URL, fetch.url.c_str());
  ::curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  // With its usual 16 KiB, curl 7.88 may wait in vain for more of what it has read already, over HTTP/2 without TLS.
  ::curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 512L * 1024);
  ::curl_easy_setopt(easy, CURLOPT_PROXY, "");
  ::curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  ::curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
  ::curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  ::curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(fetch.within.count()));
  ::curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error);
  ::curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  ::curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  ::curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  ::curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  const bool is_tls = fetch.url.starts_with("https:");
  long version = CURL_HTTP_VERSION_1_1;
  switch (fetch.version) {
    case HttpVersion::http1_0:
      version = CURL_HTTP_VERSION_1_0;
      break;
    case HttpVersion::http1_1:
      break;
    case HttpVersion::http2:
      version = is_tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
      break;
  }
  ::curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version);
  if (fetch.version == HttpVersion::http2) ::curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
  prepare_body(easy, transfer);
  if (fetch.method == "HEAD") ::curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (fetch.method != "GET") ::curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, fetch.method.c_str());
  for (const std::string& line : fetch.header_lines) transfer.lines = ::curl_slist_append(transfer.lines, line.c_str());
  ::curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.lines);
}

void conclude(CURL* easy, Transfer& transfer, CURLcode code) {
  Fetched& result = transfer.result;
  long status = 0, version = 0;
  ::curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  ::curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
  ::curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &result.new_connections);
  ::curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME, &result.seconds);
  result.status = static_cast<int>(status);
  result.http_major = version == CURL_HTTP_VERSION_2_0 ? 2 : 1;
  result.curl_code = code;
  if (code != CURLE_OK) {
    result.error = ::curl_easy_strerror(code);
    if (transfer.error[0] != '\0') result.error += std::string(": ") + transfer.error;
  }
}

struct EasyDeleter {
  void operator()(CURL* easy) const { ::curl_easy_cleanup(easy); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;

}  // namespace

std::string Fetched::header(std::string_view name) const {
  for (const auto& [other, value] : headers) {
    if (other.size() == name.size() && ::strncasecmp(other.data(), name.data(), name.size()) == 0) return value;
  }
  return "";
}

void PrintTo(const Fetched& fetched, std::ostream* out) {
  *out << "status " << fetched.status << ", " << fetched.body.size() << " bytes"
       << (fetched.is_whole() ? ", whole: " : ", not whole (" + fetched.error + "): ") << fetched.body.substr(0, 300);
}

struct CurlSession::Handle {
  Easy easy{::curl_easy_init()};
};

CurlSession::CurlSession() {
  initialize_curl();
  handle_ = std::make_unique<Handle>();
}
CurlSession::~CurlSession() = default;

Fetched CurlSession::fetch(const Fetch& fetch) {
  Transfer transfer;
  transfer.fetch = fetch;
  CURL* easy = handle_->easy.get();
  prepare(easy, transfer);
  conclude(easy, transfer, ::curl_easy_perform(easy));
  return std::move(transfer.result);
}

Fetched fetch(const Fetch& fetch) { return CurlSession().fetch(fetch); }

void run_load(const Load& load) {
  initialize_curl();
  const Deadline deadline(load.within);
  const std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)> multi(::curl_multi_init(), ::curl_multi_cleanup);
  const auto connections = static_cast<long>(load.connections == 0 ? load.parallel : load.connections);
  ::curl_multi_setopt(multi.get(), CURLMOPT_MAX_TOTAL_CONNECTIONS, connections);
  ::curl_multi_setopt(multi.get(), CURLMOPT_MAXCONNECTS, connections);
  ::curl_multi_setopt(multi.get(), CURLMOPT_MAX_CONCURRENT_STREAMS, static_cast<long>(load.parallel));
  std::map<CURL*, std::pair<Easy, std::unique_ptr<Transfer>>> running;
  std::vector<Easy> idle;
  std::size_t next = 0;
  auto add = [&] {
    Easy easy;
    if (idle.empty()) {
      easy.reset(::curl_easy_init());
    } else {
      easy = std::move(idle.back());
      idle.pop_back();
    }
    auto transfer = std::make_unique<Transfer>();
    transfer->index = next;
    transfer->fetch = load.make(next++);
    prepare(easy.get(), *transfer);
    ::curl_multi_add_handle(multi.get(), easy.get());
    CURL* key = easy.get();
    running.emplace(key, std::make_pair(std::move(easy), std::move(transfer)));
  };
  auto finish = [&](CURL* easy, CURLcode code) {
    ::curl_multi_remove_handle(multi.get(), easy);
    auto node = running.extract(easy);
    auto& [owner, transfer] = node.mapped();
    conclude(easy, *transfer, code);
    load.done(transfer->index, transfer->result);
    idle.push_back(std::move(owner));
  };
  auto abandon = [&] {
    for (auto& [easy, rest] : running) ::curl_multi_remove_handle(multi.get(), easy);
  };
  while (next < load.count || !running.empty()) {
    while (next < load.count && running.size() < load.parallel) add();
    int active = 0;
    ::curl_multi_perform(multi.get(), &active);
    int left = 0;
    bool has_finished = false;
    while (const CURLMsg* message = ::curl_multi_info_read(multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      finish(message->easy_handle, message->data.result);
      has_finished = true;
    }
    if (deadline.has_passed()) {
      abandon();
      throw std::runtime_error("the load did not end in time: " + std::to_string(running.size()) +
                               " requests under way");
    }
    if (!has_finished && !running.empty()) ::curl_multi_poll(multi.get(), nullptr, 0, 100, nullptr);
  }
}

}  // namespace cppfcgi::test
