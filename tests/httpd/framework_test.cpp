// What httpd's own test suite asks of CGI programs (environment, path info, actions, redirects), asked of a pool.
#include <gtest/gtest.h>

#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

struct Case {
  std::string name;
  std::string target;
  std::vector<std::string> said;  // lines of the answer, "NAME=value"; "NAME": no line begins so
  int status = 200;
  std::string method = "GET";
  std::string header = "X-Nothing: of interest";
  std::string body = "";
};
void PrintTo(const Case& each, std::ostream* out) { *out << each.method << ' ' << each.target; }

constexpr const char* config = R"(
TypesConfig /dev/null
FastCgiServer @ROOT@/bin/params
FastCgiServer @ROOT@/bin/mounted -mount /mounted
Alias /app @ROOT@/bin/params
ScriptAlias /script @ROOT@/bin/params
SetEnv SET_BY_HTTPD "two words"
PassEnv HAD
SetEnvIf X-Kind ^(.*)$ KIND=$1
<Location /app/unset>
  UnsetEnv SET_BY_HTTPD
</Location>
<Location /app/no-path-info>
  AcceptPathInfo Off
</Location>
AddType text/x-acted .acted
AddHandler acted-by-handler .byhandler
AddHandler acted-virtually .virtual
Action text/x-acted /app
Action acted-by-handler /app/behind
Action acted-virtually /mounted virtual
<Directory @ROOT@/htdocs/scripted>
  Script PUT /app/put
</Directory>
RewriteEngine On
RewriteRule ^/inside/(.*)$ /app/$1 [PT,E=REWRITTEN:yes]
RewriteRule ^/outside/(.*)$ /app/$1 [R=307]
RewriteRule ^/query$ /app?added=1 [PT,QSA]
Redirect permanent /moved /app/here
ErrorDocument 404 /app/not-found
)";

class Framework : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    httpd_ = std::make_unique<HttpdServer>(HttpdOptions{.modules = {"env", "setenvif", "mime", "actions", "rewrite"},
                                                        .config = config,
                                                        .environment = {"HAD=by httpd"}});
    httpd_->install("tests/httpd/programs/params");
    httpd_->install("tests/httpd/programs/params", "mounted");
    for (const char* file : {"page.acted", "page.byhandler"}) httpd_->write(std::string("htdocs/") + file, "a page");
    std::filesystem::create_directory(httpd_->root() + "/htdocs/scripted");
    httpd_->start();
  }
  static void TearDownTestSuite() { httpd_.reset(); }

  static std::string replaced(std::string text) {
    if (const std::size_t at = text.find("@ROOT@"); at != text.npos) text.replace(at, 6, httpd_->root());
    return text;
  }

  static std::unique_ptr<HttpdServer> httpd_;
};
std::unique_ptr<HttpdServer> Framework::httpd_;

TEST_P(Framework, IsToldWhatCgiIs) {
  const Case& each = GetParam();
  const HttpResponse response =
      ask(httpd_->port(), each.method + " " + each.target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" +
                              each.header + "\r\nContent-Length: " + std::to_string(each.body.size()) + "\r\n\r\n" +
                              each.body);
  EXPECT_EQ(response.status, each.status) << response.body;
  const std::string text = '\n' + response.header("Location") + '\n' + response.body + '\n';
  for (const std::string& line : each.said) {
    const bool is_wanted = line.find('=') != line.npos || line.starts_with("http");
    const std::string looked_for = '\n' + replaced(line) + (is_wanted ? "\n" : "=");
    EXPECT_EQ(text.find(looked_for) != text.npos, is_wanted) << line << " in " << text;
  }
}

