#include "mod_cppfcgi/httpd/socket_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <vector>

#include "shared/fd.h"

namespace cppfcgi {
namespace {

// mode and owner by descriptor, since a name may have become a link meanwhile.
Result<void> give_to(const Fd& folder, const std::string& path, const Identity& identity) {
  if (fchmod(folder.get(), 0711) < 0) return posix_error("change mode of " + path, errno);
  if (identity.is_other && fchown(folder.get(), identity.uid, identity.gid) < 0)
    return posix_error("change owner of " + path, errno);
  return {};
}

Result<Fd> open_ipc_folder(const std::string& path, const Identity& identity) {
  const bool is_new = mkdir(path.c_str(), 0711) == 0;
  if (!is_new && errno != EEXIST) return posix_error("create folder " + path, errno);
  Fd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | (is_new ? O_NOFOLLOW : 0)));
  if (!folder) return posix_error("open folder " + path, errno);
  if (is_new)
    if (auto given = give_to(folder, path, identity); !given) return given.error();
  return folder;
}

std::vector<std::string> names_in(int folder) {
  std::vector<std::string> names;
  const int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // fdopendir takes its descriptor over
  if (copy < 0) return names;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(fdopendir(copy), closedir);
  while (const dirent* entry = entries ? readdir(entries.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

bool is_pid(const std::string& name) {
  return !name.empty() && name.size() <= 7 && name.find_first_not_of("0123456789") == name.npos;
}

bool is_alive(const std::string& pid) { return kill(std::stoi(pid), 0) == 0 || errno != ESRCH; }

void remove_folder(int ipc, const std::string& name) {
  if (const Fd folder(openat(ipc, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)); folder)
    for (const std::string& file : names_in(folder.get())) unlinkat(folder.get(), file.c_str(), 0);
  // Left where something else lies in it; harmless.
  unlinkat(ipc, name.c_str(), AT_REMOVEDIR);
}

}  // namespace

Result<std::string> make_socket_folder(const std::string& ipc_folder, pid_t parent, const Identity& identity) {
  const auto ipc = open_ipc_folder(ipc_folder, identity);
  if (!ipc) return ipc.error();
  const std::string own = std::to_string(parent);
  for (const std::string& name : names_in(ipc->get()))
    if (is_pid(name) && (name == own || !is_alive(name))) remove_folder(ipc->get(), name);

  const std::string path = ipc_folder + '/' + own;
  if (mkdirat(ipc->get(), own.c_str(), 0711) < 0) return posix_error("create folder " + path, errno);
  const Fd folder(openat(ipc->get(), own.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return posix_error("open folder " + path, errno);
  if (auto given = give_to(folder, path, identity); !given) return given.error();
  return path;
}

}  // namespace cppfcgi
