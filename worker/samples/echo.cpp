// Echo: says what it was asked, and misbehaves on request. For trying out a web server and its worker; not for the open
// internet. The last part of the path chooses:
//
//   params          every param, a line each                  body             the request's body, byte for byte
//   param?name=X    the value of one                          digest           the body's length and FNV-1a sum
//   bytes?n=N       N bytes, the same ones each time          stream?n=N&ms=M  N lines, flushed, M milliseconds apart
//   status?code=N   an answer with that status                header?name=X&value=Y  an answer with that header
//   redirect?to=X   a Location header alone                   sleep?ms=N       an answer after a while, or on stop
//   stderr?n=N      N bytes for the error log                 pid              process id and how many requests it has
//   run files/NAME      PUT stores the body in ECHO_FOLDER, GET brings it back
//   crash?how=abort|segv|exit|kill|throw|throw-int&after=N    after N bytes of a body that were flushed
#include <cppfcgi/worker.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "form.h"

namespace {

using cppfcgi::Request;
using cppfcgi::Response;
using samples::field;
using samples::number_field;

constexpr std::size_t piece_bytes = 262'144;

// The application's own path, wherever it is mounted: "/files/a.txt" of "/echo/files/a.txt".
std::string_view path_of(const Request& request) {
  if (!request.path().empty()) return request.path();
  const std::string_view uri = request.uri();
  return uri.empty() ? request.param("SCRIPT_NAME") : uri.substr(0, uri.find('?'));
}

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }

void say_params(const Request& request, Response& response) {
  for (const auto& [name, value] : request.params()) response << name << '=' << value << '\n';
}

void return_body(const Request& request, Response& response) {
  const std::string_view type = request.param("CONTENT_TYPE");
  response.header("Content-Type", type.empty() ? "application/octet-stream" : type);
  response.header("Content-Length", std::to_string(request.body().size()));
  std::vector<char> piece(std::min<std::uint64_t>(request.body().size(), piece_bytes));
  while (const std::size_t count = request.body().read(std::span(piece))) {
    response.write(std::string_view(piece.data(), count));
  }
}

void say_digest(const Request& request, Response& response) {
  std::uint64_t sum = 0xcbf29ce484222325;
  std::vector<char> piece(piece_bytes);
  while (const std::size_t count = request.body().read(std::span(piece))) {
    for (std::size_t i = 0; i < count; ++i) sum = (sum ^ static_cast<unsigned char>(piece[i])) * 0x100000001b3;
  }
  response << request.body().size() << ' ' << sum << '\n';
}

// The byte at each place depends on the place alone, so that a gap or a repetition shows.
void send_bytes(std::uint64_t count, Response& response) {
  std::string piece;
  for (std::uint64_t sent = 0; sent < count; sent += piece.size()) {
    piece.resize(std::min<std::uint64_t>(count - sent, piece_bytes));
    for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>('a' + (sent + i) % 25);
    response.write(piece);
  }
}

// False: the web server asked us to stop before the time was over.
bool wait(const Request& request, std::chrono::milliseconds time) {
  std::mutex lock;
  std::condition_variable_any changed;
  std::unique_lock guard(lock);
  const std::stop_token stop = request.stop_token();
  changed.wait_for(guard, stop, time, [] { return false; });
  return !stop.stop_requested();
}

void stream(const Request& request, Response& response) {
  const auto lines = number_field(request.query(), "n", 10);
  const std::chrono::milliseconds pause(number_field(request.query(), "ms", 100));
  response.header("X-Accel-Buffering", "no");
  for (std::uint64_t line = 1; line <= lines; ++line) {
    response << "line " << line << '\n';
    response.flush();
    if (line < lines && !wait(request, pause)) return response.log("echo: stream stopped");
  }
}

