// ScriptedServer: a running httpd with our module, whose /s is answered by workers that do what the request's query
// string says (tests/support/script.h).
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/support/curl_client.h"
#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"
#include "tests/support/script.h"

namespace cppfcgi::test {

// Where workers, which run as another user, put and find the files that Script::touch and Script::wait_for name.
class Signals : public TempFolder {
 public:
  Signals() : TempFolder("cppfcgi-signals", true) {}
};

class ScriptedServer : public HttpdServer {
 public:
  // `options.config` comes behind the pool's line.
  explicit ScriptedServer(const std::string& pool_options = "-processes 4", HttpdOptions options = {})
      : HttpdServer(with_pool(pool_options, std::move(options))) {
    install("tests/httpd/programs/scripted");
    start();
  }

  HttpResponse ask_for(const Script& script, const std::vector<std::string>& header_lines = {}) const {
    return get(port(), script.at("/s"), header_lines);
  }
  HttpResponse post_to(const Script& script, std::string_view body,
                       const std::vector<std::string>& header_lines = {}) const {
    return post(port(), script.at("/s"), body, header_lines);
  }

  // A good request is answered by a good answer of its own.
  void expect_well() const {
    static int number = 0;
    const std::string nonce = std::to_string(++number);
    const HttpResponse response =
        ask_for(Script().read().out("Content-Type: text/plain\n\n").nonce().end_of_out().end(), {"X-Nonce: " + nonce});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, nonce);
    EXPECT_EQ(response.ending, Ending::whole);
  }

  std::vector<pid_t> workers() const { return processes_of("scripted"); }

 private:
  static HttpdOptions with_pool(const std::string& pool_options, HttpdOptions options) {
    options.config = "FastCgiServer @ROOT@/bin/scripted -mount /s " + pool_options + "\n" + options.config;
    return options;
  }
};

}  // namespace cppfcgi::test
