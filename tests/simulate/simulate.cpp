// make simulate: what the scaling policy does with standard workloads, under a virtual clock: the table for
// docs/scaling.md on stdout, and for each workload its course as "<folder>/<name>.tsv" for gnuplot.
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/support/policy_model.h"

namespace cppfcgi::test {
namespace {

void write_course(const std::string& file, const Figures& figures) {
  std::ofstream out(file);
  for (const Figures::Moment& moment : figures.course)
    out << moment.second << '\t' << moment.workers << '\t' << moment.busy << '\t' << moment.waiting << '\n';
}

void print_all(const std::string& folder) {
  std::puts(
      "| load | answered | lost, refused | starts | peak | at the end | wait p50, p99, most (ms) | idle worker s | "
      "flaps |");
  std::puts("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
  for (const Workload& workload : standard_workloads()) {
    const Figures f = simulate(workload, standard_policy(), standard_start);
    std::printf("| %s | %zu | %zu, %zu | %zu | %u | %u | %.0f, %.0f, %.0f | %.0f | %zu |\n", workload.name.c_str(),
                f.answered, f.lost, f.refused, f.starts, f.peak, f.last, f.wait_p50_ms, f.wait_p99_ms, f.wait_most_ms,
                f.idle_worker_seconds, f.flaps);
    if (!folder.empty()) write_course(folder + "/" + workload.name + ".tsv", f);
  }
}

}  // namespace
}  // namespace cppfcgi::test

int main(int count, char** words) { cppfcgi::test::print_all(count > 1 ? words[1] : ""); }
