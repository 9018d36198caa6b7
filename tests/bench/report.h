// What the bench found: kept by round, told as medians. Ratios are formed within a round, where the machine was the
// same for both sides, and only then is their median taken.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "tests/bench/load.h"

namespace cppfcgi::bench {

class Results {
 public:
  using Figure = std::function<double(const Measured&)>;

  void add(const std::string& workload, int connections, const std::string& letter, const Measured& measured);

  bool has(const std::string& workload, int connections, const std::string& letter) const;
  double median(const std::string& workload, int connections, const std::string& letter, const Figure& figure) const;
  // Median over the rounds of figure(letter) / best figure of `others`; nullopt where one of them was not measured.
  std::optional<double> ratio(const std::string& workload, int connections, const std::string& letter,
                              const std::vector<std::string>& others, const Figure& figure) const;
  long long errors(const std::string& workload, int connections, const std::string& letter) const;

 private:
  using Key = std::tuple<std::string, int, std::string>;
  std::map<Key, std::vector<Measured>> rounds_;
};

double requests_per_second(const Measured& measured);
double cpu_us(const Measured& measured);
double switches(const Measured& measured);
double p50_ms(const Measured& measured);
double p99_ms(const Measured& measured);

// What was measured, in the order of the tables.
struct Table {
  std::string workload;
  std::string title;
  int connections = 0;
  std::vector<std::pair<std::string, std::string>> contestants;  // letter and name
};

void print_tables(const Results& results, const std::vector<Table>& tables);
void write_csv(const Results& results, const std::vector<Table>& tables, const std::string& path);
// A PNG beside its gnuplot script and data: requests per second of every contestant, relative to (a).
void draw_picture(const Results& results, const std::vector<Table>& tables, const std::string& path);

// What the project promises of (b); true where all that was measured holds.
bool print_bars(const Results& results);

}  // namespace cppfcgi::bench
