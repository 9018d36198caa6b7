// The bench's application on our worker library; answers as libfcgi_bench.c does.
#include <cppfcgi/worker.h>

#include <array>
#include <charconv>

namespace {

void answer_upload(const cppfcgi::Request& request, cppfcgi::Response& response) {
  std::array<char, 32'768> block;
  std::size_t received = 0;
  while (const std::size_t got = request.body().read(block)) received += got;
  response << received << '\n';
}

void answer_bytes(std::string_view count, cppfcgi::Response& response) {
  static constexpr std::array<char, 32'768> block{};
  std::size_t left = 0;
  std::from_chars(count.data(), count.data() + count.size(), left);
  while (left > 0) {
    const std::size_t size = std::min(left, block.size());
    response.write(std::string_view(block.data(), size));
    left -= size;
  }
}

}  // namespace

int main(int argc, char** argv) {
  return cppfcgi::serve(argc, argv, [](const cppfcgi::Request& request, cppfcgi::Response& response) {
    response.header("Content-Type", "text/plain");
    if (request.body().size() > 0) {
      answer_upload(request, response);
    } else if (!request.query().empty()) {
      answer_bytes(request.query(), response);
    } else {
      response << "Hello, world\n";
    }
  });
}
