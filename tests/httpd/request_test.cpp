// What a worker is told of a request: the CGI variables (RFC 3875), and what of the client's headers may reach it.
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "tests/httpd/scripted_server.h"

namespace cppfcgi::test {
namespace {

using Variables = std::map<std::string, std::string>;

Script say_params() { return Script().read().out("Content-Type: text/plain\n\n").params().end_of_out().end(); }

Variables parsed(const std::string& body) {
  Variables variables;
  std::istringstream lines(body);
  for (std::string line; std::getline(lines, line);) {
    const auto equals = line.find('=');
    EXPECT_TRUE(variables.emplace(line.substr(0, equals), line.substr(equals + 1)).second) << "twice: " << line;
  }
  return variables;
}

class Request : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new ScriptedServer(
        "-processes 2",
        {.config = "LimitRequestFieldSize 2000000\nLimitRequestLine 2000000\nLimitRequestFields 2000\n"});
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  void TearDown() override { server().check_log(); }
  static ScriptedServer& server() { return *server_; }

  static Variables variables(const std::vector<std::string>& header_lines, const std::string& path = "/s") {
    const HttpResponse response = get(server().port(), say_params().at(path), header_lines);
    EXPECT_EQ(response.status, 200) << testing::PrintToString(response);
    return parsed(response.body);
  }
  static std::string variable(const std::string& name, const std::vector<std::string>& header_lines) {
    const Variables all = variables(header_lines);
    const auto found = all.find(name);
    return found == all.end() ? "(none)" : found->second;
  }
  static ScriptedServer* server_;
};
ScriptedServer* Request::server_ = nullptr;

TEST_F(Request, HasAllVariablesOfRfc3875) {
  Variables told = variables({"User-Agent: test", "Content-Type: text/x"}, "/s/path%20info/x");
  EXPECT_EQ(told["GATEWAY_INTERFACE"], "CGI/1.1");
  EXPECT_EQ(told["PATH_INFO"], "/path info/x");
  EXPECT_EQ(told["PATH_TRANSLATED"], server().root() + "/htdocs/path info/x");
  EXPECT_EQ(told["QUERY_STRING"], say_params().text());
  EXPECT_EQ(told["REMOTE_ADDR"], "127.0.0.1");
  EXPECT_EQ(told["REQUEST_METHOD"], "GET");
  EXPECT_EQ(told["REQUEST_URI"], "/s/path%20info/x?" + say_params().text());
  EXPECT_EQ(told["SCRIPT_NAME"], "/s");
  EXPECT_EQ(told["SERVER_NAME"], "localhost");
  EXPECT_EQ(told["SERVER_PORT"], "80");  // of the URL, where Host names none
  EXPECT_EQ(told["SERVER_PROTOCOL"], "HTTP/1.1");
  EXPECT_NE(told["SERVER_SOFTWARE"].find("Apache"), std::string::npos);
  EXPECT_EQ(told["CONTENT_TYPE"], "text/x");
  EXPECT_EQ(told["HTTP_USER_AGENT"], "test");
  EXPECT_EQ(told["HTTP_HOST"], "localhost");
  // httpd's own, which applications know.
  EXPECT_EQ(told["DOCUMENT_ROOT"], server().root() + "/htdocs");
  EXPECT_EQ(told["SERVER_ADDR"], "127.0.0.1");
  EXPECT_EQ(told["REQUEST_SCHEME"], "http");
  EXPECT_FALSE(told["REMOTE_PORT"].empty());
  EXPECT_FALSE(told.contains("CONTENT_LENGTH"));
  EXPECT_FALSE(told.contains("HTTP_CONTENT_TYPE"));
}

TEST_F(Request, ABodyHasItsLengthAndType) {
  const HttpResponse response = server().post_to(say_params(), "12345", {"Content-Type: text/x"});
  Variables told = parsed(response.body);
  EXPECT_EQ(told["CONTENT_LENGTH"], "5");
  EXPECT_EQ(told["CONTENT_TYPE"], "text/x");
  EXPECT_EQ(told["REQUEST_METHOD"], "POST");
  EXPECT_FALSE(told.contains("HTTP_CONTENT_LENGTH"));
}

// The worker gets the body as it is: no coding of the transfer is left.
TEST_F(Request, AChunkedBodyHasItsLengthToo) {
  const HttpResponse response = ask(
      server().port(), "POST " + say_params().at("/s") +
                           " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked("12345", 2));
  Variables told = parsed(response.body);
  EXPECT_EQ(told["CONTENT_LENGTH"], "5");
  EXPECT_FALSE(told.contains("HTTP_TRANSFER_ENCODING"));
}

TEST_F(Request, MethodsPassAsTheyAre) {
  for (const char* method : {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "FANCY"}) {
    const std::string target =
        Script().read().out("X-Method: ").param("REQUEST_METHOD").out("\n\n").end_of_out().end().at("/s");
    EXPECT_EQ(ask(server().port(), request_text(method, target, {"Connection: close"})).header("X-Method"), method);
  }
}

TEST_F(Request, PathInfoIsDecodedAndRequestUriIsNot) {
  EXPECT_EQ(variables({}, "/s/a%3Fb%25")["PATH_INFO"], "/a?b%");
  EXPECT_EQ(variables({}, "/s/%C3%A4")["PATH_INFO"], "/\xc3\xa4");
  EXPECT_EQ(variables({}, "/s/a//b/../c")["PATH_INFO"], "/a/c");
  EXPECT_FALSE(variables({}, "/s").contains("PATH_INFO"));
}

TEST_F(Request, AuthorizationIsWithheld) {
  Variables told = variables({"Authorization: Basic dXNlcjpwYXNz", "Proxy-Authorization: Basic dXNlcjpwYXNz"});
  EXPECT_FALSE(told.contains("HTTP_AUTHORIZATION"));
  EXPECT_FALSE(told.contains("HTTP_PROXY_AUTHORIZATION"));
  EXPECT_FALSE(told.contains("Authorization"));
}

// "httpoxy": many libraries take the variable for their proxy.
TEST_F(Request, ProxyIsDropped) {
  for (const char* line : {"Proxy: http://evil", "PROXY: http://evil", "proxy: http://evil"}) {
    EXPECT_EQ(variable("HTTP_PROXY", {line}), "(none)") << line;
  }
}

// Two names of headers, one of a variable: the one with an underscore does not get through.
TEST_F(Request, AnUnderscoreCannotPretendToBeAHyphen) {
  EXPECT_EQ(variable("HTTP_X_Y", {"X-Y: true", "X_Y: false"}), "true");
  EXPECT_EQ(variable("HTTP_X_Y", {"X_Y: false", "X-Y: true"}), "true");
  EXPECT_EQ(variable("HTTP_X_Y", {"X_Y: false"}), "(none)");
  EXPECT_EQ(variable("CONTENT_LENGTH", {"Content_Length: 5"}), "(none)");
  EXPECT_EQ(variable("HTTP_CONTENT_LENGTH", {"Content_Length: 5"}), "(none)");
}

TEST_F(Request, OddNamesCannotPretendEither) {
  for (const char* line : {"X.Y: false", "X!Y: false", "X~Y: false", "X'Y: false", "X+Y: false"}) {
    EXPECT_EQ(variable("HTTP_X_Y", {"X-Y: true", line}), "true") << line;
  }
}

TEST_F(Request, RepeatedHeadersAreJoined) {
  EXPECT_EQ(variable("HTTP_X_LIST", {"X-List: a", "X-List: b", "x-list: c"}), "a, b, c");
  EXPECT_EQ(variable("HTTP_ACCEPT", {"Accept: text/html", "Accept: text/plain"}), "text/html, text/plain");
  EXPECT_EQ(variable("HTTP_COOKIE", {"Cookie: a=1", "Cookie: b=2; c=3"}), "a=1; b=2; c=3");
}

TEST_F(Request, OddValuesPassAsTheyAre) {
  EXPECT_EQ(variable("HTTP_X_V", {"X-V:   blanks around   "}), "blanks around");
  EXPECT_EQ(variable("HTTP_X_V", {"X-V: \xff\xfe\x80"}), "\xff\xfe\x80");
  EXPECT_EQ(variable("HTTP_X_V", {"X-V:"}), "");
  EXPECT_EQ(variable("HTTP_X_V", {"X-V: a=b=c"}), "a=b=c");
}

TEST_F(Request, ManyHeadersPass) {
  std::vector<std::string> lines;
  for (int i = 0; i < 1'000; ++i) lines.push_back("X-" + std::to_string(i) + ": value " + std::to_string(i));
  const Variables told = variables(lines);
  for (int i = 0; i < 1'000; ++i) {
    const auto found = told.find("HTTP_X_" + std::to_string(i));
    ASSERT_NE(found, told.end()) << i;
    EXPECT_EQ(found->second, "value " + std::to_string(i));
  }
}

class ParameterSize : public Request, public testing::WithParamInterface<std::size_t> {};

TEST_P(ParameterSize, PassesWhole) {
  const std::string value(GetParam(), 'v');
  EXPECT_EQ(variable("HTTP_X_LARGE", {"X-Large: " + value}), value);
}

// Around each place where a length changes its form, or a pair no longer fits into one record.
INSTANTIATE_TEST_SUITE_P(All, ParameterSize,
                         testing::Values(0, 1, 126, 127, 128, 129, 8'000, 65'514, 65'515, 65'516, 65'517, 65'518,
                                         65'519, 65'520, 65'521, 65'522, 65'523, 65'534, 65'535, 65'536, 65'537, 70'000,
                                         131'070, 131'072, 262'144, 1'048'576));

TEST_F(Request, ParametersOfAMebibyteTogetherPass) {
  std::vector<std::string> lines;
  for (int i = 0; i < 64; ++i)
    lines.push_back("X-" + std::to_string(i) + ": " + std::string(16'384, static_cast<char>('a' + i % 26)));
  const Variables told = variables(lines);
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(told.at("HTTP_X_" + std::to_string(i)), std::string(16'384, static_cast<char>('a' + i % 26))) << i;
  }
}

TEST_F(Request, ALongUrlPasses) {
  const std::string target = Script()
                                 .read()
                                 .out("Content-Type: text/plain\n\n")
                                 .param("PATH_INFO")
                                 .end_of_out()
                                 .end()
                                 .at("/s/" + std::string(100'000, 'p'));
  EXPECT_EQ(get(server().port(), target).body, "/" + std::string(100'000, 'p'));
}

TEST(PassHeader, PassesWhatCgiWithholds) {
  ScriptedServer server("-processes 1 -pass-header Authorization -pass-header X-Absent");
  Variables told = parsed(server.ask_for(say_params(), {"Authorization: Basic dXNlcjpwYXNz"}).body);
  EXPECT_EQ(told["HTTP_AUTHORIZATION"], "Basic dXNlcjpwYXNz");
  EXPECT_EQ(told["Authorization"], "Basic dXNlcjpwYXNz");
  EXPECT_FALSE(told.contains("HTTP_X_ABSENT"));
}

TEST(RequestEnvironment, SetEnvAndAuthenticationReachTheWorker) {
  HttpdOptions options{.modules = {"env", "setenvif", "auth_basic", "authn_core", "authn_file", "authz_user"},
                       .config =
                           "SetEnv MY_SETTING \"a value\"\n"
                           "SetEnvIf User-Agent ^test MY_AGENT=$0\n"
                           "<Location /s>\n  AuthType Basic\n  AuthName x\n  AuthUserFile @ROOT@/users\n"
                           "  Require valid-user\n</Location>\n"};
  ScriptedServer server("-processes 1", options);
  server.write("users", "user:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\n");  // pass
  EXPECT_EQ(server.ask_for(say_params()).status, 401);
  Variables told = parsed(server.ask_for(say_params(), {"Authorization: Basic dXNlcjpwYXNz", "User-Agent: test"}).body);
  EXPECT_EQ(told["REMOTE_USER"], "user");
  EXPECT_EQ(told["AUTH_TYPE"], "Basic");
  EXPECT_EQ(told["MY_SETTING"], "a value");
  EXPECT_EQ(told["MY_AGENT"], "test");
  EXPECT_FALSE(told.contains("HTTP_AUTHORIZATION"));
  server.allow_log("AH01617|AH01618|auth_basic");
}

TEST(RequestEnvironment, TlsIsTold) {
  ScriptedServer server("-processes 1", {.has_tls = true, .config = "SSLOptions +StdEnvVars\n"});
  Variables told = parsed(fetch({.url = server.url(say_params().at("/s"))}).body);
  EXPECT_EQ(told["HTTPS"], "on");
  EXPECT_EQ(told["REQUEST_SCHEME"], "https");
  EXPECT_TRUE(told["SSL_PROTOCOL"].starts_with("TLSv1")) << told["SSL_PROTOCOL"];
}

}  // namespace
}  // namespace cppfcgi::test
