// A FastCGI worker in a few lines:
//
//   #include <cppfcgi/worker.h>
//   int main(int argc, char** argv) {
//     return cppfcgi::serve(argc, argv, [](const cppfcgi::Request& request, cppfcgi::Response& response) {
//       response.header("Content-Type", "text/plain");
//       response << "Hello " << request.param("REMOTE_ADDR") << '\n';
//     });
//   }
//
// It serves the listening socket it inherits as descriptor 0, from mod_cppfcgi or any other web server, or one that it
// opens itself: --listen /path.sock or --listen host:port. docs/worker.md is the guide.
#pragma once

#include <cppfcgi/export.h>
#include <cppfcgi/request.h>
#include <cppfcgi/response.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace cppfcgi {

// Called once for each request, when all of it is there. With more than one thread it is called by several at a time.
using Handler = std::function<void(const Request&, Response&)>;

struct Options {
  unsigned threads = 1;                     // requests that run at the same time
  std::string listen;                       // "/path.sock", "host:port", "[v6]:port", ":port"; "": descriptor 0
  std::chrono::milliseconds grace{10'000};  // from SIGTERM to the end, whatever still runs
  std::chrono::milliseconds send_timeout{
      300'000};  // a web server that takes no byte of an answer for this long is gone
  std::size_t max_params_bytes = std::size_t{16} << 20;
  std::uint64_t max_body_bytes = std::numeric_limits<std::uint64_t>::max();
  std::size_t max_queued =
      1'024;  // requests received, waiting or running; those beyond it are refused as FCGI_OVERLOADED
};

// Takes --threads N, --listen ADDRESS and --grace SECONDS (also --threads=N); other arguments are the application's
// own. std::invalid_argument: a value that cannot be.
CPPFCGI_EXPORT Options parse_arguments(int argc, const char* const* argv);

// Serves until SIGTERM, SIGINT or SIGUSR1; then finishes what runs and returns 0. Otherwise it says on stderr what is
// wrong and returns 1, or 2 where the arguments are. One call at a time in a process; it blocks those signals
// meanwhile.
CPPFCGI_EXPORT int serve(int argc, const char* const* argv, Handler handler);
CPPFCGI_EXPORT int serve(const Options& options, Handler handler);

}  // namespace cppfcgi
