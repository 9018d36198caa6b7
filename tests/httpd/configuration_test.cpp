// What configtest says: each mistake in a directive of ours stops it with file, line, directive, what is wrong and what
// is accepted; each good form passes.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

struct Mistake {
  std::string name;
  std::string config;              // @ROOT@ and so on are replaced
  std::vector<std::string> words;  // each must be said
};
void PrintTo(const Mistake& mistake, std::ostream* out) { *out << mistake.config; }

std::string on_pool(const std::string& options) { return "FastCgiServer @ROOT@/bin/hello " + options; }
std::string on_external(const std::string& options) { return "FastCgiExternalServer /x/app " + options; }

// The mistake is in the last line that has a directive of ours.
std::size_t line_of_mistake(const HttpdServer& httpd) {
  const std::string text = read_file(httpd.root() + "/httpd.conf");
  return static_cast<std::size_t>(
             std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(text.rfind("\nFastCgi")) + 1, '\n')) +
         1;
}

class EachMistake : public testing::TestWithParam<Mistake> {};

TEST_P(EachMistake, StopsConfigtest) {
  HttpdServer httpd({.config = GetParam().config});
  httpd.install("samples/hello");
  httpd.write("bin/plain.txt", "not a program");
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 1) << result.output;
  for (const std::string& word : GetParam().words)
    EXPECT_NE(result.output.find(word), std::string::npos) << "\"" << word << "\" is not in:\n" << result.output;
  EXPECT_TRUE(matches(result.output,
                      "on line " + std::to_string(line_of_mistake(httpd)) + " of " + httpd.root() + "/httpd.conf:"))
      << result.output;
}

