// Which URL belongs to which pool, and what its worker is told of it: -mount, and mod_fastcgi's own ways (Alias,
// SetHandler, AddHandler, Action), beside the modules that map URLs too.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

std::string pool(const std::string& program, const std::string& options = "") {
  return "FastCgiServer @ROOT@/bin/" + program + ' ' + options + '\n';
}

// A server whose pools are copies of one program that says its name and its params.
class Mount : public testing::Test {
 protected:
  HttpdServer& serve(const std::vector<std::string>& programs, const std::string& config,
                     std::vector<std::string> modules = {}, const std::string& mpm = "event") {
    const bool has_mime = std::find(modules.begin(), modules.end(), "mime") != modules.end();
    httpd_ = std::make_unique<HttpdServer>(HttpdOptions{
        .mpm = mpm, .modules = std::move(modules), .config = (has_mime ? "TypesConfig /dev/null\n" : "") + config});
    for (const std::string& program : programs) httpd_->install("tests/httpd/programs/params", program);
    httpd_->write("htdocs/index.html", "the index\n");
    httpd_->write("htdocs/file.txt", "a file\n");
    httpd_->start();
    return *httpd_;
  }

  HttpResponse ask_for(const std::string& target, const std::string& host = "localhost") {
    return ask(httpd_->port(), "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n");
  }

  // The value of a line "NAME=value" in an answer; "(none)" where there is no such line.
  static std::string param(const HttpResponse& response, const std::string& name) {
    const std::string text = '\n' + response.body;
    const std::size_t at = text.find('\n' + name + '=');
    if (at == text.npos) return "(none)";
    const std::size_t start = at + name.size() + 2;
    return text.substr(start, text.find('\n', start) - start);
  }

  // "program SCRIPT_NAME PATH_INFO", as the worker was told; else the status.
  std::string where(const std::string& target, const std::string& host = "localhost") {
    const HttpResponse response = ask_for(target, host);
    if (param(response, "PROGRAM") == "(none)") return std::to_string(response.status);
    return param(response, "PROGRAM") + " " + param(response, "SCRIPT_NAME") + " " + param(response, "PATH_INFO");
  }

  std::string redirect(const std::string& target) { return ask_for(target).header("Location"); }

  std::unique_ptr<HttpdServer> httpd_;
};

// ---- -mount ----

TEST_F(Mount, StandsAtItsPrefixAndBelow) {
  serve({"app"}, pool("app", "-mount /app"));
  EXPECT_EQ(where("/app"), "app /app (none)");
  EXPECT_EQ(where("/app/"), "app /app /");
  EXPECT_EQ(where("/app/a/b?c=d"), "app /app /a/b");
  EXPECT_EQ(where("/application"), "404");
  EXPECT_EQ(where("/ap"), "404");
  EXPECT_EQ(where("/"), "200");
  EXPECT_EQ(where("/file.txt"), "200");
}

TEST_F(Mount, AtTheRootTakesEverything) {
  serve({"app"}, pool("app", "-mount /"));
  EXPECT_EQ(where("/"), "app  /");
  EXPECT_EQ(where("/index.html"), "app  /index.html");
  EXPECT_EQ(where("/a/b/"), "app  /a/b/");
  EXPECT_EQ(where("/file.txt/x"), "app  /file.txt/x");
}

TEST_F(Mount, TheLongestPrefixWins) {
  serve({"one", "two", "three"}, pool("one", "-mount /") + pool("two", "-mount /a") + pool("three", "-mount /a/b/"));
  EXPECT_EQ(where("/x"), "one  /x");
  EXPECT_EQ(where("/a"), "two /a (none)");
  EXPECT_EQ(where("/ab"), "one  /ab");
  EXPECT_EQ(where("/a/bc"), "two /a /bc");
  EXPECT_EQ(where("/a/b/c"), "three /a/b /c");
  EXPECT_EQ(where("/a/b"), "three /a/b (none)");
}

TEST_F(Mount, ComparesTheDecodedPath) {
  serve({"app"}, pool("app", "-mount \"/my app\""));
  EXPECT_EQ(where("/my%20app/x%20y"), "app /my app /x y");
  EXPECT_EQ(where("/%6dy%20app"), "app /my app (none)");
  EXPECT_EQ(where("/my%20app/../file.txt"), "200");
  EXPECT_EQ(where("//my%20app//x"), "app /my app /x");
}

