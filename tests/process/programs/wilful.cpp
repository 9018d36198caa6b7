// A worker whose handler is no model: blocks without a look at its stop token, or never stops writing. The query
// chooses:
//   block=MS   sleeps, deaf to everything          endless   writes until the connection takes no more
//   open       what its descriptors are, a line each, and whether CPPFCGI_NOTIFY_FD is set
#include <cppfcgi/worker.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

int main(int argc, char** argv) {
  // Started before serve(), as libraries do: signals may come to it first.
  std::jthread older([](const std::stop_token& stop) {
    // It is there, no more: how often it looks is nobody's concern.
    while (!stop.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  });
  return cppfcgi::serve(argc, argv, [](const cppfcgi::Request& request, cppfcgi::Response& response) {
    const std::string query(request.query());
    if (query.starts_with("block=")) {
      // As long as the test has asked, whatever stop token or signal comes.
      std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(query.substr(6))));
      response << "blocked\n";
    } else if (query == "endless") {
      const std::string piece(100'000, 'e');
      for (;;) response << piece;
    } else if (query == "open") {
      std::error_code gone;
      for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        response << std::filesystem::read_symlink(entry.path(), gone).string() << '\n';
      }
      response << (std::getenv("CPPFCGI_NOTIFY_FD") != nullptr ? "set" : "unset") << '\n';
    } else {
      response << "fine\n";
    }
  });
}
