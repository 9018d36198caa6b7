// serve(): what a worker's main() calls.
#include <cppfcgi/worker.h>

#include <cstdlib>
#include <exception>
#include <memory>

#include "worker/src/crash_recorder.h"
#include "worker/src/log.h"
#include "worker/src/notify.h"
#include "worker/src/server.h"
#include "worker/src/signals.h"

namespace cppfcgi {

int serve(int argc, const char* const* argv, Handler handler) {
  Options options;
  try {
    options = parse_arguments(argc, argv);
  } catch (const std::invalid_argument& mistake) {
    log_line(mistake.what());
    return 2;
  }
  return serve(options, std::move(handler));
}

int serve(const Options& options, Handler handler) {
  try {
    const BlockedSignals blocked;
    const Fd notify = take_notify_fd();
    const AlternateStack stack;
    const auto recorder = std::make_unique<CrashRecorder>(notify.get());
    auto listener = Listener::open(options.listen, std::getenv("FCGI_WEB_SERVER_ADDRS"));
    if (!listener) {
      log_line(listener.error().what);
      return 1;
    }
    const auto server = std::make_unique<Server>(options, std::move(handler), *std::move(listener));
    if (const auto prepared = server->prepare(); !prepared) {
      log_line(prepared.error().what);
      return 1;
    }
    server->run(notify);
    return 0;
  } catch (const std::exception& failure) {
    log_line(std::string("ends: ") + failure.what());
    return 1;
  }
}

}  // namespace cppfcgi
