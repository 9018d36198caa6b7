// What parse_arguments takes from a command line, and what it leaves to the application.
#include <cppfcgi/worker.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace cppfcgi {
namespace {

Options parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "worker");
  return parse_arguments(static_cast<int>(arguments.size()), arguments.data());
}

TEST(Arguments, HaveDefaults) {
  const Options options = parse({});
  EXPECT_EQ(options.threads, 1u);
  EXPECT_EQ(options.listen, "");
  EXPECT_EQ(options.grace, std::chrono::seconds(10));
}

TEST(Arguments, AreTakenInBothForms) {
  const Options options = parse({"--threads", "4", "--listen=/run/x.sock", "--grace", "3"});
  EXPECT_EQ(options.threads, 4u);
  EXPECT_EQ(options.listen, "/run/x.sock");
  EXPECT_EQ(options.grace, std::chrono::seconds(3));
}

TEST(Arguments, OfTheApplicationAreLeftAlone) {
  EXPECT_EQ(parse({"--database", "x.db", "file", "-v", "--threads", "2"}).threads, 2u);
}

TEST(Arguments, ThatCannotBeAreRefused) {
  for (const std::vector<const char*>& arguments : std::vector<std::vector<const char*>>{{"--threads"},
                                                                                         {"--threads", "0"},
                                                                                         {"--threads", "-1"},
                                                                                         {"--threads", "two"},
                                                                                         {"--threads", "2x"},
                                                                                         {"--threads="},
                                                                                         {"--threads", "99999"},
                                                                                         {"--grace", "-1"},
                                                                                         {"--grace"},
                                                                                         {"--listen"},
                                                                                         {"--listen="}}) {
    EXPECT_THROW(parse(arguments), std::invalid_argument) << testing::PrintToString(arguments);
  }
}

}  // namespace
}  // namespace cppfcgi
