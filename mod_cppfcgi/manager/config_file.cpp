#include "mod_cppfcgi/manager/config_file.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace cppfcgi {
namespace {

// systemd's notify protocol: one datagram to the socket that the environment names ('@' stands for an abstract one).
void notify_service_manager(const std::string& state) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::string_view(name).copy(address.sun_path, sizeof address.sun_path - 1);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), bytes);
}

}  // namespace

Result<Configuration> read_config_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return posix_error("read " + path, errno);
  auto configuration = configuration_from_json(text.str());
  if (!configuration) return Error{configuration.error().code, path + ": " + configuration.error().what};
  return configuration;
}

Result<std::unique_ptr<ConfigFile>> ConfigFile::open(Manager& manager, const Log& log, const std::string& path) {
  std::unique_ptr<ConfigFile> file(new ConfigFile(manager, log, path));
  if (auto applied = file->apply(); !applied) return applied.error();
  notify_service_manager("READY=1");
  return file;
}

void ConfigFile::read_again() {
  notify_service_manager("RELOADING=1");
  if (const auto applied = apply(); !applied) log_.error("{}; the configuration stays as it was", applied.error().what);
  notify_service_manager("READY=1");
}

Result<void> ConfigFile::apply() {
  const auto configuration = read_config_file(path_);
  if (!configuration) return configuration.error();
  if (auto configured = manager_.configure(++number_, *configuration); !configured) return configured;
  manager_.begin();
  // There is no httpd with children that know the old configuration.
  manager_.generation_ended(number_);
  return {};
}

}  // namespace cppfcgi
