// Workers that are not ours under our module, unmodified: a libfcgi program in C, php-cgi, a Perl script, fcgiwrap.
// None of them knows anything of mod_cppfcgi, and most take one request at a time.
#include <gtest/gtest.h>
#include <signal.h>

#include <set>

#include "tests/support/curl_client.h"
#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"
#include "tests/support/peer.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::test {
namespace {

std::string text_of(std::size_t bytes) {
  std::string text(bytes, ' ');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('!' + (i * 7 + i / 251) % 90);
  return text;
}

// Eight clients at a time; every answer must be its own and whole.
void expect_load_without_errors(const HttpdServer& httpd, const std::string& path, std::size_t count) {
  std::size_t wrong = 0;
  run_load({.count = count,
            .parallel = 8,
            .make = [&](std::size_t i) { return Fetch{.url = httpd.url(path + "?n" + std::to_string(i) + "e")}; },
            .done =
                [&](std::size_t i, const Fetched& fetched) {
                  const bool is_own = fetched.body.find("n" + std::to_string(i) + "e") != std::string::npos;
                  if ((!fetched.is_whole() || !is_own) && wrong++ == 0)
                    ADD_FAILURE() << testing::PrintToString(fetched);
                }});
  EXPECT_EQ(wrong, 0u);
}

void expect_bodies_back(const HttpdServer& httpd, const std::string& path, std::size_t largest = 3'000'000) {
  CurlSession session;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{65'535}, std::size_t{65'536}, largest}) {
    const std::string body = text_of(bytes);
    const auto fetched = session.fetch({.url = httpd.url(path), .method = "POST", .body = body});
    EXPECT_EQ(fetched.status, 200) << bytes;
    EXPECT_TRUE(fetched.body == body) << bytes << " went, " << fetched.body.size() << " came";
  }
}

class LibfcgiProgram : public testing::Test {
 protected:
  LibfcgiProgram() : httpd_({.config = "FastCgiServer @ROOT@/bin/libfcgi_echo -processes 2 -mount /app"}) {
    httpd_.install("tests/interop/programs/libfcgi_echo");
    httpd_.start();
  }
  HttpdServer httpd_;
};

TEST_F(LibfcgiProgram, AnswersWithItsStatusAndHeaders) {
  const auto answer = get(httpd_.port(), "/app/some/path?a=b", {"X-Nonce: 4711"});
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.reason, "Taken");
  EXPECT_EQ(answer.header("X-Nonce"), "4711");
  EXPECT_EQ(answer.body, "GET /app /some/path ?a=b");
  httpd_.expect_log("libfcgi_echo was asked for /some/path");
}

TEST_F(LibfcgiProgram, TakesAndGivesBodiesOfAnySize) {
  expect_bodies_back(httpd_, "/app");
  const auto large = fetch({.url = httpd_.url("/app?size=20000000")});
  EXPECT_TRUE(large.is_whole()) << large.error;
  EXPECT_EQ(large.body.size(), 20'000'000u);
}

TEST_F(LibfcgiProgram, ServesMoreClientsThanItHasProcesses) {
  expect_load_without_errors(httpd_, "/app", 1'000);
  httpd_.allow_log("libfcgi_echo was asked for");
}

TEST_F(LibfcgiProgram, IsReplacedWhenItDies) {
  for (int death = 0; death < 3; ++death) {
    // Another request each time: one that workers have died of again and again is refused.
    EXPECT_EQ(get(httpd_.port(), "/app/" + std::to_string(death) + "?die").status, 502);
    const auto answer = fetch({.url = httpd_.url("/app?pid")});
    EXPECT_EQ(answer.status, 200);
    EXPECT_LE(answer.seconds, 0.5);
  }
  httpd_.allow_log("worker|libfcgi_echo");
}

TEST_F(LibfcgiProgram, IsReplacedWhenItIsKilledIdle) {
  ASSERT_EQ(get(httpd_.port(), "/app?pid").status, 200);
  ASSERT_TRUE(wait_until([&] { return httpd_.processes_of("libfcgi_echo").size() == 2; }));
  const auto before = httpd_.processes_of("libfcgi_echo");
  for (const pid_t worker : before) ::kill(worker, SIGKILL);
  const auto answer = fetch({.url = httpd_.url("/app?pid")});
  EXPECT_EQ(answer.status, 200);
  EXPECT_LE(answer.seconds, 0.5);
  EXPECT_FALSE(std::set<pid_t>(before.begin(), before.end()).contains(std::stoi(answer.body)));
  httpd_.allow_log("worker");
}

constexpr char php_script[] = R"(<?php
if ($_SERVER['REQUEST_METHOD'] === 'POST') { readfile('php://input'); exit; }
header('Content-Type: text/plain');
http_response_code(203);
echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['QUERY_STRING'], ' ', $_SERVER['SCRIPT_NAME'], ' ', PHP_SAPI;
)";

