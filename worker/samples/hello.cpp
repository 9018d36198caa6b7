// The smallest worker: greets its client.
#include <cppfcgi/worker.h>

int main(int argc, char** argv) {
  return cppfcgi::serve(argc, argv, [](const cppfcgi::Request& request, cppfcgi::Response& response) {
    response.header("Content-Type", "text/plain");
    response << "Hello " << request.param("REMOTE_ADDR") << '\n';
  });
}
