#include <cppfcgi/request.h>

#include <algorithm>

#include "worker/src/access.h"

namespace cppfcgi {
namespace {

// How a header's name reads in the CGI variables: upper case, "_" for "-".
char as_variable(char character) {
  if (character == '-') return '_';
  return character >= 'a' && character <= 'z' ? static_cast<char>(character - 'a' + 'A') : character;
}

bool names_variable(std::string_view header, std::string_view variable) {
  return std::ranges::equal(header, variable, {}, as_variable);
}

}  // namespace

Request::Request() : body_(std::make_unique<Body>()) {}

Request::Request(std::span<const Param> params, std::string body, std::stop_token stop)
    : body_(std::make_unique<Body>(std::move(body))), stop_(std::move(stop)) {
  auto& [block, pairs] = params_;
  for (const Param& param : params) {
    block.insert(block.end(), param.name.begin(), param.name.end());
    block.insert(block.end(), param.value.begin(), param.value.end());
  }
  const char* at = block.data();
  for (const Param& param : params) {
    pairs.push_back({{at, param.name.size()}, {at + param.name.size(), param.value.size()}});
    at += param.name.size() + param.value.size();
  }
}

Request::~Request() = default;

std::optional<std::string_view> Request::find_param(std::string_view name) const {
  const auto found = std::ranges::find(params_.pairs, name, &Param::name);
  if (found == params_.pairs.end()) return std::nullopt;
  return found->value;
}

std::string_view Request::header(std::string_view name) const {
  const bool has_no_prefix = names_variable(name, "CONTENT_TYPE") || names_variable(name, "CONTENT_LENGTH");
  const std::string_view prefix = has_no_prefix ? "" : "HTTP_";
  for (const Param& param : params_.pairs) {
    if (param.name.starts_with(prefix) && names_variable(name, param.name.substr(prefix.size()))) return param.value;
  }
  return {};
}

std::stop_token Request::stop_token() const { return stop_seam_ != nullptr ? stop_seam_->stop_token() : stop_; }

void detail::Access::reset(Request& request) {
  request.params_.pairs.clear();
  request.params_.block.clear();
  request.body_->clear();
}

}  // namespace cppfcgi
