// parse_arguments: what the command line says to serve().
#include <cppfcgi/worker.h>

#include <charconv>
#include <optional>
#include <stdexcept>
#include <string_view>

namespace cppfcgi {
namespace {

unsigned number(std::string_view option, std::string_view text, unsigned least, unsigned most) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    throw std::invalid_argument(std::string(option) + ": \"" + std::string(text) + "\" is not in " +
                                std::to_string(least) + " … " + std::to_string(most));
  }
  return value;
}

}  // namespace

Options parse_arguments(int argc, const char* const* argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::size_t equals = argument.find('=');
    const std::string_view name = argument.substr(0, equals);
    if (name != "--threads" && name != "--listen" && name != "--grace") continue;
    if (equals == std::string_view::npos && i + 1 == argc)
      throw std::invalid_argument(std::string(name) + " needs a value");
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view(argv[++i]) : argument.substr(equals + 1);
    if (name == "--threads") options.threads = number(name, value, 1, 1'024);
    if (name == "--grace") options.grace = std::chrono::seconds(number(name, value, 0, 86'400));
    if (name == "--listen") {
      if (value.empty()) throw std::invalid_argument("--listen needs /path.sock or host:port");
      options.listen = value;
    }
  }
  return options;
}

}  // namespace cppfcgi
