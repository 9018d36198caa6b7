#include "tests/chaos/table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>

namespace cppfcgi::test {
namespace {

using Row = std::vector<std::string>;

class Tables : public testing::Environment {
 public:
  std::map<std::string, std::vector<Row>>& rows() { return rows_; }
  void TearDown() override {
    for (const auto& [title, rows] : rows_) print(title, rows);
  }

 private:
  static void print(const std::string& title, const std::vector<Row>& rows) {
    std::vector<std::size_t> widths(rows.front().size());
    for (const Row& row : rows) {
      for (std::size_t i = 0; i < widths.size() && i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::cout << "\n" << title << "\n";
    for (const Row& row : rows) {
      for (std::size_t i = 0; i < widths.size() && i < row.size(); ++i) {
        std::cout << fmt::format("| {:<{}} ", row[i], widths[i]);
      }
      std::cout << "|\n";
    }
    std::cout << std::flush;
  }

  std::map<std::string, std::vector<Row>> rows_;
};

// GoogleTest owns it.
Tables& tables() {
  static auto* const only =
      static_cast<Tables*>(testing::AddGlobalTestEnvironment(std::make_unique<Tables>().release()));
  return *only;
}
[[maybe_unused]] const Tables& registered_before_the_tests_run = tables();

}  // namespace

void add_row(const std::string& title, const Row& columns, const Row& cells) {
  auto& rows = tables().rows()[title];
  if (rows.empty()) rows.push_back(columns);
  rows.push_back(cells);
}

}  // namespace cppfcgi::test