void sleep(const Request& request, Response& response) {
  const std::chrono::milliseconds time(number_field(request.query(), "ms", 1'000));
  if (!wait(request, time)) return response.log("echo: sleep stopped");
  response << "slept\n";
}

void crash(const Request& request, Response& response) {
  if (const auto after = number_field(request.query(), "after"); after > 0) {
    send_bytes(after, response);
    response.flush();
  }
  const std::string how = field(request.query(), "how");
  const rlimit no_core{0, 0};  // it is no surprise
  setrlimit(RLIMIT_CORE, &no_core);
  if (how == "abort") std::abort();
  if (how == "segv") raise(SIGSEGV);
  if (how == "kill") raise(SIGKILL);
  if (how == "exit") std::_Exit(static_cast<int>(number_field(request.query(), "code", 1)));
  if (how == "throw-int") throw 42;
  throw std::runtime_error("echo was asked to throw");
}

void refuse(Response& response, int code, std::string_view why) { response.status(code) << why << '\n'; }

void keep_file(const Request& request, Response& response, std::string_view name) {
  const char* const folder = std::getenv("ECHO_FOLDER");
  if (folder == nullptr) return refuse(response, 404, "set ECHO_FOLDER to a folder for files");
  const bool is_plain =
      std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '-' || c == '_'; });
  if (name.empty() || name.front() == '.' || !is_plain) return refuse(response, 400, "no name for a file");
  const std::string path = std::string(folder).append("/").append(name);
  std::vector<char> piece(piece_bytes);
  const bool is_upload = request.method() == "PUT" || request.method() == "POST";
  // The new file takes its place when it is whole.
  const std::string written =
      is_upload ? path + "." + std::to_string(getpid()) + "-" + std::to_string(request.id()) : path;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(written.c_str(), is_upload ? "wbe" : "rbe"), std::fclose);
  if (!file) return refuse(response, is_upload ? 500 : 404, is_upload ? "cannot write it" : "no such file");
  if (is_upload) {
    while (const std::size_t count = request.body().read(std::span(piece))) {
      if (std::fwrite(piece.data(), 1, count, file.get()) != count) throw std::runtime_error("cannot write " + written);
    }
    if (std::fflush(file.get()) != 0 || std::rename(written.c_str(), path.c_str()) != 0) {
      throw std::runtime_error("cannot write " + path);
    }
    response.status(201) << request.body().size() << " bytes\n";
    return;
  }
  response.header("Content-Type", "application/octet-stream");
  while (const std::size_t count = std::fread(piece.data(), 1, piece.size(), file.get())) {
    response.write(std::string_view(piece.data(), count));
  }
  if (std::ferror(file.get())) throw std::runtime_error("cannot read " + path);
}

void say_index(Response& response) {
  response.header("Content-Type", "text/html; charset=utf-8");
  response << "<!doctype html><title>echo</title><h1>echo</h1><ul>";
  for (const char* address : {"params", "bytes?n=1000", "stream?n=5&ms=500", "status?code=404", "sleep?ms=1000", "pid",
                              "stderr?n=100", "crash?how=throw", "crash?how=segv"}) {
    response << "<li><a href=\"" << samples::html_escaped(address) << "\">" << samples::html_escaped(address) << "</a>";
  }
  response << "</ul><form method=post action=body enctype=multipart/form-data><input type=file name=file>"
              "<button>body</button> <button formaction=digest>digest</button></form>\n";
}

class Echo {
 public:
  void operator()(const Request& request, Response& response) {
    ++count_;
    const std::string_view path = path_of(request);
    const std::string_view wish = last_part(path);
    const std::string_view query = request.query();
    if (last_part(path.substr(0, std::min(path.size(), path.rfind('/')))) == "files")
      return keep_file(request, response, wish);
    if (wish == "params") return say_params(request, response);
    if (wish == "param") return void(response << request.param(field(query, "name")));
    if (wish == "body") return return_body(request, response);
    if (wish == "digest") return say_digest(request, response);
    if (wish == "bytes") return send_bytes(number_field(query, "n"), response);
    if (wish == "stream") return stream(request, response);
    if (wish == "sleep") return sleep(request, response);
    if (wish == "crash") return crash(request, response);
    if (wish == "pid") return void(response << getpid() << ' ' << count_.load() << '\n');
    if (wish == "status") {
      response.status(static_cast<int>(number_field(query, "code", 200)))
          << "status " << response.status_code() << '\n';
      return;
    }
    if (wish == "header") {
      response.header(field(query, "name"), field(query, "value")) << "header\n";
      return;
    }
    if (wish == "redirect") return void(response.header("Location", field(query, "to")));
    if (wish == "stderr") {
      response.log(std::string(number_field(query, "n", 100), 'e'));
      response << "logged\n";
      return;
    }
    if (wish.empty() || wish == "echo") return say_index(response);
    refuse(response, 404, "echo knows no such wish");
  }

 private:
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace

int main(int argc, char** argv) {
  Echo echo;
  return cppfcgi::serve(argc, argv, std::ref(echo));
}
