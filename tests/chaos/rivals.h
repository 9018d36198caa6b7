// Rival: another way to serve FastCGI workers, private to a test: what make chaos-peers puts under the same faults as
// ours. Each runs four processes of programs/answerer.cpp.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/peer.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::test {

class Rival {
 public:
  explicit Rival(const std::string& name);
  virtual ~Rival();
  Rival(const Rival&) = delete;
  Rival& operator=(const Rival&) = delete;

  const std::string& name() const { return name_; }
  int port() const { return port_; }
  const std::string& program() const { return program_; }
  std::vector<pid_t> workers() const;
  std::size_t starts() const { return read_file(files_ / "started").size(); }
  pid_t parent() const { return server_.process().pid(); }
  std::vector<pid_t> children() const;  // of the web server, that serve
  virtual pid_t manager() const = 0;    // who keeps the workers; 0: nobody does now
  virtual void use_new_program() = 0;   // what its operator does after a deploy
  virtual void reload() = 0;            // likewise after a change of the web server's configuration
  void deploy() const;                  // by rename
  void deploy_broken() const;

 protected:
  std::string filled(const std::string& text) const;

  const std::string name_;
  const TempFolder files_{"cppfcgi-rival", true};
  const int port_;
  const std::string program_;
  Peer server_;
};

std::vector<std::string> rival_names();
std::unique_ptr<Rival> start_rival(const std::string& name);

}  // namespace cppfcgi::test
