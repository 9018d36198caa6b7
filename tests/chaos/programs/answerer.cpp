// The worker of the chaos suite. What it is asked stands in the query string, "n=<nonce>&bytes=100&...":
//   n        the nonce, whose pattern (tests/chaos/pattern.h) is the answer
//   bytes    how long the answer is               form   sized (Content-Length) or chunked (without)
//   work     how many milliseconds it takes
//   do       segv, abort, exit, kill, terminate: dies so, before it has done anything; half-…: after half the answer;
//            hang: never answers; lie-byte, lie-end, lie-count: does what the client must notice: one byte is wrong,
//            half an answer ends as if it were whole, a POST is counted twice
// A POST's body must be the pattern of its nonce; its number, which is the nonce, is counted: a line in the file that
// the variable COUNTED names. STARTED names a file that gets a byte for each start, START_MS says how long that takes.
// Which version of the program this is stands at the end of its own file (site.cpp puts it there).
#include <cppfcgi/worker.h>
#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

#include "tests/chaos/pattern.h"

namespace {

using namespace cppfcgi;
using std::chrono::milliseconds;

std::string_view value_of(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (pair.starts_with(name) && pair.substr(name.size()).starts_with('=')) return pair.substr(name.size() + 1);
  }
  return {};
}

std::uint64_t number_of(std::string_view text, int base = 10) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number, base);
  return number;
}

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// One write: whole or not at all, whatever happens to us next.
void append(const std::string& file, const std::string& text) {
  if (file.empty()) return;
  const int fd = open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    std::perror(file.c_str());
    _exit(99);
  }
  close(fd);
}

std::string version() {
  std::ifstream self("/proc/self/exe", std::ios::binary);
  self.seekg(-16, std::ios::end);
  std::string end(16, '\0');
  self.read(end.data(), 16);
  const auto at = end.find("version ");
  return at == std::string::npos ? "0" : end.substr(at + 8, end.find('\n', at) - at - 8);
}

void die(std::string_view how) {
  static int* volatile nowhere = nullptr;
  if (how == "segv") *nowhere = 1;
  if (how == "abort") std::abort();
  if (how == "exit") std::exit(3);
  if (how == "kill") std::raise(SIGKILL);
  if (how == "terminate") std::thread([] { throw 1; }).join();
  for (;;) pause();  // hang
}

void answer(const Request& request, Response& response) {
  static const std::string counted = setting("COUNTED"), our_version = version();
  const std::string_view query = request.query(), deed = value_of(query, "do");
  const std::uint64_t nonce = number_of(value_of(query, "n"), 16);
  const bool is_half = deed.starts_with("half-");
  if (!deed.empty() && !is_half && !deed.starts_with("lie-")) die(deed);
  std::this_thread::sleep_for(milliseconds(number_of(value_of(query, "work"))));  // the work itself: a slow application
  if (request.method() == "POST") {
    const std::string body = request.body().read_all();
    if (body != test::pattern_of(nonce, body.size())) {
      response.status(422) << "this is not the body that belongs to the nonce";
      return;
    }
    append(counted, test::nonce_text(nonce) + "\n");
    if (deed == "lie-count") append(counted, test::nonce_text(nonce) + "\n");
  }
  std::string whole = test::pattern_of(nonce, number_of(value_of(query, "bytes")));
  if (deed == "lie-byte") whole.back() ^= 1;
  if (deed == "lie-end") whole.resize(whole.size() / 2);
  response.header("Content-Type", "text/plain");
  response.header("X-Nonce", test::nonce_text(nonce));
  response.header("X-Worker", std::to_string(getpid()));
  response.header("X-Version", our_version);
  if (value_of(query, "form") == "sized") response.header("Content-Length", std::to_string(whole.size()));
  if (is_half) {
    response << std::string_view(whole).substr(0, whole.size() / 2);
    response.flush();
    die(deed.substr(5));
  }
  response << whole;
}

}  // namespace

int main(int argc, char** argv) {
  append(setting("STARTED"), "s");
  std::this_thread::sleep_for(milliseconds(number_of(setting("START_MS"))));  // a slow start is what it is about
  return serve(argc, argv, answer);
}
