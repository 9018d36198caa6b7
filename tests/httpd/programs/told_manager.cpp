// told_manager: in cppfcgi-manager's place, keeps nothing and shows what httpd's parent tells it: into the log that
// each pool names it writes a line "pool NAME", as the manager would its own about that pool.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>

#include "shared/control.h"
#include "shared/pool_config.h"

namespace cppfcgi {
namespace {

constexpr std::size_t most_bytes = std::size_t{1} << 20;

// 0, or what is wrong with it, as exit status.
int show(const Message& message) {
  const auto text = text_from_memory(message.descriptors.at(0).get(), most_bytes);
  if (!text) return 3;
  const auto configuration = configuration_from_json(*text);
  if (!configuration) return 4;
  for (const PoolConfig& pool : configuration->pools) {
    const std::string line = "pool " + pool.name + "\n";
    if (::write(message.descriptors.at(1 + pool.log).get(), line.data(), line.size()) < 0) return 5;
  }
  return 0;
}

int run(int control) {
  for (;;) {
    const auto message = receive_message(control, std::chrono::hours(1));
    if (!message) return 0;  // httpd is gone
    if (message->kind != MessageKind::configure) continue;
    if (const int wrong = show(*message); wrong != 0) return wrong;
    const Message answer{.kind = MessageKind::configured, .number = message->number};
    if (!send_message(control, answer)) return 6;
  }
}

}  // namespace
}  // namespace cppfcgi

int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string_view(argv[i]) == "--control") return cppfcgi::run(std::atoi(argv[i + 1]));
  }
  return 2;
}
