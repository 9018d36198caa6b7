// Configurations for mod_fastcgi as people have published them, and the forms of its manual: they load unchanged but
// for paths and addresses, and serve.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/fastcgi_client.h"
#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;

struct Ask {
  std::string target;
  std::string said;  // in the answer's body
  int status = 200;
};

struct Published {
  std::string name;
  std::vector<std::string> modules;
  std::vector<std::string> programs;  // below @ROOT@/fs
  std::string config;                 // @FS@: where they are; @EXTERNAL@: a port where a worker listens
  std::vector<Ask> asks;
};
void PrintTo(const Published& each, std::ostream* out) { *out << each.name; }

void replace_all(std::string& text, const std::string& word, const std::string& by) {
  for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + by.size()))
    text.replace(at, word.size(), by);
}

class PublishedConfiguration : public testing::TestWithParam<Published> {};

TEST_P(PublishedConfiguration, LoadsAndServes) {
  const Published& each = GetParam();
  const WorkerProcess external({.command = {product("samples/echo")}, .environment = {}, .is_on_port = true});
  std::string config = each.config;
  replace_all(config, "@FS@", "@ROOT@/fs");
  replace_all(config, "@EXTERNAL@", "127.0.0.1:" + std::to_string(external.port()));
  HttpdServer httpd(
      {.modules = each.modules, .config = "<IfModule mod_mime.c>\nTypesConfig /dev/null\n</IfModule>\n" + config});
  fs::create_directories(httpd.root() + "/fs/tmp");
  fs::permissions(httpd.root() + "/fs/tmp", fs::perms::all | fs::perms::sticky_bit);
  for (const std::string& program : each.programs) {
    fs::create_directories(fs::path(httpd.root() + "/fs" + program).parent_path());
    fs::copy_file(httpd.install("samples/echo"), httpd.root() + "/fs" + program);
  }
  httpd.write("htdocs/info.php", "<?php phpinfo();");
  httpd.start();
  for (const Ask& ask : each.asks) {
    const HttpResponse response = get(httpd.port(), ask.target);
    EXPECT_EQ(response.status, ask.status) << ask.target << ": " << response.body;
    EXPECT_NE(response.body.find(ask.said), std::string::npos) << ask.target << ": " << response.body;
  }
}

const Published configurations[] = {
    // Catalyst's manual, Catalyst::Engine::FastCGI
    {"Catalyst",
     {},
     {"/var/www/MyApp/script/myapp_fastcgi.pl"},
     R"(
FastCgiIpcDir @FS@/tmp
FastCgiServer @FS@/var/www/MyApp/script/myapp_fastcgi.pl -idle-timeout 300 -processes 5
<Directory @FS@/var/www/MyApp>
  Require all granted
</Directory>
<VirtualHost *>
    ScriptAlias / @FS@/var/www/MyApp/script/myapp_fastcgi.pl/
</VirtualHost>
)",
     {{"/some/params", "PATH_INFO=/some/params"}}},
    // Request Tracker, as Gentoo's wiki has it
    {"RequestTracker",
     {"mime"},
     {"/var/www/localhost/rt-4.2.9-r1/sbin/rt-server.fcgi"},
     R"(
FastCgiServer @FS@/var/www/localhost/rt-4.2.9-r1/sbin/rt-server.fcgi -processes 5 -idle-timeout 300
ScriptAlias /rt @FS@/var/www/localhost/rt-4.2.9-r1/sbin/rt-server.fcgi/
<Location /rt>
    <IfVersion >= 2.4>
        Require all granted
    </IfVersion>
    <IfVersion < 2.4>
        Order allow,deny
        Allow from all
    </IfVersion>
    Options +ExecCGI
    AddHandler fastcgi-script fcgi
</Location>
)",
     {{"/rt/Ticket/params", "PATH_INFO=/Ticket/params"}}},
    // php5-fpm with Apache 2, as HowtoForge and many after it
    {"PhpFpm",
     {"actions", "mime"},
     {},
     R"(
<IfModule mod_fastcgi.c>
    AddHandler php5-fcgi .php
    Action php5-fcgi /php5-fcgi
    Alias /php5-fcgi @FS@/usr/lib/cgi-bin/php5-fcgi
    FastCgiExternalServer @FS@/usr/lib/cgi-bin/php5-fcgi -host @EXTERNAL@ -pass-header Authorization
</IfModule>
<Directory @FS@/usr/lib/cgi-bin>
    Require all granted
</Directory>
)",
     {{"/info.php", "echo knows no such wish", 404}, {"/php5-fcgi/params", "PATH_INFO=/params"}}},
    // GBrowse 2's installer
    {"GBrowse",
     {},
     {"/usr/lib/cgi-bin/gb2/gbrowse"},
     R"(
<IfModule mod_fastcgi.c>
  Alias /fgb2 "@FS@/usr/lib/cgi-bin/gb2"
  <Location /fgb2>
    SetHandler   fastcgi-script
  </Location>
  FastCgiConfig -idle-timeout 600 -maxClassProcesses 20 -initial-env GBROWSE_CONF=/etc/gbrowse2
</IfModule>
<Directory @FS@/usr/lib/cgi-bin/gb2>
  Options +ExecCGI
  Require all granted
</Directory>
)",
     {{"/fgb2/gbrowse/params", "SCRIPT_NAME=/fgb2/gbrowse"}}},
    // mod_fastcgi's manual: a directory of applications, applications by extension, a static one, its options
    {"ManualSetHandler",
     {},
     {"/fcgi-bin/app"},
     R"(
Alias /fcgi-bin @FS@/fcgi-bin
<Directory @FS@/fcgi-bin>
  SetHandler fastcgi-script
  Options +ExecCGI
  Require all granted
</Directory>
)",
     {{"/fcgi-bin/app/params", "SCRIPT_NAME=/fcgi-bin/app"}}},
    {"ManualAddHandler",
     {"mime"},
     {"/apps/one.fcg", "/apps/two.fcgi", "/apps/three.fpl"},
     R"(
Alias /apps @FS@/apps
<Directory @FS@/apps>
  AddHandler fastcgi-script fcg fcgi fpl
  Options +ExecCGI
  Require all granted
</Directory>
)",
     {{"/apps/one.fcg/params", "SCRIPT_NAME=/apps/one.fcg"},
      {"/apps/two.fcgi/params", "SCRIPT_NAME=/apps/two.fcgi"},
      {"/apps/three.fpl/params", "SCRIPT_NAME=/apps/three.fpl"}}},
    {"ManualStaticWithEveryOption",
     {},
     {"/srv/app"},
     R"(
FastCgiServer @FS@/srv/app -appConnTimeout 0 -idle-timeout 30 -initial-env PATH -initial-env A=1 -init-start-delay 1 -flush \
  -listen-queue-depth 100 -min-server-life 30 -pass-header Authorization -priority 0 -processes 1 -restart-delay 5 -socket app.sock
FastCgiExternalServer @FS@/srv/outside -host @EXTERNAL@ -appConnTimeout 2 -idle-timeout 30 -flush -pass-header Authorization
Alias /app @FS@/srv/app
Alias /outside @FS@/srv/outside
<Directory @FS@/srv>
  Require all granted
</Directory>
)",
     {{"/app/params", "SCRIPT_NAME=/app"}, {"/outside/params", "SCRIPT_NAME=/outside"}}},
};

INSTANTIATE_TEST_SUITE_P(Of, PublishedConfiguration, testing::ValuesIn(configurations),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace cppfcgi::test
