// A worker that says its own program's name and every param, a line each, whatever the path.
#include <cppfcgi/worker.h>

#include <string_view>

int main(int argc, char** argv) {
  const std::string_view program = argv[0];
  return cppfcgi::serve(argc, argv, [program](const cppfcgi::Request& request, cppfcgi::Response& response) {
    response.header("Content-Type", "text/plain");
    response << "PROGRAM=" << program.substr(program.rfind('/') + 1) << '\n';
    for (const auto& [name, value] : request.params()) response << name << '=' << value << '\n';
  });
}
