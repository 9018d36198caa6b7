#include "mod_cppfcgi/httpd/identity.h"

#include <fcntl.h>
#include <grp.h>
#include <httpd.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// after httpd.h, on which it leans
#include <unixd.h>

#include <cerrno>
#include <cstdlib>

namespace cppfcgi {
namespace {

// The first part of the path that refuses, and why. In memory that parent and child share.
struct Refusal {
  int error = 0;
  std::size_t prefix_bytes = 0;
};

// Async-signal-safe: no allocation.
Refusal first_refusal(const char* path, std::size_t length, Need need) {
  char prefix[4096];
  if (length >= sizeof prefix) return {ENAMETOOLONG, length};
  for (std::size_t i = 0; i < length; ++i) {
    if (i > 0 && path[i] == '/') {
      prefix[i] = '\0';
      if (faccessat(AT_FDCWD, prefix, X_OK, AT_EACCESS) < 0) return {errno, i};
    }
    prefix[i] = path[i];
  }
  prefix[length] = '\0';
  const int mode = need == Need::write_folder ? W_OK | X_OK : X_OK;
  if (faccessat(AT_FDCWD, prefix, mode, AT_EACCESS) < 0) return {errno, length};
  return {};
}

class SharedArray {
 public:
  explicit SharedArray(std::size_t count)
      : bytes_(count * sizeof(Refusal)),
        address_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {}
  ~SharedArray() {
    if (is_mapped()) munmap(address_, bytes_);
  }
  SharedArray(const SharedArray&) = delete;
  SharedArray& operator=(const SharedArray&) = delete;
  bool is_mapped() const { return address_ != MAP_FAILED; }
  Refusal& operator[](std::size_t i) const { return static_cast<Refusal*>(address_)[i]; }

 private:
  std::size_t bytes_;
  void* address_;
};

Result<void> answer_as(const Identity& identity, const std::vector<AccessQuestion>& questions,
                       const SharedArray& answers) {
  const pid_t child = fork();
  if (child < 0) return posix_error("fork to become " + identity.user, errno);
  if (child == 0) {
    if (become(identity) != 0) _exit(1);
    for (std::size_t i = 0; i < questions.size(); ++i)
      answers[i] = first_refusal(questions[i].path.c_str(), questions[i].path.size(), questions[i].need);
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return posix_error("wait for the process that became " + identity.user, errno);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return Error{EPERM, "cannot become user " + identity.user};
  return {};
}

}  // namespace

Result<Identity> worker_identity() {
  Identity identity;
  if (geteuid() != 0) {
    identity.uid = geteuid();
    identity.gid = getegid();
    const passwd* entry = getpwuid(identity.uid);
    identity.user = entry ? entry->pw_name : '#' + std::to_string(identity.uid);
    return identity;
  }
  identity.uid = ap_unixd_config.user_id;
  identity.gid = ap_unixd_config.group_id;
  identity.is_other = true;
  const passwd* entry = getpwuid(identity.uid);
  identity.user = ap_unixd_config.user_name ? ap_unixd_config.user_name : entry ? entry->pw_name : "";
  // As httpd's children do: the groups of the name that was written, or of the number's name.
  const bool is_number = identity.user.empty() || identity.user.starts_with('#');
  if (is_number && !entry) return Error{EINVAL, "User " + identity.user + " has no entry in the password file"};
  const std::string name = is_number ? entry->pw_name : identity.user;
  int count = 64;
  for (int tries = 0; tries < 2; ++tries) {
    identity.groups.resize(static_cast<std::size_t>(count));
    const int found = getgrouplist(name.c_str(), identity.gid, identity.groups.data(), &count);
    identity.groups.resize(static_cast<std::size_t>(count));
    if (found >= 0) return identity;
  }
  return Error{EINVAL, "the groups of User " + name + " cannot be listed"};
}

int become(const Identity& identity) {
  if (!identity.is_other) return 0;
  if (setgroups(identity.groups.size(), identity.groups.data()) < 0) return errno;
  if (setgid(identity.gid) < 0) return errno;
  if (setuid(identity.uid) < 0) return errno;
  return 0;
}

Result<std::vector<std::string>> check_access(const Identity& identity, const std::vector<AccessQuestion>& questions) {
  std::vector<std::string> answers(questions.size());
  if (questions.empty()) return answers;
  const SharedArray refusals(questions.size());
  if (!refusals.is_mapped()) return posix_error("memory for file checks", errno);
  if (const auto asked = answer_as(identity, questions, refusals); !asked) return asked.error();
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (refusals[i].error == 0) continue;
    const std::string& path = questions[i].path;
    const bool is_whole = refusals[i].prefix_bytes == path.size();
    const std::string part = path.substr(0, refusals[i].prefix_bytes);
    answers[i] = posix_error(is_whole ? part : "folder " + part, refusals[i].error).what;
  }
  return answers;
}

}  // namespace cppfcgi
