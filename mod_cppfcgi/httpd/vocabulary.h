// Vocabulary: the options that a directive takes, how they are found among its words, and what is said where a word is
// none of them. Pure. What each option does stands in options.cpp.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mod_cppfcgi/httpd/pool_settings.h"
#include "shared/result.h"

namespace cppfcgi {

// The value of a variable in httpd's own environment, for `-initial-env NAME`.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// How long a request waits for a worker, by its two names.
struct Timeouts {
  std::optional<std::chrono::milliseconds> queue;
  std::optional<std::chrono::milliseconds> app_conn;
};

struct Parse {
  PoolSettings& settings;
  const Environment& environment;
  std::string_view value;
  Timeouts& timeouts;
  DynamicSettings* dynamic = nullptr;  // for FastCgiConfig
};

struct Option {
  std::string_view name;
  bool has_value;
  bool may_repeat;
  Result<void> (*apply)(Parse& parse);
};

// One that is for another directive, or not there yet: what to do about it.
struct Later {
  std::string_view name;
  std::string_view advice;
};

using Options = std::span<const Option>;
using Laters = std::span<const Later>;

// What a directive takes: its own options, none of those that are not for it, and the common ones.
struct Vocabulary {
  Options own;
  std::vector<Laters> later;
  std::vector<Options> common;
  std::vector<Options> misplaced = {};  // that another directive takes
  std::string_view why_misplaced = {};

  const Option* find(std::string_view word) const;
  const Later* find_later(std::string_view word) const;
  bool is_misplaced(std::string_view word) const;
  std::set<std::string_view> accepted() const;  // all that find() finds and find_later() does not
};

using Given = std::set<std::string_view>;  // options, by their names

// Applies each option that the words name.
Result<Given> parse_words(const Vocabulary& vocabulary, const std::vector<std::string>& words, Parse parse);

}  // namespace cppfcgi