// As for mod_fastcgi: an Action gives .php files to one pool of php-cgi, which ends by itself after a few requests.
class PhpCgi : public testing::Test {
 protected:
  PhpCgi()
      : httpd_({.modules = {"actions"},
                .config = "FastCgiServer /usr/bin/php-cgi -processes 2 -initial-env PHP_FCGI_CHILDREN=0"
                          " -initial-env PHP_FCGI_MAX_REQUESTS=20 -initial-env FCGI_WEB_SERVER_ADDRS=\n"
                          "Alias /php-pool /usr/bin/php-cgi\n"
                          "<Location /php-pool>\n  SetHandler fastcgi-script\n  Require all granted\n</Location>\n"
                          "<FilesMatch \\.php$>\n  SetHandler php-script\n</FilesMatch>\n"
                          "Action php-script /php-pool\n"}) {
    httpd_.write("htdocs/page.php", php_script);
    httpd_.start();
  }
  HttpdServer httpd_;
};

TEST_F(PhpCgi, RunsPages) {
  const auto answer = get(httpd_.port(), "/page.php?a=1");
  EXPECT_EQ(answer.status, 203);
  EXPECT_EQ(answer.body, "GET a=1 /page.php cgi-fcgi");
}

TEST_F(PhpCgi, TakesBodies) { expect_bodies_back(httpd_, "/page.php"); }

TEST_F(PhpCgi, LosesNoRequestWhenItEndsByItself) {
  expect_load_without_errors(httpd_, "/page.php", 300);
  httpd_.allow_log("worker");
}

constexpr char perl_script[] = R"(#!/usr/bin/perl
use strict;
use FCGI;
my $request = FCGI::Request();
while ($request->Accept() >= 0) {
  if ($ENV{REQUEST_METHOD} eq 'POST') {
    my $body = '';
    read(STDIN, $body, $ENV{CONTENT_LENGTH} || 0);
    print "Content-Type: application/octet-stream\r\n\r\n", $body;
  } else {
    print "Content-Type: text/plain\r\n\r\n", join(' ', @ENV{qw(REQUEST_METHOD PATH_INFO QUERY_STRING)});
  }
}
)";

TEST(PerlScript, AnswersUnderItsAlias) {
  HttpdServer httpd({.config = "FastCgiServer @ROOT@/bin/app.fcgi -processes 2\nAlias /perl @ROOT@/bin/app.fcgi\n"
                               "<Files app.fcgi>\n  SetHandler fastcgi-script\n</Files>\n"});
  httpd.write("bin/app.fcgi", perl_script);
  httpd.start();
  EXPECT_EQ(get(httpd.port(), "/perl/x/y?q").body, "GET /x/y q");
  expect_bodies_back(httpd, "/perl");
  expect_load_without_errors(httpd, "/perl", 500);
}

