#include "mod_cppfcgi/httpd/vocabulary.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "mod_cppfcgi/httpd/option_values.h"

namespace cppfcgi {
namespace {

// How mod_fastcgi spells what else it calls.
std::string_view canonical(std::string_view word) {
  return equal_ignoring_case(word, "-maxProcesses") ? "-max-processes" : word;
}

template <class Table>
auto find_named(const Table& table, std::string_view word) {
  return std::find_if(table.begin(), table.end(),
                      [&](const auto& option) { return equal_ignoring_case(option.name, word); });
}

const Option* find_in(const std::vector<Options>& tables, std::string_view word) {
  for (const Options& table : tables) {
    if (const auto option = find_named(table, word); option != table.end()) return &*option;
  }
  return nullptr;
}

// How many characters must be changed, added, taken away or swapped with their neighbour to make one of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool is_same = lower(a[i - 1]) == lower(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (is_same ? 0 : 1)});
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

Error missing_value(const std::string& word) {
  return {0, word + ": its value is missing; accepted: " + word + " value"};
}

std::string accepted_options(const Vocabulary& vocabulary) {
  std::string list;
  for (const std::string_view name : vocabulary.accepted()) list += (list.empty() ? "" : ", ") + std::string(name);
  return list;
}

Error misplaced_option(const Vocabulary& vocabulary, const std::string& word) {
  return {0,
          word + ": not for " + std::string(vocabulary.why_misplaced) + "; accepted: " + accepted_options(vocabulary)};
}

Error unknown_option(const Vocabulary& vocabulary, const std::string& word) {
  const std::string dashed =
      word.starts_with('-') ? word.substr(std::min(word.find_first_not_of('-'), word.size()) - 1) : '-' + word;
  std::string_view nearest;
  std::size_t nearest_distance = std::numeric_limits<std::size_t>::max();
  const auto consider = [&](std::string_view name) {
    const std::size_t d = distance(dashed, name);
    if (d < nearest_distance) nearest_distance = d, nearest = name;
  };
  for (const Laters& table : vocabulary.later) {
    for (const Later& later : table) consider(later.name);
  }
  for (const std::string_view name : vocabulary.accepted()) consider(name);
  const bool is_near = nearest_distance <= std::max<std::size_t>(2, nearest.size() / 3);
  return {0, word + ": there is no such option" + (is_near ? "; did you mean " + std::string(nearest) + '?' : "") +
                 "; accepted: " + accepted_options(vocabulary)};
}

}  // namespace

const Option* Vocabulary::find(std::string_view word) const {
  if (const Option* option = find_in({own}, word)) return option;
  return find_in(common, canonical(word));
}

const Later* Vocabulary::find_later(std::string_view word) const {
  if (find_in({own}, word) != nullptr) return nullptr;
  for (const Laters& table : later) {
    if (const auto option = find_named(table, word); option != table.end()) return &*option;
  }
  return nullptr;
}

bool Vocabulary::is_misplaced(std::string_view word) const { return find_in(misplaced, canonical(word)) != nullptr; }

std::set<std::string_view> Vocabulary::accepted() const {
  std::set<std::string_view> names;
  for (const Option& option : own) names.insert(option.name);
  for (const Options& table : common) {
    for (const Option& option : table) {
      if (find_later(option.name) == nullptr) names.insert(option.name);
    }
  }
  return names;
}

Result<Given> parse_words(const Vocabulary& vocabulary, const std::vector<std::string>& words, Parse parse) {
  Given given;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (const Later* later = vocabulary.find_later(word)) return Error{0, word + ": " + std::string(later->advice)};
    const Option* option = vocabulary.find(word);
    if (option == nullptr && vocabulary.is_misplaced(word)) return misplaced_option(vocabulary, word);
    if (option == nullptr) return unknown_option(vocabulary, word);
    if (!given.insert(option->name).second && !option->may_repeat)
      return Error{0, word + ": given twice; accepted: once"};

    std::string text = word;
    if (option->has_value) {
      if (++i == words.size()) return missing_value(word);
      parse.value = words[i];
      text.append(" ").append(words[i]);
    }
    if (const auto done = option->apply(parse); !done) return Error{0, text + ": " + done.error().what};
  }
  return given;
}

}  // namespace cppfcgi
