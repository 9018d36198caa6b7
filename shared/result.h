// Result<T>: a value, or an Error that says what failed, on what and why. For failures that are to be expected (a path
// that is missing, a peer that is gone). Bugs are asserted and memory running out throws; neither is a Result.
#pragma once

#include <cassert>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace cppfcgi {

struct Error {
  int code = 0;      // an errno value, or 0 where none applies
  std::string what;  // "connect /run/x.sock: Connection refused"

  friend bool operator==(const Error&, const Error&) = default;
};

// Error of a failed system call: "<context>: <text of errno>". Call it on the line after the call, with that errno.
inline Error posix_error(const std::string& context, int code) {
  char text[128];
  return {code, context + ": " + strerror_r(code, text, sizeof text)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  explicit operator bool() const { return std::holds_alternative<T>(state_); }
  T& operator*() & { return std::get<T>(state_); }
  const T& operator*() const& { return std::get<T>(state_); }
  T&& operator*() && { return std::get<T>(std::move(state_)); }
  T* operator->() { return &std::get<T>(state_); }
  const T* operator->() const { return &std::get<T>(state_); }
  const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_; }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace cppfcgi
