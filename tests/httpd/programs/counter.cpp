// A worker of our library that counts POSTs: appends each body and a newline to the file named by COUNTER_FILE, at once
// and in one piece, so that a test can tell what was begun, however often it was asked for.
#include <cppfcgi/worker.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

int main(int argc, char** argv) {
  const int file = open(std::getenv("COUNTER_FILE"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return 1;
  return cppfcgi::serve(argc, argv, [file](const cppfcgi::Request& request, cppfcgi::Response& response) {
    const std::string line = request.body().read_all() + "\n";
    if (request.method() == "POST" && write(file, line.data(), line.size()) < 0) response.status(500);
    response << "counted\n";
  });
}