std::string name_of(const testing::TestParamInfo<Case>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(
    Environment, Framework,
    testing::Values(
        Case{"SetEnv", "/app", {"SET_BY_HTTPD=two words"}}, Case{"PassEnv", "/app", {"HAD=by httpd"}},
        Case{"UnsetEnv", "/app/unset", {"SET_BY_HTTPD"}},
        Case{.name = "SetEnvIf", .target = "/app", .said = {"KIND=odd", "HTTP_X_KIND=odd"}, .header = "X-Kind: odd"},
        Case{"OfAMountToo", "/mounted", {"SET_BY_HTTPD=two words", "HAD=by httpd"}},
        Case{"QueryStringIsRaw", "/app?a=%20b+c&d", {"QUERY_STRING=a=%20b+c&d", "REQUEST_URI=/app?a=%20b+c&d"}},
        Case{"QueryStringIsThereWithoutOne", "/app", {"QUERY_STRING="}}, Case{"HeadIsAHead", "/app", {}, 200, "HEAD"},
        Case{"ScriptFilename", "/app/x", {"SCRIPT_FILENAME=@ROOT@/bin/params", "SCRIPT_NAME=/app"}},
        Case{"GatewayInterface", "/app", {"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1"}},
        Case{.name = "ContentLength", .target = "/app", .said = {"CONTENT_LENGTH=3"}, .method = "POST", .body = "abc"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    PathInfo, Framework,
    testing::Values(
        Case{"None", "/app", {"PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME=/app"}},
        Case{"ASlash", "/app/", {"PATH_INFO=/"}}, Case{"APath", "/app/a/b", {"PATH_INFO=/a/b"}},
        Case{"Decoded", "/app/a%20b", {"PATH_INFO=/a b", "REQUEST_URI=/app/a%20b"}},
        Case{"DotsAreResolved", "/app/a/./c/../b", {"PATH_INFO=/a/b"}},
        Case{"SlashesAreMerged", "/app/a//b", {"PATH_INFO=/a/b"}},
        Case{"Translated", "/app/file.txt", {"PATH_TRANSLATED=@ROOT@/htdocs/file.txt"}},
        Case{"UnderScriptAlias", "/script/a/b", {"SCRIPT_NAME=/script", "PATH_INFO=/a/b"}},
        Case{"MayBeRefused", "/app/no-path-info", {"REDIRECT_STATUS=404", "REDIRECT_URL=/app/no-path-info"}, 404}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Actions, Framework,
    testing::Values(
        Case{"ByType",
             "/page.acted",
             {"SCRIPT_NAME=/app", "PATH_INFO=/page.acted", "REDIRECT_URL=/page.acted", "REDIRECT_STATUS=200"}},
        Case{"ByHandler",
             "/page.byhandler",
             {"PATH_INFO=/behind/page.byhandler", "PATH_TRANSLATED=@ROOT@/htdocs/behind/page.byhandler"}},
        Case{"KeepsTheQuery", "/page.acted?q=1", {"QUERY_STRING=q=1", "REDIRECT_QUERY_STRING=q=1"}},
        Case{.name = "KeepsTheBody",
             .target = "/page.acted",
             .said = {"REQUEST_METHOD=POST", "CONTENT_LENGTH=3"},
             .method = "POST",
             .body = "abc"},
        Case{"KeepsTheEnvironment", "/page.acted", {"REDIRECT_SET_BY_HTTPD=two words"}},
        Case{"NeedsTheFile", "/missing.byhandler", {"REDIRECT_STATUS=404"}, 404},
        Case{"NeedsNoFileWhereItIsVirtual", "/missing.virtual", {"SCRIPT_NAME=/mounted", "PATH_INFO=/missing.virtual"}},
        Case{.name = "ByMethod",
             .target = "/scripted/x",
             .said = {"REQUEST_METHOD=PUT", "PATH_INFO=/put/scripted/x"},
             .method = "PUT",
             .body = "abc"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Redirects, Framework,
    testing::Values(Case{"Inside", "/inside/x?q", {"PATH_INFO=/x", "QUERY_STRING=q", "REWRITTEN=yes"}},
                    Case{"QueriesAreJoined", "/query?own=2", {"QUERY_STRING=added=1&own=2"}},
                    Case{"Outside", "/outside/x?q", {"http://localhost/app/x?q"}, 307},
                    Case{"Permanent", "/moved/y", {"http://localhost/app/here/y"}, 301},
                    Case{"OfAnError",
                         "/nowhere?q=1",
                         {"REDIRECT_STATUS=404", "REDIRECT_URL=/nowhere", "REDIRECT_QUERY_STRING=q=1",
                          "PATH_INFO=/not-found", "REQUEST_METHOD=GET"},
                         404},
                    Case{.name = "OfAnErrorOfAPost",
                         .target = "/nowhere",
                         .said = {"REQUEST_METHOD=GET", "REDIRECT_REQUEST_METHOD=POST"},
                         .status = 404,
                         .method = "POST",
                         .body = "abc"}),
    name_of);

}  // namespace
}  // namespace cppfcgi::test