const Mistake mistakes[] = {
    // numbers
    {"ProcessesZero",
     on_pool("-processes 0"),
     {"FastCgiServer: ", "/bin/hello: -processes 0: out of range; accepted: 1 to 1024"}},
    {"ProcessesTooMany", on_pool("-processes 1025"), {"-processes 1025: out of range; accepted: 1 to 1024"}},
    {"ProcessesHuge", on_pool("-processes 99999999999999999999"), {"accepted: 1 to 1024"}},
    {"ProcessesNegative", on_pool("-processes -1"), {"-processes -1: not a whole number; accepted: 1 to 1024"}},
    {"ProcessesWord", on_pool("-processes four"), {"-processes four: not a whole number; accepted: 1 to 1024"}},
    {"ProcessesTail", on_pool("-processes 4x"), {"-processes 4x: not a whole number"}},
    {"ProcessesEmpty", on_pool("-processes \"\""), {"not a whole number; accepted: 1 to 1024"}},
    {"ProcessesMissing", on_pool("-processes"), {"-processes: its value is missing"}},
    {"PriorityTooHigh", on_pool("-priority 20"), {"-priority 20: out of range; accepted: 0 to 19"}},
    {"PriorityNegative", on_pool("-priority -5"), {"-priority -5: not a whole number; accepted: 0 to 19"}},
    {"ListenQueueZero",
     on_pool("-listen-queue-depth 0"),
     {"-listen-queue-depth 0: out of range; accepted: 1 to 65535"}},
    {"QueueTooLong", on_pool("-queue 1025"), {"-queue 1025: out of range; accepted: 0 to 1024"}},
    {"MaxThreadsZero", on_pool("-max-threads 0"), {"-max-threads 0: out of range; accepted: 1 to 1024"}},
    // times
    {"QueueTimeoutZero", on_pool("-queue-timeout 0"), {"-queue-timeout 0: out of range; accepted: ", "from 1ms"}},
    {"QueueTimeoutTwice",
     on_pool("-queue-timeout 500ms -appConnTimeout 2"),
     {"-appConnTimeout 2: means the same as -queue-timeout, which is 500ms; accepted: one of them"}},
    {"TimeUnit",
     on_pool("-idle-timeout 5x"),
     {"-idle-timeout 5x: not a time; accepted: seconds, or a whole number with ms, s, min or h, from 1ms to 24h"}},
    {"TimeZero", on_pool("-idle-timeout 0"), {"-idle-timeout 0: out of range; accepted: ", "from 1ms to 24h"}},
    {"TimeTooLong", on_pool("-restart-delay 25h"), {"-restart-delay 25h: out of range; accepted: ", "from 0 to 24h"}},
    {"TimeOverflow", on_pool("-appConnTimeout 18446744073709551615h"), {"-appConnTimeout", "out of range"}},
    {"TimeNegative", on_pool("-init-start-delay -1"), {"-init-start-delay -1: not a time"}},
    {"TimeUnitAlone", on_pool("-min-server-life s"), {"-min-server-life s: not a time"}},
    // recycling, deploys, deadlines
    {"RequestTimeoutText",
     on_pool("-request-timeout soon"),
     {"-request-timeout soon: not a time; accepted: ", "from 0 to 24h"}},
    {"LifetimeTooShort", on_pool("-max-lifetime 10ms"), {"-max-lifetime 10ms: out of range; accepted: ", "from 1 to"}},
    {"ProbeTooOften", on_pool("-probe-interval 1ms"), {"-probe-interval 1ms: out of range; accepted: ", "from 100ms"}},
    {"RssUnit",
     on_pool("-max-rss 64X"),
     {"-max-rss 64X: not a size; accepted: bytes, or a whole number with K, M or G"}},
    {"RssTooSmall", on_pool("-max-rss 10K"), {"-max-rss 10K: out of range; accepted: ", "from 1M on"}},
    {"RssOverflow", on_pool("-max-rss 99999999999G"), {"-max-rss 99999999999G: out of range"}},
    {"MaxRequestsNegative", on_pool("-max-requests -1"), {"-max-requests -1: not a whole number; accepted: 0 to"}},
    {"RetriesTooMany", on_pool("-retries 11"), {"-retries 11: out of range; accepted: 0 to 10"}},
    {"UmaskWord", on_pool("-umask rwx"), {"-umask rwx: not a umask; accepted: octal digits from 0 to 777, like 027"}},
    {"UmaskTooLarge", on_pool("-umask 1000"), {"-umask 1000: not a umask"}},
    {"LimitOfMemoryTooSmall", on_pool("-rlimit-as 1K"), {"-rlimit-as 1K: out of range; accepted: ", "from 1M on"}},
    {"LimitOfFilesTooSmall", on_pool("-rlimit-nofile 3"), {"-rlimit-nofile 3: out of range; accepted: 16 to"}},
    {"LimitOfFilesAboveOurs",
     on_pool("-rlimit-nofile 1073741824"),
     {"/bin/hello: -rlimit-nofile: above the hard limit of httpd itself; accepted: at most "}},
    {"LimitOfCpuTooShort", on_pool("-rlimit-cpu 10ms"), {"-rlimit-cpu 10ms: out of range; accepted: seconds"}},
    {"LimitOfCoreWord",
     on_pool("-rlimit-core none"),
     {"-rlimit-core none: not a size; accepted: bytes, or a whole number with K, M or G, from 0 on, or unlimited"}},
    {"FolderMissing",
     on_pool("-chdir @ROOT@/nowhere"),
     {"/bin/hello: -chdir ", "/nowhere: User ", "No such file or directory; accepted: a folder"}},
    {"FolderIsAFile", on_pool("-chdir bin/plain.txt"), {"/bin/plain.txt: User ", "may not go there: "}},
    {"DeployWord", on_pool("-deploy now"), {"-deploy now: unknown; accepted: roll, none"}},
    {"CheckWithoutDeploy", on_pool("-deploy-check /x"), {"-deploy-check: without -deploy roll"}},
    {"CheckWithoutSlash",
     on_pool("-deploy roll -deploy-check x"),
     {"-deploy-check x: not a path; accepted: a path like /health"}},
    // variables, headers
    {"EnvNameless",
     on_pool("-initial-env =x"),
     {"-initial-env =x: the variable has no name; accepted: NAME=value, or NAME"}},
    {"EnvMissing", on_pool("-initial-env"), {"-initial-env: its value is missing"}},
    {"HeaderWithColon",
     on_pool("-pass-header Authorization:"),
     {"-pass-header Authorization:: not the name of a header; accepted: "}},
    {"HeaderProxy", on_pool("-pass-header proxy"), {"-pass-header proxy: never passed", "accepted: any other header"}},
    // mounts
    {"MountWithoutSlash",
     on_pool("-mount app"),
     {"-mount app: does not begin with a slash; accepted: / or a path like /app"}},
    {"MountDots", on_pool("-mount /a/../b"), {"-mount /a/../b: has a segment . or .."}},
    {"MountTwoSlashes", on_pool("-mount //a"), {"-mount //a: has an empty segment"}},
    {"MountEncoded", on_pool("-mount /a%20b"), {"has one of the characters ? # %"}},
    {"MountQuery", on_pool("-mount /a?b"), {"has one of the characters ? # %"}},
    // names
    {"MisspeltOption", on_pool("-proceses 4"), {"-proceses: there is no such option; did you mean -processes?"}},
    {"SwappedOption", on_pool("-idle-timeuot 4"), {"did you mean -idle-timeout?"}},
    {"OptionWithoutDash", on_pool("processes 4"), {"processes: there is no such option; did you mean -processes?"}},
    {"OptionWithTwoDashes", on_pool("--processes 4"), {"did you mean -processes?"}},
    {"UnknownOption",
     on_pool("-frobnicate"),
     {"-frobnicate: there is no such option; accepted: -appConnTimeout, -autoUpdate, "}},
    {"OptionTwice", on_pool("-processes 2 -Processes 3"), {"-Processes: given twice; accepted: once"}},
    {"NotUtf8", on_pool("-initial-env A=\xff"), {"is not UTF-8"}},
    {"NotUtf8Overlong", on_pool("-initial-env A=\xc0\xaf"), {"is not UTF-8"}},
    // mod_fastcgi's that are not there yet
    {"User", on_pool("-user nobody"), {"-user: not yet available", "workers run as httpd's User"}},
    {"MaxProcessesBelowProcesses",
     on_pool("-maxProcesses 2 -processes 4"),
     {"-max-processes 2: below -processes 4; accepted: 4 to 1024, or a smaller -processes"}},
    {"MaxProcessesTwice", on_pool("-max-processes 2 -maxProcesses 2"), {"-maxProcesses: given twice; accepted: once"}},
    {"MaxProcessesZero", on_pool("-max-processes 0"), {"-max-processes 0: out of range; accepted: 1 to 1024"}},
    {"IdleProcessTimeoutTooShort",
     on_pool("-idle-process-timeout 99ms"),
     {"-idle-process-timeout 99ms: out of range; accepted: ", "from 100ms to 24h"}},
    {"ScaleGuardTooMuch", on_pool("-scale-guard 91"), {"-scale-guard 91: not a limit; accepted: per cent of memory"}},
    {"ScaleGuardWord", on_pool("-scale-guard 5,much"), {"-scale-guard 5,much: not a limit; accepted: per cent of"}},
    {"KillInterval",
     on_pool("-killInterval 9"),
     {"-killInterval: is for applications without a FastCgiServer line: write it in FastCgiConfig"}},
    {"Wrapper", "FastCgiWrapper On", {"FastCgiWrapper: not yet available"}},
    {"Suexec", "FastCgiSuexec On", {"FastCgiSuexec: not yet available"}},
    {"AccessChecker",
     "<Location />\nFastCgiAccessChecker /x\n</Location>",
     {"FastCgiAccessChecker: not yet available"}},
    {"QuoteWithoutItsEnd",
     on_pool("-initial-env \"A=x -processes 2"),
     {"FastCgiServer: \"A=x -processes 2: a quote without its end; accepted: \"two words\""}},
    {"QuoteWithoutItsEndButEscaped",
     on_pool("-initial-env 'A=x\\\\' -initial-env 'B=\\'"),
     {"a quote without its end"}},
    // FastCgiConfig
    {"ConfigEmpty", "FastCgiConfig", {"FastCgiConfig: its options are missing; accepted: -option [value] ..."}},
    {"ConfigWithProgram", "FastCgiConfig @ROOT@/bin/hello", {"FastCgiConfig: ", "/bin/hello: there is no such option"}},
    {"ConfigMisspelt",
     "FastCgiConfig -maxProceses 5",
     {"-maxProceses: there is no such option; did you mean -maxProcesses?"}},
    {"ConfigUnknown",
     "FastCgiConfig -frobnicate",
     {"-frobnicate: there is no such option; accepted: ", "-killInterval, "}},
    {"ConfigTwice", "FastCgiConfig -maxProcesses 5 -MAXPROCESSES 6", {"-MAXPROCESSES: given twice; accepted: once"}},
    {"ConfigMaxZero", "FastCgiConfig -maxProcesses 0", {"-maxProcesses 0: out of range; accepted: 1 to 4096"}},
    {"ConfigMaxTooMany", "FastCgiConfig -maxProcesses 4097", {"-maxProcesses 4097: out of range; accepted: 1 to 4096"}},
    {"ConfigMinWord",
     "FastCgiConfig -minProcesses few",
     {"-minProcesses few: not a whole number; accepted: 0 to 4096"}},
    {"ConfigClassZero",
     "FastCgiConfig -maxClassProcesses 0",
     {"-maxClassProcesses 0: out of range; accepted: 1 to 1024"}},
    {"ConfigKillZero",
     "FastCgiConfig -killInterval 0",
     {"-killInterval 0: out of range; accepted: ", "from 100ms to 24h"}},
    {"ConfigGainWord", "FastCgiConfig -gainValue half", {"-gainValue half: not a number in range; accepted: 0 to 1"}},
    {"ConfigGainTail", "FastCgiConfig -gainValue 0.5x", {"-gainValue 0.5x: not a number in range"}},
    {"ConfigGainTooHigh", "FastCgiConfig -gainValue 1.5", {"-gainValue 1.5: not a number in range; accepted: 0 to 1"}},
    {"ConfigGainNan", "FastCgiConfig -gainValue nan", {"-gainValue nan: not a number in range"}},
    {"ConfigThreshold",
     "FastCgiConfig -singleThreshold 101",
     {"-singleThreshold 101: out of range; accepted: 0 to 100"}},
    {"ConfigThreshhold",
     "FastCgiConfig -multiThreshhold -1",
     {"-multiThreshhold -1: not a whole number; accepted: 0 to 100"}},
    {"ConfigSlackZero", "FastCgiConfig -processSlack 0", {"-processSlack 0: out of range; accepted: 1 to 4096"}},
    {"ConfigStartDelay", "FastCgiConfig -startDelay soon", {"-startDelay soon: not a time; accepted: "}},
    {"ConfigUpdateInterval", "FastCgiConfig -updateInterval 0", {"-updateInterval 0: out of range; accepted: "}},
    {"ConfigProcesses",
     "FastCgiConfig -processes 4",
     {"-processes: is for applications with a FastCgiServer line; accepted here: -maxClassProcesses n"}},
    {"ConfigMount",
     "FastCgiConfig -mount /x",
     {"-mount: is for one application: write it in that one's FastCgiServer line"}},
    {"ConfigMissing", "FastCgiConfig -maxProcesses", {"-maxProcesses: its value is missing"}},
    {"ConfigQuote", "FastCgiConfig -initial-env \"A=x", {"a quote without its end"}},
    {"ConfigHost",
     "FastCgiConfig -host 127.0.0.1:9000",
     {"-host: is for an application that something else starts: write it in that one's FastCgiExternalServer line"}},
    {"ConfigPort",
     "FastCgiConfig -port 9000",
     {"-port: is for one application: write it in that one's FastCgiServer line"}},
    {"ConfigSocket",
     "FastCgiConfig -socket x",
     {"-socket: is for one application: write it in that one's FastCgiServer or FastCgiExternalServer line"}},
    {"ConfigConnections",
     "FastCgiConfig -max-connections 4",
     {"-max-connections: is for an application that something else starts: "}},
    // external applications
    {"ExternalWithoutName",
     "FastCgiExternalServer",
     {"FastCgiExternalServer: the name is missing; accepted: FastCgiExternalServer name -host host:port | -socket"}},
    {"ExternalWithoutPlace",
     on_external("-flush"),
     {"FastCgiExternalServer: /x/app: it does not say where the application listens; accepted: -host host:port, or"}},
    {"ExternalHostWithoutPort", on_external("-host a.example"), {"-host a.example: not host:port; accepted: a name"}},
    {"ExternalHostPortZero", on_external("-host a.example:0"), {"-host a.example:0: not host:port; accepted: "}},
    {"ExternalHostSixWithoutBrackets", on_external("-host ::1:9000"), {"-host ::1:9000: not host:port", "[::1]:9000"}},
    {"ExternalHostUnknown",
     on_external("-host no.such.host.invalid:9000"),
     {"FastCgiExternalServer: /x/app: -host no.such.host.invalid:9000: its name is not known: ",
      "accepted: host:port"}},
    {"ExternalHostAndSocket",
     on_external("-host 127.0.0.1:9000 -socket /x"),
     {"-host and -socket: accepted: one or more -host, or one -socket"}},
    {"ExternalTwoSockets", on_external("-socket /x -socket /y"), {"-socket: given twice; accepted: once"}},
    {"ExternalSocketTooLong",
     on_external("-socket /" + std::string(107, 'x')),
     {"FastCgiExternalServer: /x/app: -socket /x", "too long for a socket's path; accepted: at most 107 bytes"}},
    {"ExternalSocketIsNoFile", on_external("-socket /x/"), {"-socket /x/: not a file; accepted: a path, or a name"}},
    {"ExternalConnections",
     on_external("-host 127.0.0.1:9000 -max-connections 4097"),
     {"-max-connections 4097: out of range; accepted: 1 to 4096"}},
    {"ExternalProcesses",
     on_external("-host 127.0.0.1:9000 -processes 4"),
     {"-processes: not for FastCgiExternalServer, whose workers nobody starts here; accepted: -appConnTimeout, "
      "-flush"}},
    {"ExternalPort", on_external("-port 9000"), {"-port: not for FastCgiExternalServer"}},
    {"ExternalUser", on_external("-user nobody"), {"-user: is for workers that are started here: remove it"}},
    {"ExternalMaxProcesses", on_external("-maxProcesses 4"), {"-maxProcesses: not for FastCgiExternalServer"}},
    {"ExternalKillInterval",
     on_external("-killInterval 4"),
     {"-killInterval: is for applications without a FastCgiServer line: write it in FastCgiConfig"}},
    {"ExternalQueueTimeouts",
     on_external("-socket /x -queue-timeout 2 -appConnTimeout 3"),
     {"-appConnTimeout 3: means the same as -queue-timeout, which is 2; accepted: one of them"}},
    {"ExternalMisspelt", on_external("-hots 127.0.0.1:9000"), {"-hots: there is no such option; did you mean -host?"}},
    {"ExternalTwice",
     on_external("-socket /x") + "\n" + on_external("-socket /y"),
     {"/x/app: already declared for the main server"}},
    {"ExternalInLocation",
     "<Location />\nFastCgiExternalServer /x -socket /y\n</Location>",
     {"FastCgiExternalServer", "not allowed"}},
    {"ExternalTooManyTogether",
     on_external("-host 127.0.0.1:1 -host 127.0.0.1:2 -max-connections 4096") + "\n" + on_pool("") + "\n" +
         "FastCgiExternalServer /x/other" +
         [] {
           std::string hosts;
           for (int i = 1; i <= 64; ++i) hosts += " -host 127.0.0.1:" + std::to_string(i);
           return hosts;
         }() +
         " -max-connections 4096",
     {"FastCgiExternalServer: /x/other: -max-connections 4096: counts as a process for each 64 of an endpoint, and "
      "brings the total of all pools to 4225; accepted: at most 4096"}},
    {"MaxProcessesTooManyTogether",
     on_external("-host 127.0.0.1:1 -host 127.0.0.1:2 -max-connections 4096") + "\n" +
         "FastCgiExternalServer /x/other" +
         [] {
           std::string hosts;
           for (int i = 1; i <= 62; ++i) hosts += " -host 127.0.0.1:" + std::to_string(i);
           return hosts;
         }() +
         " -max-connections 4096\n" + on_pool("-processes 1 -max-processes 2"),
     {"/bin/hello: -max-processes 2: brings the total of all pools to 4098; accepted: at most 4096"}},
    // sockets that workers share
    {"HostOfAPool",
     on_pool("-host 127.0.0.1:9000"),
     {"-host: not for FastCgiServer, which starts its own workers; accepted: -appConnTimeout"}},
    {"PortZero", on_pool("-port 0"), {"-port 0: not a port; accepted: 1 to 65535, or with an address: 0.0.0.0:9000"}},
    {"PortTooHigh", on_pool("-port 65536"), {"-port 65536: not a port"}},
    {"PortWithName", on_pool("-port localhost:9000"), {"-port localhost:9000: not a port; accepted: "}},
    {"PortAndSocket", on_pool("-port 9000 -socket x"), {"-port and -socket: accepted: one of them"}},
    {"PortTwice",
     on_pool("-port 9000") + "\nFastCgiServer @ROOT@/modules/cppfcgi-manager -port 127.0.0.1:9000",
     {"-port 127.0.0.1:9000: already taken by ", "/bin/hello, at "}},
    {"PortAndCheck",
     on_pool("-port 9000 -deploy roll -deploy-check /x"),
     {"-deploy-check and -port: on a socket that"}},
    {"SocketAndProbe", on_pool("-socket x -probe-interval 5"), {"-probe-interval and -socket: on a socket that all"}},
    {"SocketTwice",
     on_pool("-socket x") + "\nFastCgiServer @ROOT@/modules/cppfcgi-manager -socket x",
     {"/cppfcgi/x: already taken by ", "/bin/hello, at "}},
    {"SocketNowhere",
     on_pool("-socket @ROOT@/missing/x"),
     {"-socket ", "/missing/x: User ", "may not write there: ", "accepted: a file in a folder that this user may"}},
    {"SocketTooLong",
     on_pool("-socket " + std::string(107, 'x')),
     {"-socket ", "too long for a socket's path; accepted: at most 107 bytes"}},
    // places
    {"ConfigInLocation", "<Location />\nFastCgiConfig -maxProcesses 5\n</Location>", {"FastCgiConfig", "not allowed"}},
    {"PoolInLocation", "<Location />\nFastCgiServer @ROOT@/bin/hello\n</Location>", {"FastCgiServer", "not allowed"}},
    {"IpcFolderInHost",
     "<VirtualHost *:80>\nFastCgiIpcDir /tmp\n</VirtualHost>",
     {"FastCgiIpcDir: accepted for the whole server only"}},
    {"ManagerInHost",
     "<VirtualHost *:80>\nFastCgiManager /x\n</VirtualHost>",
     {"FastCgiManager: accepted for the whole server only"}},
    {"IpcFolderTwice",
     "FastCgiIpcDir @ROOT@/a\nFastCgiIpcDir @ROOT@/b",
     {"FastCgiIpcDir: already given, at ", "httpd.conf:"}},
    // files
    {"NoProgram", "FastCgiServer", {"FastCgiServer: the program is missing; accepted: FastCgiServer program"}},
    {"OptionForProgram", "FastCgiServer -processes 3", {"\"-processes\" is not a program; accepted: "}},
    {"ProgramMissing",
     "FastCgiServer @ROOT@/bin/missing",
     {"FastCgiServer: ", "/bin/missing: no such program: No such file or directory; accepted: "}},
    {"ProgramIsFolder", "FastCgiServer @ROOT@/bin", {"is a folder; accepted: the path of an executable file"}},
    {"ProgramBelowFile", "FastCgiServer @ROOT@/bin/hello/x", {"Not a directory"}},
    {"ProgramIsDevice", "FastCgiServer /dev/null", {"/dev/null: is not a regular file; accepted: "}},
    {"ProgramNotExecutable",
     "FastCgiServer @ROOT@/bin/plain.txt",
     {"may not execute it: ", "Permission denied; accepted: "}},
    {"RelativeMissing", "FastCgiServer bin/missing", {"FastCgiServer: ", "/bin/missing: no such program"}},
    {"SameProgramTwice",
     on_pool("") + "\nFastCgiServer bin/../bin/hello -processes 2",
     {"already declared for the main server, at ", "httpd.conf:"}},
    {"SameMountTwice",
     on_pool("-mount /a") + "\nFastCgiServer @ROOT@/modules/cppfcgi-manager -mount /a/",
     {"-mount /a: already taken in the main server by ", "/bin/hello, at "}},
    {"IpcFolderIsFile", "FastCgiIpcDir @ROOT@/bin/hello", {"FastCgiIpcDir: ", "/bin/hello: not a folder"}},
    {"IpcFolderTooLong",
     "FastCgiIpcDir /tmp/" + std::string(75, 'x'),
     {"FastCgiIpcDir: ", "too long for a socket's path; accepted: at most 77 bytes"}},
    {"IpcFolderNowhere",
     "FastCgiIpcDir @ROOT@/missing/ipc",
     {"FastCgiIpcDir: ", "cannot be created", "No such file or directory"}},
    {"ManagerMissing",
     "FastCgiManager @ROOT@/bin/missing",
     {"FastCgiManager: ", "no such program", "accepted: the path of the program cppfcgi-manager"}},
    {"ManagerNotExecutable", "FastCgiManager @ROOT@/bin/plain.txt", {"FastCgiManager: ", "may not execute it"}},
};