TEST_F(Mount, LeavesEncodedSlashesToHttpd) {
  serve({"app"}, pool("app", "-mount /app"));
  EXPECT_EQ(where("/app/a%2Fb"), "404");
  httpd_->set_config("AllowEncodedSlashes On\n" + pool("app", "-mount /app"));
  httpd_->graceful();
  EXPECT_EQ(where("/app/a%2Fb"), "app /app /a/b");
}

TEST_F(Mount, TellsTheParamsOfCgi) {
  serve({"app"}, pool("app", "-mount /app"));
  const HttpResponse response = ask_for("/app/x%20y?q=%20z");
  EXPECT_EQ(param(response, "REQUEST_URI"), "/app/x%20y?q=%20z");
  EXPECT_EQ(param(response, "QUERY_STRING"), "q=%20z");
  EXPECT_EQ(param(response, "SCRIPT_FILENAME"), httpd_->root() + "/bin/app");
  EXPECT_EQ(param(response, "PATH_TRANSLATED"), httpd_->root() + "/htdocs/x y");
  EXPECT_EQ(param(response, "DOCUMENT_ROOT"), httpd_->root() + "/htdocs");
  EXPECT_EQ(param(ask_for("/app"), "PATH_TRANSLATED"), "(none)");
}

TEST_F(Mount, TakesPathsThatNoFileSystemWould) {
  serve({"app"}, pool("app", "-mount /"));
  const std::string long_segment(300, 'x'), long_path(6'000, 'y');
  EXPECT_EQ(where("/" + long_segment + "/z"), "app  /" + long_segment + "/z");
  EXPECT_EQ(where("/" + long_path), "app  /" + long_path);
  EXPECT_EQ(where("/a:b*c"), "app  /a:b*c");
  EXPECT_EQ(where("/.htaccess"), "app  /.htaccess");
}

TEST_F(Mount, NeedsNoDirectorySectionAndObeysLocation) {
  serve(
      {"app"},
      pool("app", "-mount /app") +
          "<Directory />\nRequire all denied\n</Directory>\n<Directory @ROOT@/bin>\nRequire all denied\n</Directory>\n"
          "<Location /app/closed>\nRequire all denied\n</Location>\n");
  EXPECT_EQ(where("/app/x"), "app /app /x");
  httpd_->expect_log("client denied by server configuration");
  EXPECT_EQ(where("/app/closed"), "403");
  EXPECT_EQ(where("/app/closed/x"), "403");
}

TEST_F(Mount, PassesEveryMethodAndLeavesTraceToHttpd) {
  serve({"app"}, pool("app", "-mount /"));
  for (const char* method : {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "FROBNICATE"}) {
    const HttpResponse response = ask(httpd_->port(), request_text(method, "/x", {"Connection: close"}), method);
    EXPECT_EQ(param(response, "REQUEST_METHOD"), method) << response.status;
  }
  EXPECT_EQ(ask(httpd_->port(), request_text("OPTIONS", "*", {"Connection: close"}), "OPTIONS").status, 200);
  const HttpResponse traced =
      ask(httpd_->port(), request_text("TRACE", "/x", {"X-Mine: 1", "Connection: close"}), "TRACE");
  EXPECT_EQ(traced.header("Content-Type"), "message/http");
  httpd_->set_config("TraceEnable off\n" + pool("app", "-mount /"));
  httpd_->graceful();
  EXPECT_EQ(ask(httpd_->port(), request_text("TRACE", "/x", {"Connection: close"}), "TRACE").status, 405);
}

TEST_F(Mount, IsOfOneVirtualHostElseOfTheMainServer) {
  serve({"all", "a"}, pool("all", "-mount /app") +
                          "<VirtualHost *:@PORT@>\nServerName default.example\n</VirtualHost>\n<VirtualHost "
                          "*:@PORT@>\nServerName a.example\n" +
                          pool("a", "-mount /a") + "</VirtualHost>\n<VirtualHost *:@PORT@>\nServerName b.example\n" +
                          pool("a", "-mount /app -initial-env X=1") + "</VirtualHost>\n");
  EXPECT_EQ(where("/app", "default.example"), "all /app (none)");
  EXPECT_EQ(where("/app", "a.example"), "all /app (none)");
  EXPECT_EQ(where("/a/x", "a.example"), "a /a /x");
  EXPECT_EQ(where("/a/x", "default.example"), "404");
  EXPECT_EQ(where("/app/x", "b.example"), "a /app /x");
  EXPECT_TRUE(wait_until([&] { return httpd_->processes_of("a").size() == 2; }));
}

// ---- beside other modules ----

TEST_F(Mount, BesideAliasTheLongerPrefixWins) {
  serve({"app"},
        pool("app", "-mount /") +
            "Alias /static @ROOT@/htdocs\nAlias /app2 @ROOT@/htdocs\nAliasMatch ^/m[0-9]+ @ROOT@/htdocs/file.txt\n");
  EXPECT_EQ(ask_for("/static/file.txt").body, "a file\n");
  EXPECT_EQ(ask_for("/m12").body, "a file\n");
  EXPECT_EQ(where("/statics"), "app  /statics");
  EXPECT_EQ(where("/x"), "app  /x");
}

TEST_F(Mount, BesideAShorterAliasTheMountWins) {
  serve({"app", "same"}, pool("app", "-mount /a/b") + pool("same", "-mount /same") +
                             "Alias /a @ROOT@/htdocs\nAlias /same @ROOT@/htdocs\n");
  EXPECT_EQ(ask_for("/a/file.txt").body, "a file\n");
  EXPECT_EQ(where("/a/b/c"), "app /a/b /c");
  EXPECT_EQ(where("/same/file.txt"), "same /same /file.txt");
}

TEST_F(Mount, RedirectsComeFirst) {
  serve({"app"}, pool("app", "-mount /") + "Redirect /old http://127.0.0.1/new\n");
  EXPECT_EQ(redirect("/old/x"), "http://127.0.0.1/new/x");
  EXPECT_EQ(where("/other"), "app  /other");
}

TEST_F(Mount, LetsALocationTakeItsHandler) {
  serve({"app"}, pool("app", "-mount /") + "<Location /server-status>\nSetHandler server-status\n</Location>\n",
        {"status"});
  EXPECT_NE(ask_for("/server-status?auto").body.find("Total Accesses"), std::string::npos);
  EXPECT_EQ(where("/other"), "app  /other");
}

TEST_F(Mount, WorksBehindModRewrite) {
  serve({"app"},
        pool("app", "-mount /app") +
            "RewriteEngine On\nRewriteRule ^/pretty/(.*)$ /app/$1?from=pretty [PT,QSA]\nRewriteRule ^/moved$ /app/new "
            "[R=302]\n",
        {"rewrite"});
  EXPECT_EQ(where("/pretty/x?a=1"), "app /app /x");
  EXPECT_EQ(param(ask_for("/pretty/x?a=1"), "QUERY_STRING"), "from=pretty&a=1");
  EXPECT_EQ(where("/app/y"), "app /app /y");
  EXPECT_NE(redirect("/moved").find("/app/new"), std::string::npos);
}

TEST_F(Mount, YieldsToProxyPassAndItsExclusions) {
  serve({"app"}, pool("app", "-mount /p") + "ProxyPass /p/own !\nProxyPass /p http://127.0.0.1:@PORT@/file.txt\n",
        {"proxy", "proxy_http"});
  EXPECT_EQ(ask_for("/p").body, "a file\n");
  EXPECT_EQ(where("/p/own/x"), "app /p /own/x");
}

TEST_F(Mount, TheProgramsNameSaysNothingOfTheAnswer) {
  serve({"app.php.gz"},
        pool("app.php.gz", "-mount /app") +
            "AddType application/x-php .php\nAddHandler server-info .php\nAddEncoding x-gzip .gz\n<Location "
            "/app>\nOptions +MultiViews\n</Location>\n",
        {"mime", "negotiation", "info"});
  const HttpResponse response = ask_for("/app");
  EXPECT_EQ(param(response, "PROGRAM"), "app.php.gz");
  EXPECT_EQ(response.header("Content-Type"), "text/plain");
  EXPECT_EQ(response.header("Content-Encoding"), "");
}

TEST_F(Mount, ServesDirectoryIndexAndErrorDocument) {
  serve({"app"}, pool("app", "-mount /app") + "DirectoryIndex /app/index\nErrorDocument 404 /app/missing\n");
  EXPECT_EQ(where("/"), "app /app /index");
  const HttpResponse missing = ask_for("/nothing");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(param(missing, "PATH_INFO"), "/missing");
  EXPECT_EQ(param(missing, "REDIRECT_STATUS"), "404");
}

TEST_F(Mount, AnswersWhatAPageIncludes) {
  serve({"app"},
        pool("app", "-mount /app") +
            "<Directory @ROOT@/htdocs>\nOptions +Includes\nSetOutputFilter INCLUDES\n</Directory>\n",
        {"include"});
  httpd_->write("htdocs/page.html",
                "<<!--#include virtual=\"/app/part?a=1\" --><!--#include virtual=\"/app/two\" -->>");
  const HttpResponse page = ask_for("/page.html");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(param(page, "PATH_INFO"), "/part");
  EXPECT_EQ(param(page, "QUERY_STRING"), "a=1");
  EXPECT_NE(page.body.find("PATH_INFO=/two"), std::string::npos) << page.body;
  EXPECT_TRUE(page.body.starts_with('<') && page.body.ends_with('>')) << page.body;
}

// ---- mod_fastcgi's ways ----

TEST_F(Mount, AliasWithSetHandlerSplitsThePath) {
  serve({"app"},
        pool("app") + "Alias /app @ROOT@/bin/app\n<Directory @ROOT@/bin>\nSetHandler fastcgi-script\n</Directory>\n");
  EXPECT_EQ(where("/app"), "app /app (none)");
  EXPECT_EQ(where("/app/a/b?c"), "app /app /a/b");
  EXPECT_EQ(param(ask_for("/app/a"), "PATH_TRANSLATED"), httpd_->root() + "/htdocs/a");
  EXPECT_EQ(param(ask_for("/app/a"), "SCRIPT_FILENAME"), httpd_->root() + "/bin/app");
}

TEST_F(Mount, SetHandlerMayStandInALocation) {
  serve({"app"}, pool("app") + "Alias /app @ROOT@/bin/app\n<Location /app>\nSetHandler fastcgi-script\n</Location>\n");
  EXPECT_EQ(where("/app/a/b"), "app /app /a/b");
}

TEST_F(Mount, AddHandlerFindsProgramsByTheirNames) {
  serve({"one.fcgi", "two.fcgi"},
        pool("one.fcgi") + pool("two.fcgi") + "Alias /bin @ROOT@/bin\nAddHandler fastcgi-script .fcgi\n", {"mime"});
  EXPECT_EQ(where("/bin/one.fcgi"), "one.fcgi /bin/one.fcgi (none)");
  EXPECT_EQ(where("/bin/two.fcgi/x/y"), "two.fcgi /bin/two.fcgi /x/y");
}

TEST_F(Mount, ActionHandsFilesToAProgram) {
  serve({"app"},
        pool("app") +
            "Alias /action @ROOT@/bin/app\n<Location /action>\nSetHandler fastcgi-script\n</Location>\nAction shown "
            "/action\nAddHandler shown .txt\n",
        {"mime", "actions"});
  EXPECT_EQ(where("/file.txt"), "app /action /file.txt");
  EXPECT_EQ(param(ask_for("/file.txt"), "PATH_TRANSLATED"), httpd_->root() + "/htdocs/file.txt");
}

TEST_F(Mount, ActionMayNameAMount) {
  serve({"app"}, pool("app", "-mount /action") + "Action shown /action\nAddHandler shown .txt\n", {"mime", "actions"});
  EXPECT_EQ(where("/file.txt"), "app /action /file.txt");
}

TEST_F(Mount, AProgramWithoutAPoolOrExecCgiIsRefusedAndNotSent) {
  serve({"app", "stray"},
        pool("app", "-mount /app") +
            "Alias /stray @ROOT@/bin/stray\n<Location /stray>\nSetHandler fastcgi-script\n</Location>\n");
  httpd_->expect_log("/bin/stray: no FastCgiServer declares it, and Options ExecCGI is off");
  const HttpResponse response = ask_for("/stray");
  EXPECT_EQ(response.status, 403);
  EXPECT_EQ(response.body.find("ELF"), std::string::npos);
}

TEST_F(Mount, TheSameProgramIsAnotherPoolInEachHost) {
  serve({"app"}, pool("app", "-initial-env WHO=main") +
                     "Alias /app @ROOT@/bin/app\n<Location /app>\nSetHandler fastcgi-script\n</Location>\n<VirtualHost "
                     "*:@PORT@>\nServerName a.example\n" +
                     pool("app", "-processes 2 -initial-env WHO=a") +
                     "</VirtualHost>\n<VirtualHost *:@PORT@>\nServerName b.example\n</VirtualHost>\n");
  EXPECT_TRUE(wait_until([&] { return httpd_->processes_of("app").size() == 3; }));
  EXPECT_EQ(where("/app", "a.example"), "app /app (none)");
  EXPECT_EQ(where("/app", "b.example"), "app /app (none)");
}

class MountUnder : public Mount, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Mpm, MountUnder, testing::Values("worker", "prefork"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(MountUnder, EachMpm) {
  serve({"app"}, pool("app", "-mount /app"), {}, GetParam());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(where("/app/x"), "app /app /x");
}

}  // namespace
}  // namespace cppfcgi::test
