// Where temporary files go, and that they have no name there.
#include "mod_cppfcgi/core/temp_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>

#include "tests/support/temp_folder.h"

namespace cppfcgi {
namespace {

using test::TempFolder;

// The environment of this process, as it was, at the end.
class TempFile : public testing::Test {
 protected:
  TempFile() {
    for (const char* name : {"TMP", "TEMP", "TMPDIR"}) {
      const char* value = ::getenv(name);
      before_[name] = value == nullptr ? std::nullopt : std::optional<std::string>(value);
      ::unsetenv(name);
    }
  }
  ~TempFile() override {
    for (const auto& [name, value] : before_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }

  const TempFolder folder_{"cppfcgi-temp"};

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

TEST_F(TempFile, GoesToTheFolderThatTheEnvironmentNames) {
  ::setenv("TMPDIR", folder_.path().c_str(), 1);
  EXPECT_EQ(find_temp_folder(), folder_.path());
}

TEST_F(TempFile, GoesToTheNextFolderWhereOneCannotBeWrittenTo) {
  ::setenv("TMP", (folder_ / "missing").c_str(), 1);
  ::setenv("TEMP", folder_.path().c_str(), 1);
  EXPECT_EQ(find_temp_folder(), folder_.path());
}

TEST_F(TempFile, GoesToTmpWhereTheEnvironmentSaysNothingOfUse) {
  ::setenv("TMPDIR", "relative", 1);
  ::setenv("TMP", "", 1);
  EXPECT_EQ(find_temp_folder(), "/tmp");
}

// A child of httpd's that was killed just then left one.
TEST_F(TempFile, IsNeverSeenInItsFolder) {
  ::setenv("TMPDIR", folder_.path().c_str(), 1);
  const auto before = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
  std::filesystem::last_write_time(folder_.path(), before);
  const auto file = make_temp_file(find_temp_folder());
  ASSERT_TRUE(file);
  ASSERT_TRUE(write_all(file->get(), "x", 1));
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  EXPECT_EQ(std::filesystem::last_write_time(folder_.path()), before) << "a name has come and gone";
}

}  // namespace
}  // namespace cppfcgi
