#include "mod_cppfcgi/manager/scale_guard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/temp_folder.h"

namespace cppfcgi::test {
namespace {

using namespace std::chrono_literals;

class Guard : public testing::Test {
 protected:
  Guard() {
    write("/proc/meminfo", "MemTotal:       1000000 kB\nMemFree:           10 kB\nMemAvailable:    500000 kB\n");
    write("/proc/loadavg", "0.50 0.40 0.30 1/100 4711\n");
    write("/proc/self/cgroup", "0::/system.slice/apache2.service\n");
  }
  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_.path() + name;
    std::filesystem::create_directories(path.parent_path());
    write_file(path, text);
  }
  void limit_group(const std::string& group, const std::string& limit, const std::string& used,
                   const std::string& cache = "0") {
    write("/sys/fs/cgroup" + group + "/memory.max", limit + "\n");
    write("/sys/fs/cgroup" + group + "/memory.current", used + "\n");
    write("/sys/fs/cgroup" + group + "/memory.stat", "anon 5\ninactive_file " + cache + "\n");
  }
  std::string shortage(const ScaleGuard::Limits& limits = {}) {
    return ScaleGuard(limits, folder_.path()).shortage(ScaleGuard::Time{1h});
  }

  TempFolder folder_{"cppfcgi-guard"};
};

TEST_F(Guard, LetsWorkersStartWhereThereIsRoom) { EXPECT_EQ(shortage(), ""); }

TEST_F(Guard, SeesThatMemoryIsShort) {
  EXPECT_EQ(shortage({.memory_percent = 51}), "50.0 % of the memory are available");
  EXPECT_EQ(shortage({.memory_percent = 0}), "");
}

TEST_F(Guard, SeesTheLimitOfItsControlGroupAndOfThoseAbove) {
  limit_group("/system.slice/apache2.service", "max", "99");
  EXPECT_EQ(shortage(), "");
  limit_group("/system.slice", "1000", "960");
  EXPECT_EQ(shortage(), "4.0 % of the control group's memory are available");
  limit_group("/system.slice", "1000", "960", "100");
  EXPECT_EQ(shortage(), "") << "what is in the cache can be let go";
}

TEST_F(Guard, SeesTheLimitOfAContainerThatIsItsOwnRoot) {
  write("/proc/self/cgroup", "0::/\n");
  limit_group("/", "1000", "990");
  EXPECT_EQ(shortage(), "1.0 % of the control group's memory are available");
}

TEST_F(Guard, SeesTheLoad) {
  const auto processors = sysconf(_SC_NPROCESSORS_ONLN);
  write("/proc/loadavg", std::to_string(21 * processors) + ".00 0.40 0.30 1/100 4711\n");
  EXPECT_EQ(shortage(), "the load is 21.0 for each processor");
  EXPECT_EQ(shortage({.load = 0}), "");
}

TEST_F(Guard, HoldsNobodyBackForWhatItCannotRead) {
  EXPECT_EQ(ScaleGuard({.memory_percent = 90, .load = 1}, folder_ / "nothing").shortage(ScaleGuard::Time{1h}), "");
}

TEST_F(Guard, LooksAnewAfterAWhile) {
  ScaleGuard guard({.memory_percent = 10}, folder_.path());
  EXPECT_EQ(guard.shortage(ScaleGuard::Time{1h}), "");
  write("/proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 5 kB\n");
  EXPECT_EQ(guard.shortage(ScaleGuard::Time{1h} + 99ms), "");
  EXPECT_EQ(guard.shortage(ScaleGuard::Time{1h} + 100ms), "5.0 % of the memory are available");
}

}  // namespace
}  // namespace cppfcgi::test
