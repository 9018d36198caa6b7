// AnswerHead: the header of an application's answer (RFC 3875 section 6), whatever pieces it arrives in. Pure.
//
// What is decided here, so that nothing an application writes can put the client's connection out of step:
//   - Lines end in LF or CRLF. NUL, a CR elsewhere or any other control character but TAB: broken.
//   - A name that is no token (RFC 9110 section 5.6.2), or a line without a colon: broken. So is a header without any
//   field.
//   - A folded line continues the one before it, joined with one space (RFC 9112 section 5.2); there being none:
//   broken.
//   - "HTTP/1.x 404 Not Found" as the first line (nph) means the same as "Status: 404 Not Found".
//   - A header with status 1xx is interim: it is skipped and the next one is read. 101 is broken: nobody asked to
//   upgrade.
//   - Fields that speak of one connection only are dropped: Connection and what it names, Keep-Alive,
//   Transfer-Encoding, TE,
//     Trailer, Upgrade, Proxy-….
//   - Content-Length is one number, even where it is repeated; anything else is broken.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shared/record.h"

namespace cppfcgi {

class AnswerHead {
 public:
  struct Field {
    std::string_view name;
    std::string_view value;
    friend bool operator==(const Field&, const Field&) = default;
  };
  enum class Step { need_more, complete, broken };

  // More than `limit_bytes` of header, interim ones included, are broken.
  explicit AnswerHead(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Takes the header's bytes off the front of `bytes`; what is left when it is complete is the body's beginning.
  Step take(Bytes& bytes);

  bool is_complete() const { return step_ == Step::complete; }
  const char* why() const { return why_; }  // what is wrong, once it is broken
  bool has_begun() const { return taken_bytes_ > 0; }

  // Once it is complete. The views point into this object.
  int status() const { return status_; }
  bool has_status() const { return has_status_; }      // the application named one
  std::string_view reason() const { return reason_; }  // "Not Found", or ""
  std::optional<std::uint64_t> content_length() const { return content_length_; }
  std::size_t field_count() const { return fields_.size(); }  // all but Status and what was dropped
  Field field(std::size_t index) const;
  std::string_view find(std::string_view name) const;  // the first of that name, in any case; "" if there is none

 private:
  struct Place {  // of a field in text_, which moves as it grows
    std::uint32_t name_at = 0;
    std::uint32_t name_bytes = 0;
    std::uint32_t value_at = 0;
    std::uint32_t value_bytes = 0;
  };

  Step end_line(std::string_view line);
  Step end_block();
  Step add_field(std::string_view line);
  Step fold(std::string_view line);
  Step set_status(std::string_view text);
  Step read_content_length();
  void drop_connection_fields();
  Step fail(const char* why);

  std::size_t limit_bytes_;
  std::size_t taken_bytes_ = 0;
  Step step_ = Step::need_more;
  const char* why_ = "";
  std::string line_;  // the beginning of a line that is not here whole
  std::string text_;  // names and values, one after the other
  std::vector<Place> fields_;
  int status_ = 200;
  bool has_status_ = false;
  bool is_first_line_ = true;
  bool last_was_status_ = false;  // what a folded line would continue
  std::string reason_;
  std::optional<std::uint64_t> content_length_;
};

// Compares ASCII letters in any case.
bool equal_in_any_case(std::string_view a, std::string_view b);

}  // namespace cppfcgi
