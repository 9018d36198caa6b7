// A worker on our library that other web servers stand in front of.
//   GET  tells what it was asked, with the client's X-Nonce in header and body     POST  gives the body back
//   ?size=N   N bytes       ?crash   aborts       ?pid   its process
//   ?wait     answers only once ?release was asked of the same process
#include <cppfcgi/worker.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

namespace {

struct Gate {
  std::mutex mutex;
  std::condition_variable opened;
  bool is_open = false;
};

void answer_bytes(std::string_view count, cppfcgi::Response& response) {
  std::size_t left = 0;
  std::from_chars(count.data(), count.data() + count.size(), left);
  response.header("Content-Type", "application/octet-stream");
  for (; left > 0; --left) response << static_cast<char>('a' + left % 26);
}

void answer_body(const cppfcgi::Request& request, cppfcgi::Response& response) {
  std::array<char, 32'768> block;
  response.header("Content-Type", "application/octet-stream");
  while (const std::size_t got = request.body().read(block)) response.write(std::string_view(block.data(), got));
}

void pass(Gate& gate, bool opens, cppfcgi::Response& response) {
  std::unique_lock lock(gate.mutex);
  if (opens) gate.is_open = true;
  gate.opened.notify_all();
  const bool passed = gate.opened.wait_for(lock, std::chrono::seconds(10), [&] { return gate.is_open; });
  response << (passed ? "passed" : "waited in vain");
}

void tell(const cppfcgi::Request& request, cppfcgi::Response& response) {
  response.header("Content-Type", "text/plain");
  response.header("X-Nonce", request.header("X-Nonce"));
  response << request.method() << ' ' << request.uri() << ' ' << request.query() << ' ' << request.header("X-Nonce");
}

}  // namespace

int main(int argc, char** argv) {
  Gate gate;
  return cppfcgi::serve(argc, argv, [&gate](const cppfcgi::Request& request, cppfcgi::Response& response) {
    const auto query = request.query();
    if (query == "crash") std::abort();
    if (query == "pid") {
      response << ::getpid();
    } else if (query == "wait" || query == "release") {
      pass(gate, query == "release", response);
    } else if (query.starts_with("size=")) {
      answer_bytes(query.substr(5), response);
    } else if (request.method() == "POST") {
      answer_body(request, response);
    } else {
      tell(request, response);
    }
  });
}
