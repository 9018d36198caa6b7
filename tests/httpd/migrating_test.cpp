// Every example of docs/migrating.md, run as it stands: a comment before it says what must be there, and what the
// server must answer then. Paths and ports are moved to the test's own.
//
//   modules NAME …                        of httpd, beside the rig's
//   program PATH PRODUCT                  an executable file
//   external ADDRESS PRODUCT              a process that listens
//   file PATH TEXT                        a file to be read
//   get URL STATUS [TEXT]                 the answer's status, and what must be in its body ("… is not here": must not)
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <sstream>

#include "tests/support/fastcgi_client.h"
#include "tests/support/http_client.h"
#include "tests/support/httpd_server.h"

namespace cppfcgi::test {
namespace {

namespace fs = std::filesystem;

struct Example {
  int line = 0;  // of the page
  std::vector<std::vector<std::string>> orders;
  std::string config;
};
void PrintTo(const Example& example, std::ostream* out) { *out << "docs/migrating.md:" << example.line; }

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  return {std::istream_iterator<std::string>(stream), {}};
}

std::string rest_from(const std::vector<std::string>& words, std::size_t first) {
  std::string text;
  for (std::size_t i = first; i < words.size(); ++i) text += (text.empty() ? "" : " ") + words[i];
  return text;
}

std::vector<Example> examples() {
  std::istringstream page(read_file("docs/migrating.md"));
  std::vector<Example> all;
  Example next;
  enum class Part { text, orders, config } part = Part::text;
  int number = 0;
  for (std::string line; std::getline(page, line);) {
    ++number;
    if (line == "<!-- run") {
      next = {.line = number, .orders = {}, .config = ""};
      part = Part::orders;
    } else if (part == Part::orders && line != "-->" && line != "```apache") {
      next.orders.push_back(words_of(line));
    } else if (part == Part::orders && line == "```apache") {
      part = Part::config;
    } else if (part == Part::config && line == "```") {
      all.push_back(next);
      part = Part::text;
    } else if (part == Part::config) {
      next.config += line + "\n";
    }
  }
  return all;
}

class Migrating : public testing::TestWithParam<Example> {
 protected:
  void prepare(HttpdServer& httpd) {
    for (const auto& order : GetParam().orders) {
      if (order[0] == "program") {
        const std::string to = httpd.root() + "/fs" + order[1];
        fs::create_directories(fs::path(to).parent_path());
        fs::copy_file(httpd.install(order[2]), to);
      }
      if (order[0] == "file") {
        fs::create_directories(fs::path(httpd.root() + "/fs" + order[1]).parent_path());
        httpd.write("fs" + order[1], rest_from(order, 2));
      }
    }
    for (const char* folder : {"/fs/tmp", "/fs/var/www/html", "/fs/usr/lib/cgi-bin"})
      fs::create_directories(httpd.root() + folder);
    fs::permissions(httpd.root() + "/fs/tmp", fs::perms::all | fs::perms::sticky_bit);
  }

  std::vector<std::string> modules() const {
    for (const auto& order : GetParam().orders)
      if (order[0] == "modules") return {order.begin() + 1, order.end()};
    return {};
  }

  // The example's text with the test's own paths and ports.
  std::string moved() {
    static const std::regex path(R"re(([ "=])/(srv|usr|var|tmp|opt|run|home|some)(?=[/\s]))re");
    std::string text = std::regex_replace(GetParam().config, path, "$1@ROOT@/fs/$2");
    for (const auto& order : GetParam().orders) {
      if (order[0] != "external") continue;
      external_.push_back(std::make_unique<WorkerProcess>(
          WorkerOptions{.command = {product(order[2])}, .environment = {}, .is_on_port = true}));
      const std::string port = ":" + std::to_string(external_.back()->port());
      text = std::regex_replace(text, std::regex(order[1]), order[1].substr(0, order[1].rfind(':')) + port);
    }
    return text;
  }

  std::vector<std::unique_ptr<WorkerProcess>> external_;
};

TEST_P(Migrating, ExampleServes) {
  HttpdServer httpd(
      {.modules = modules(), .config = "<IfModule mod_mime.c>\nTypesConfig /dev/null\n</IfModule>\n" + moved()});
  prepare(httpd);
  httpd.start();
  for (const auto& order : GetParam().orders) {
    if (order[0] != "get") continue;
    const HttpResponse response = get(httpd.port(), order[1]);
    EXPECT_EQ(std::to_string(response.status), order[2]) << order[1] << ": " << response.body;
    const std::string text = rest_from(order, 3);
    if (const std::size_t absent = text.find(" is not here"); absent != text.npos) {
      EXPECT_EQ(response.body.find(text.substr(0, absent)), std::string::npos) << order[1] << ": " << response.body;
    } else {
      EXPECT_NE(response.body.find(text), std::string::npos) << order[1] << ": no " << text << " in " << response.body;
    }
  }
}

std::string name_of(const testing::TestParamInfo<Example>& info) { return "Line" + std::to_string(info.param.line); }

INSTANTIATE_TEST_SUITE_P(Page, Migrating, testing::ValuesIn(examples()), name_of);

TEST(OldName, IsOursOverGracefulRestarts) {
  HttpdServer httpd({.config = "<IfModule mod_fastcgi.c>\n"
                               "FastCgiServer @ROOT@/bin/echo -mount /echo\n</IfModule>\n"});
  httpd.install("samples/echo");
  httpd.start();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(get(httpd.port(), "/echo/pid").status, 200) << "after " << i << " restarts";
    if (i == 1) httpd.restart();
    if (i == 0) httpd.graceful();
  }
}

TEST(MigratingPage, HasItsExamples) { EXPECT_GE(examples().size(), 8U); }

}  // namespace
}  // namespace cppfcgi::test
