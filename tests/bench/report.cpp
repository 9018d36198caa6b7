#include "tests/bench/report.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <stdexcept>

#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::bench {
namespace {

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::string text_of(std::optional<double> value) {
  if (!value) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", *value);
  return text;
}

}  // namespace

double requests_per_second(const Measured& measured) { return measured.requests_per_second; }
double cpu_us(const Measured& measured) { return measured.cpu_us; }
double switches(const Measured& measured) { return measured.switches; }
double p50_ms(const Measured& measured) { return measured.p50_ms; }
double p99_ms(const Measured& measured) { return measured.p99_ms; }

void Results::add(const std::string& workload, int connections, const std::string& letter, const Measured& measured) {
  rounds_[{workload, connections, letter}].push_back(measured);
}

bool Results::has(const std::string& workload, int connections, const std::string& letter) const {
  return rounds_.contains({workload, connections, letter});
}

double Results::median(const std::string& workload, int connections, const std::string& letter,
                       const Figure& figure) const {
  std::vector<double> values;
  for (const auto& round : rounds_.at({workload, connections, letter})) values.push_back(figure(round));
  return median_of(values);
}

std::optional<double> Results::ratio(const std::string& workload, int connections, const std::string& letter,
                                     const std::vector<std::string>& others, const Figure& figure) const {
  if (!has(workload, connections, letter)) return std::nullopt;
  const auto& ours = rounds_.at({workload, connections, letter});
  std::vector<double> best(ours.size(), 0);
  for (const auto& other : others) {
    if (!has(workload, connections, other)) return std::nullopt;
    const auto& theirs = rounds_.at({workload, connections, other});
    if (theirs.size() != ours.size()) return std::nullopt;
    for (std::size_t i = 0; i < ours.size(); ++i) best[i] = std::max(best[i], figure(theirs[i]));
  }
  std::vector<double> ratios;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (best[i] > 0) ratios.push_back(figure(ours[i]) / best[i]);
  }
  return ratios.empty() ? std::nullopt : std::optional(median_of(ratios));
}

long long Results::errors(const std::string& workload, int connections, const std::string& letter) const {
  long long sum = 0;
  for (const auto& round : rounds_.at({workload, connections, letter})) sum += round.errors;
  return sum;
}

void print_tables(const Results& results, const std::vector<Table>& tables) {
  for (const auto& table : tables) {
    std::printf("\n%s, %d connection%s\n", table.title.c_str(), table.connections, table.connections == 1 ? "" : "s");
    std::printf("  %-3s %-30s %12s %8s %8s %8s %9s %10s %10s %8s\n", "", "", "requests/s", "/ (a)", "/ (a')", "CPU us",
                "switches", "p50 ms", "p99 ms", "errors");
    for (const auto& [letter, name] : table.contestants) {
      const auto median = [&](const Results::Figure& figure) {
        return results.median(table.workload, table.connections, letter, figure);
      };
      const auto ratio_to = [&](const char* other) {
        return text_of(results.ratio(table.workload, table.connections, letter, {other}, requests_per_second));
      };
      std::printf("  %-3s %-30s %12.1f %8s %8s %8.1f %9.1f %10.3f %10.3f %8lld\n", letter.c_str(), name.c_str(),
                  median(requests_per_second), ratio_to("a").c_str(), ratio_to("a'").c_str(), median(cpu_us),
                  median(switches), median(p50_ms), median(p99_ms),
                  results.errors(table.workload, table.connections, letter));
    }
  }
}

void write_csv(const Results& results, const std::vector<Table>& tables, const std::string& path) {
  std::ofstream csv(path);
  csv << "workload,connections,contestant,name,requests_per_second,ratio_to_a,ratio_to_roundtrip,"
         "cpu_us_per_request,switches_per_request,p50_ms,p99_ms,errors\n";
  for (const auto& table : tables) {
    for (const auto& [letter, name] : table.contestants) {
      const auto median = [&](const Results::Figure& figure) {
        return results.median(table.workload, table.connections, letter, figure);
      };
      const auto ratio_to = [&](const char* other) {
        return text_of(results.ratio(table.workload, table.connections, letter, {other}, requests_per_second));
      };
      csv << table.workload << ',' << table.connections << ',' << letter << ",\"" << name << "\","
          << median(requests_per_second) << ',' << ratio_to("a") << ',' << ratio_to("a'") << ',' << median(cpu_us)
          << ',' << median(switches) << ',' << median(p50_ms) << ',' << median(p99_ms) << ','
          << results.errors(table.workload, table.connections, letter) << '\n';
    }
  }
  if (!csv.flush()) throw std::runtime_error("cannot write " + path);
}