INSTANTIATE_TEST_SUITE_P(Configuration, EachMistake, testing::ValuesIn(mistakes),
                         [](const auto& test) { return test.param.name; });

TEST(Configuration, EveryGoodFormPasses) {
  HttpdServer httpd({.config = R"(
FastCgiIpcDir @ROOT@/tmp
FastCgiManager @ROOT@/modules/cppfcgi-manager
FastCgiServer bin/hello -processes 4 -initial-env A=1 -initial-env PATH -initial-env "B=two words" -initial-env C= -initial-env 'D=\'"\\' \
  -idle-timeout 500ms -appConnTimeout 0 -listen-queue-depth 1 -flush -pass-header Authorization -pass-header X-One \
  -priority 19 -restart-delay 0 -init-start-delay 2s -min-server-life 5min -nph -mount / -port [::]:9000
FastCgiExternalServer missing/app -host 127.0.0.1:9000 -HOST [::1]:9000 -host localhost:9000 -appConnTimeout 5 \
  -idle-timeout 60 -flush -pass-header Authorization -nph -mount /external -request-timeout 0 -retries 2 -max-connections 4096
<VirtualHost *:81>
  ServerName a.example
  FastCgiExternalServer missing/app -socket app.sock
  FastCgiServer @ROOT@/bin/hello -socket other.sock -PROCESSES 2 -Mount /app/ -APPCONNTIMEOUT 1h -Idle-Timeout 86400
</VirtualHost>
<VirtualHost *:81>
  ServerName b.example
  AppClass @ROOT@/modules/cppfcgi-manager
  ExternalAppClass /x -socket @ROOT@/app.sock
  FastCgiServer @ROOT@/bin/hello -initial-env "Ä=ö" -autoUpdate -deploy-check /health?deep=1 -max-requests 0 \
    -max-lifetime 1h -max-rss 64M -probe-interval 0 -request-timeout 30 -retries 0 \
    -chdir bin -umask 027 -rlimit-as 4G -rlimit-nofile 64 -rlimit-cpu 1h -rlimit-core unlimited \
    -max-processes 8 -idle-process-timeout 100ms -scale-guard 10,0 \
    -queue 0 -queue-timeout 2 -appConnTimeout 2s -max-threads 1024
</VirtualHost>
<VirtualHost *:81>
  ServerName c.example
  FastCgiServer @ROOT@/bin/hello -queue 1024 -queue-timeout 1ms -appConnTimeout 0 -max-threads 1
</VirtualHost>)"});
  httpd.install("samples/hello");
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("Syntax OK"), std::string::npos) << result.output;
}

