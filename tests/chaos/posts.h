// What became of POSTs: what their senders were told, against what the workers have counted and what the error log
// says.
#pragma once

#include <string>
#include <vector>

#include "tests/chaos/traffic.h"

namespace cppfcgi::test {

// Each list holds one line for each POST that broke the rule.
struct PostBreaches {
  std::vector<std::string> counted_twice;
  std::vector<std::string> refused_yet_counted;  // 503 promises that nothing began, and so does 507
  std::vector<std::string> right_yet_uncounted;
  std::vector<std::string> unexplained;  // 502, and no line in the log names the request and a worker's end

  std::size_t count() const {
    return counted_twice.size() + refused_yet_counted.size() + right_yet_uncounted.size() + unexplained.size();
  }
  std::string text() const;
};

// `counted`: the workers' file, a nonce a line. `error_log`: each of httpd's lines about a request names its nonce as
// "nonce <nonce>" (Site's ErrorLogFormat).
PostBreaches check_posts(const Outcomes& outcomes, const std::string& counted, const std::string& error_log);

}  // namespace cppfcgi::test
