#include "tests/bench/load.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>

#include "tests/support/process.h"
#include "tests/support/temp_folder.h"

namespace cppfcgi::bench {
namespace {

std::string url(int port, const Question& question) {
  return "http://127.0.0.1:" + std::to_string(port) + question.target;
}

std::size_t count_bytes(const char*, std::size_t size, std::size_t count, void* total) {
  *static_cast<long long*>(total) += static_cast<long long>(size * count);
  return size * count;
}

// What the kernel counts for processes and all their descendants.
struct Effort {
  double cpu_seconds = 0;
  double switches = 0;  // from one thread to another
};

double number_behind(const std::string& text, const std::string& name) {
  const auto at = text.find(name);
  return at == std::string::npos ? 0 : std::atof(text.c_str() + at + name.size());
}

void add_process(pid_t pid, Effort& effort) {
  std::error_code gone;  // processes and threads come and go meanwhile
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
    effort.cpu_seconds += std::atof(test::read_file(task.path() / "schedstat").c_str()) / 1e9;
    const auto status = test::read_file(task.path() / "status");
    effort.switches +=
        number_behind(status, "\nvoluntary_ctxt_switches:") + number_behind(status, "nonvoluntary_ctxt_switches:");
  }
}

Effort effort_of(const std::vector<pid_t>& servers) {
  Effort effort;
  for (const pid_t server : servers) {
    add_process(server, effort);
    for (const pid_t descendant : test::descendants_of(server)) add_process(descendant, effort);
  }
  return effort;
}

}  // namespace

Measured measure(int port, const std::vector<pid_t>& servers, const Question& question, int connections,
                 std::chrono::seconds duration, int cpu) {
  const Effort before = effort_of(servers);
  const std::vector<std::string> command = {"taskset",
                                            "-c",
                                            std::to_string(cpu),
                                            "wrk",
                                            "-t1",
                                            "-c" + std::to_string(connections),
                                            "-d" + std::to_string(duration.count()) + "s",
                                            "--timeout",
                                            "10s",
                                            "-s",
                                            "tests/bench/wrk.lua",
                                            url(port, question)};
  const auto output =
      test::run(command, duration + std::chrono::seconds(30), {"UPLOAD=" + std::to_string(question.upload_bytes)})
          .output;
  const Effort after = effort_of(servers);
  const auto line = output.find("RESULT ");
  double requests = 0, microseconds = 0, bytes = 0, p50 = 0, p99 = 0;
  long long lost[5] = {};
  if (line == std::string::npos ||
      std::sscanf(output.c_str() + line,
                  "RESULT requests=%lf microseconds=%lf bytes=%lf p50=%lf p99=%lf connect=%lld read=%lld write=%lld "
                  "timeout=%lld status=%lld",
                  &requests, &microseconds, &bytes, &p50, &p99, &lost[0], &lost[1], &lost[2], &lost[3],
                  &lost[4]) != 10) {
    throw std::runtime_error("wrk gave no result: " + output);
  }
  const double answers = std::max(requests, 1.0);
  return {.requests_per_second = requests / microseconds * 1e6,
          .bytes_per_second = bytes / microseconds * 1e6,
          .p50_ms = p50 / 1e3,
          .p99_ms = p99 / 1e3,
          .cpu_us = (after.cpu_seconds - before.cpu_seconds) / answers * 1e6,
          .switches = (after.switches - before.switches) / answers,
          .errors = lost[0] + lost[1] + lost[2] + lost[3] + lost[4]};
}

void check_answer(int port, const Question& question) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  const std::string upload(static_cast<std::size_t>(question.upload_bytes), 'x');
  const auto address = url(port, question);
  long long received = 0;
  long status = 0;
  curl_easy_setopt(curl.get(), CURLOPT_URL, address.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 20L);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, count_bytes);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &received);
  if (question.upload_bytes > 0) {
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, upload.data());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(upload.size()));
  }
  const CURLcode result = curl_easy_perform(curl.get());
  if (result != CURLE_OK) throw std::runtime_error(address + ": " + curl_easy_strerror(result));
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status != 200 || (question.answer_bytes > 0 && received != question.answer_bytes)) {
    throw std::runtime_error(address + ": status " + std::to_string(status) + ", " + std::to_string(received) +
                             " bytes");
  }
}

}  // namespace cppfcgi::bench