// A CGI script that makes itself persistent: started as a worker it becomes fcgiwrap, which runs it once for each
// request.
constexpr char shell_script[] = R"(#!/bin/sh
[ -n "$GATEWAY_INTERFACE" ] || exec /usr/sbin/fcgiwrap
if [ "$REQUEST_METHOD" = POST ]; then
  printf 'Content-Type: application/octet-stream\r\n\r\n'
  exec cat
fi
printf 'Status: 201 Made\r\nContent-Type: text/plain\r\n\r\n%s' "$REQUEST_METHOD $PATH_INFO $QUERY_STRING"
)";

TEST(Fcgiwrap, RunsAShellScript) {
  HttpdServer httpd({.config = "FastCgiServer @ROOT@/bin/script.cgi -processes 2\nAlias /cgi @ROOT@/bin/script.cgi\n"
                               "<Files script.cgi>\n  SetHandler fastcgi-script\n</Files>\n"});
  httpd.write("bin/script.cgi", shell_script);
  httpd.start();
  const auto answer = get(httpd.port(), "/cgi/some/path?q=1");
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.body, "GET /some/path q=1");
  expect_bodies_back(httpd, "/cgi",
                     99'000);  // it does not read and write at the same time: more would hang in its pipes
  expect_load_without_errors(httpd, "/cgi", 200);
}

// ---- started by somebody else: FastCgiExternalServer ----

std::string on_loopback() { return "127.0.0.1:" + std::to_string(free_port()); }

// As for mod_fastcgi, under a name that is no file. php-cgi's own processes share the port.
TEST(External, PhpCgiWithProcessesOfItsOwn) {
  const std::string address = on_loopback();
  const Peer php(
      {.command = {"php-cgi", "-b", address}, .environment = {"PHP_FCGI_CHILDREN=3", "PHP_FCGI_MAX_REQUESTS=50"}},
      address);
  HttpdServer httpd({.modules = {"actions"},
                     .config = "FastCgiExternalServer @ROOT@/bin/php -host " + address +
                               "\nAlias /php-pool @ROOT@/bin/php\n"
                               "<Location /php-pool>\n  SetHandler fastcgi-script\n  Require all granted\n</Location>\n"
                               "<FilesMatch \\.php$>\n  SetHandler php-script\n</FilesMatch>\n"
                               "Action php-script /php-pool virtual\n"});
  httpd.write("htdocs/page.php", php_script);
  httpd.start();
  const auto answer = get(httpd.port(), "/page.php?a=1");
  EXPECT_EQ(answer.status, 203);
  EXPECT_EQ(answer.body, "GET a=1 /page.php cgi-fcgi");
  expect_bodies_back(httpd, "/page.php");
  expect_load_without_errors(httpd, "/page.php", 300);
  // One of its processes ends now and then, and closes what it has not begun; a GET goes to another.
  httpd.allow_log("endpoint .* trying another worker");
}

TEST(External, LibfcgiProgramUnderSpawnFcgi) {
  const TempFolder folder("cppfcgi-spawned", true);
  const std::string address = on_loopback(), path = folder / "socket";
  const std::string program = product("tests/interop/programs/libfcgi_echo");
  const Peer by_port(
      {.command = {"spawn-fcgi", "-n", "-a", "127.0.0.1", "-p", address.substr(address.rfind(':') + 1), "--", program}},
      address);
  const Peer by_socket({.command = {"spawn-fcgi", "-n", "-s", path, "-M", "0777", "--", program}}, path);
  HttpdServer httpd({.config = "FastCgiExternalServer /spawned/port -mount /port -host " + address +
                               "\nFastCgiExternalServer /spawned/socket -mount /socket -socket " + path + "\n"});
  httpd.allow_log("libfcgi_echo was asked for");
  httpd.start();
  for (const std::string mount : {"/port", "/socket"}) {
    EXPECT_EQ(get(httpd.port(), mount + "/some/path?a=b").body, "GET " + mount + " /some/path ?a=b");
    expect_bodies_back(httpd, mount);
    expect_load_without_errors(httpd, mount, 500);
  }
}

}  // namespace
}  // namespace cppfcgi::test
