// Lines: cuts what a worker prints into lines that a log can carry: control characters escaped, long lines in pieces.
// Pure.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace cppfcgi {

class Lines {
 public:
  using Sink = std::function<void(std::string_view line)>;
  explicit Lines(std::size_t longest_bytes = 8'192) : longest_bytes_(longest_bytes) {}

  void feed(std::string_view bytes, const Sink& sink);
  void finish(const Sink& sink);  // the last line may lack its end

 private:
  void pass_on(const Sink& sink);

  std::size_t longest_bytes_;
  std::string line_;
};

// "\n" and the like as C writes them, other control characters as \xHH; the rest, UTF-8 included, as it is.
std::string escaped(std::string_view text);

}  // namespace cppfcgi
