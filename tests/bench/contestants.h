// The ways to answer a request that the bench compares, each a private server with its own workers, all on one core.
// What they answer: "/b" with a few bytes, "/b?N" with N bytes, and a POST to "/b" with the size of the upload;
// "/iip" and "/map" are IIPImage and MapServer, where a contestant runs them.
#pragma once

#include <string>
#include <vector>

#include "tests/support/applications.h"
#include "tests/support/peer.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::bench {

struct Contestant {
  std::string letter;  // as the table calls it: "a", "a'", "b" …
  std::string name;
  bool is_tiny_only = false;  // cannot answer but the tiny question
  bool has_applications = false;
  int port = 0;
  std::vector<test::Peer> processes{};

  bool is_peer() const { return letter.front() > 'c'; }  // somebody else's gateway
  std::vector<pid_t> pids() const {
    std::vector<pid_t> pids;
    for (const auto& peer : processes) pids.push_back(peer.process().pid());
    return pids;
  }
};

// Folders and programs; the folder holds configuration, sockets, logs, and copies of the programs that any user may
// run.
struct Place {
  const test::TempFolder& folder;
  std::string build;                                 // where the products lie
  std::string httpd;                                 // program
  std::string modules;                               // httpd's own
  const test::Applications* applications = nullptr;  // set: those that can shall serve IIPImage and MapServer too
};

// The letters of all contestants, in the order of the table.
const std::vector<std::string>& all_letters();

// Starts one and waits until it accepts connections. Throws where it cannot.
Contestant start_contestant(const std::string& letter, const Place& place);

}  // namespace cppfcgi::bench