// Each option of mod_fastcgi's manual, its misspelt ones and its old name too; several lines, as there.
TEST(Configuration, EveryGoodFormOfFastCgiConfigPasses) {
  HttpdServer httpd({.config = R"(
FastCgiConfig -appConnTimeout 0 -autoUpdate -flush -gainValue 0.5 -idle-timeout 30 -initial-env A=1 -initial-env PATH \
  -init-start-delay 1 -killInterval 300 -listen-queue-depth 100 -maxClassProcesses 10 -maxProcesses 50 -min-server-life 30
FastCgiConfig -minProcesses 5 -multiThreshold 50 -pass-header Authorization -priority 0 -processSlack 5 -restart \
  -restart-delay 5 -singleThreshold 0 -startDelay 3 -updateInterval 300
FCGIConfig -multiThreshhold 100 -singleThreshhold 0 -gainvalue 1 -KILLINTERVAL 100ms
<VirtualHost *:81>
  ServerName a.example
  FastCgiConfig -maxProcesses 1 -max-requests 100 -request-timeout 30 -retries 0 -drain-timeout 5 -deploy roll -gainValue 0
</VirtualHost>)"});
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(Configuration, ALineMayHaveManyVariables) {
  std::string options;
  for (int i = 0; i < 100; ++i) options += " -initial-env N" + std::to_string(i) + "=x";
  HttpdServer httpd({.config = on_pool(options)});
  httpd.install("samples/hello");
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(Configuration, ConfigtestLeavesNothingAndStartsNothing) {
  HttpdServer httpd({.config = on_pool("-mount /")});
  httpd.install("samples/hello");
  EXPECT_EQ(httpd.configtest().status, 0);
  EXPECT_TRUE(std::filesystem::is_empty(httpd.root() + "/run"));
  EXPECT_TRUE(httpd.managers().empty());
}

TEST(Configuration, TheTotalOfProcessesIsLimited) {
  std::string config;
  for (int i = 1; i <= 5; ++i) config += "\nFastCgiServer @ROOT@/bin/hello" + std::to_string(i) + " -processes 1000";
  HttpdServer httpd({.config = config});
  for (int i = 1; i <= 5; ++i) httpd.install("samples/hello", "hello" + std::to_string(i));
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(matches(result.output,
                      "on line [0-9]+ of .*/httpd.conf: FastCgiServer: .*/hello5: -processes 1000: brings the total of "
                      "all pools to 5000; accepted: at most 4096"))
      << result.output;
}

TEST(Configuration, TheNumberOfPoolsIsLimited) {
  std::string config;
  for (int i = 0; i < 257; ++i)
    config += "\n<VirtualHost *:81>\nServerName h" + std::to_string(i) +
              ".example\nFastCgiServer @ROOT@/bin/hello\n</VirtualHost>";
  HttpdServer httpd({.config = config});
  httpd.install("samples/hello");
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(matches(result.output, "one FastCgiServer too many; accepted: at most 256")) << result.output;
}

TEST(Configuration, EveryWrongProgramIsToldAtOnce) {
  HttpdServer httpd({.config = "FastCgiServer bin/one\nFastCgiServer bin/two"});
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(matches(result.output, "/bin/one: no such program")) << result.output;
  EXPECT_TRUE(matches(result.output, "/bin/two: no such program")) << result.output;
}

// What only root can set up: httpd's User is another.
class AsRoot : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

TEST_F(AsRoot, AFolderThatUserMayNotEnterIsNamed) {
  HttpdServer httpd({.config = "FastCgiServer @ROOT@/closed/hello"});
  std::filesystem::create_directory(httpd.root() + "/closed");
  copy_program(product("samples/hello"), httpd.root() + "/closed/hello");
  ASSERT_EQ(chmod((httpd.root() + "/closed").c_str(), 0700), 0);
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(matches(result.output, "User www-data may not execute it: folder .*/closed: Permission denied"))
      << result.output;
}

TEST_F(AsRoot, AnIpcFolderThatUserMayNotWriteIsRefused) {
  HttpdServer httpd({.config = "FastCgiIpcDir @ROOT@/htdocs\nFastCgiServer @ROOT@/bin/hello"});
  httpd.install("samples/hello");
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(matches(result.output,
                      "FastCgiIpcDir: .*/htdocs: User www-data may not write there: .*Permission denied; accepted: a "
                      "folder that this user may write"))
      << result.output;
}

TEST_F(AsRoot, AnIpcFolderInAClosedFolderIsRefused) {
  HttpdServer httpd({.config = "FastCgiIpcDir @ROOT@/closed/ipc\nFastCgiServer @ROOT@/bin/hello"});
  httpd.install("samples/hello");
  std::filesystem::create_directory(httpd.root() + "/closed");
  ASSERT_EQ(chmod((httpd.root() + "/closed").c_str(), 0700), 0);
  const RunResult result = httpd.configtest();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(matches(result.output, "FastCgiIpcDir: .*User www-data may not .*Permission denied")) << result.output;
}

TEST(Configuration, WithoutAnyManagerTheLookedAtPlacesAreNamed) {
  HttpdServer httpd({.config = on_pool("")});
  httpd.install("samples/hello");
  std::filesystem::remove(httpd.root() + "/modules/cppfcgi-manager");
  const RunResult result = httpd.configtest();
  if (result.status == 0) GTEST_SKIP() << "a manager is installed on this machine";
  EXPECT_TRUE(matches(result.output,
                      "on line [0-9]+ of .*: FastCgiServer: needs the program cppfcgi-manager: "
                      ".*/modules/cppfcgi-manager: no such program.*/cppfcgi/cppfcgi-manager.*FastCgiManager"))
      << result.output;
}

}  // namespace
}  // namespace cppfcgi::test