void draw_picture(const Results& results, const std::vector<Table>& tables, const std::string& path) {
  const auto base = path.substr(0, path.rfind('.'));
  std::ofstream data(base + ".dat"), script(base + ".gnuplot");
  std::string plots;
  int index = 0;
  for (const auto& table : tables) {
    if (table.workload != "tiny") continue;
    data << "\"" << table.connections << (table.connections == 1 ? " connection" : " connections") << "\"\n";
    for (const auto& [letter, name] : table.contestants) {
      data << "\"(" << letter << ") " << name << "\" "
           << results.median(table.workload, table.connections, letter, requests_per_second) << '\n';
    }
    data << "\n\n";
    plots += (plots.empty() ? "plot " : ", ") + ("'" + base + ".dat'") + " index " + std::to_string(index++) +
             " using 2:xtic(1) title columnheader(1)";
  }
  if (plots.empty()) return;
  script << "set terminal pngcairo size 1400,800\nset output '" << path << "'\n"
         << "set title 'The same tiny answer, four workers, server on one core'\nset ylabel 'requests per second'\n"
         << "set style data histograms\nset style histogram clustered gap 2\nset style fill solid 0.8\nset grid ytics\n"
         << "set yrange [0:*]\nset xtics rotate by -30\nset rmargin 18\n"
         << plots << '\n';
  if (!data.flush() || !script.flush()) throw std::runtime_error("cannot write " + base + ".dat");
  const auto drawn = test::run({"gnuplot", base + ".gnuplot"});
  if (drawn.status != 0) throw std::runtime_error("gnuplot failed: " + drawn.output);
}

bool print_bars(const Results& results) {
  bool all_hold = true;
  const auto bar = [&](const std::string& what, std::optional<double> measured, double wanted, bool at_least) {
    if (!measured) return;
    const bool holds = at_least ? *measured >= wanted : *measured <= wanted;
    all_hold = all_hold && holds;
    std::printf("  %-58s %8.3f   %s %.2f: %s\n", what.c_str(), *measured, at_least ? "at least" : "at most", wanted,
                holds ? "holds" : "DOES NOT HOLD");
  };
  std::printf("\nWhat mod_cppfcgi must show\n");
  for (const int connections : {1, 16, 64}) {
    const auto against = [&](const std::vector<std::string>& others) {
      return results.ratio("tiny", connections, "b", others, requests_per_second);
    };
    const auto at = ", " + std::to_string(connections) + " connections";
    bar("(b) to (a')" + at, against({"a'"}), 0.85, true);
    bar("(b) to (d)" + at, against({"d"}), 1.4, true);
    bar("(b) to the better of (e)" + at, against({"e", "e'"}), 1.4, true);
    if (results.has("tiny", connections, "b")) {
      bar("(b) errors" + at, static_cast<double>(results.errors("tiny", connections, "b")), 0, false);
    }
  }
  bar("(b) p99 to (a')'s, 64 connections", results.ratio("tiny", 64, "b", {"a'"}, p99_ms), 2, false);
  for (const std::string application : {"iip", "map"}) {
    if (!results.has(application, 8, "c")) continue;
    bar("(c) " + application + ": p99 to p50, 8 connections",
        results.median(application, 8, "c", [](const Measured& m) { return m.p99_ms / m.p50_ms; }), 3, false);
    bar("(c) " + application + ": errors", static_cast<double>(results.errors(application, 8, "c")), 0, false);
  }
  return all_hold;
}

}  // namespace cppfcgi::bench
