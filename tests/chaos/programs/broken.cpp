// A worker that does not come up: what a bad deploy puts in the place of answerer.cpp. Says so in the same file.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

int main() {
  const char* file = std::getenv("STARTED");
  const int fd = file == nullptr ? -1 : open(file, O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (fd >= 0 && write(fd, "b", 1) != 1) return 2;
  return 1;
}
