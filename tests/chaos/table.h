// The tables that the chaos suite prints at its end, for people; the bars are asserted by the tests themselves.
#pragma once

#include <string>
#include <vector>

namespace cppfcgi::test {

// A row of the table with this title; its columns are named by the first call.
void add_row(const std::string& title, const std::vector<std::string>& columns, const std::vector<std::string>& cells);

}  // namespace cppfcgi::test
