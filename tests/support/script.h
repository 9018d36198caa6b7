// Script: what the test program `scripted` (tests/httpd/programs/scripted.cpp) shall do with a request, in the
// request's query string: each step as one letter and its argument, steps separated by '.'. So a case of a table is one
// line:
//
//   {"a body without its end", Script().out("Content-Length: 10\n\n12345").close(), cut}
//
// The program does only what it is told: without end() there is no END_REQUEST, without close() the connection stays
// open.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cppfcgi::test {

class Script {
 public:
  Script& read() { return step('r', ""); }  // read the request to the end of its STDIN
  Script& read_bytes(std::size_t count) {
    return step('R', std::to_string(count));
  }                                                                    // so many bytes of STDIN, at least
  Script& out(std::string_view text) { return step('o', hex(text)); }  // STDOUT, one record (split above 65,535)
  Script& out(char fill, std::size_t count) { return step('O', repeat(fill, count)); }
  Script& err(std::string_view text) { return step('e', hex(text)); }  // STDERR
  Script& err(char fill, std::size_t count) { return step('E', repeat(fill, count)); }
  Script& line(char fill, std::size_t count) {
    return step('L', repeat(fill, count));
  }                                                                          // STDERR: such lines of 100 bytes
  Script& end_of_out() { return step('p', ""); }                             // the empty STDOUT record
  Script& end(std::uint32_t app_status = 0, unsigned protocol_status = 0) {  // END_REQUEST
    return step('n', std::to_string(app_status) + "," + std::to_string(protocol_status));
  }
  Script& raw(std::string_view bytes) { return step('b', hex(bytes)); }  // as they are
  Script& raw(char fill, std::size_t count) { return step('B', repeat(fill, count)); }
  // One record, as described; the id is the request's plus id_offset.
  Script& record(unsigned type, std::string_view content, unsigned version = 1, int id_offset = 0) {
    return step('c', std::to_string(type) + "," + std::to_string(version) + "," + std::to_string(id_offset) + "," +
                         hex(content));
  }
  Script& pieces(std::size_t bytes) {
    return step('s', std::to_string(bytes));
  }  // from here on: records of this many bytes
  Script& padded(unsigned bytes) { return step('P', std::to_string(bytes)); }  // from here on: STDOUT padded by this
  Script& flush() {
    return step('f', "");
  }  // send now what was gathered (otherwise at the next read, wait, close or the end)
  Script& wait_for(std::string_view file) {
    return step('w', hex(file));
  }                                                                      // until this file exists (or the peer closes)
  Script& touch(std::string_view file) { return step('t', hex(file)); }  // create this file
  Script& hang() { return step('h', ""); }  // until the peer closes, sends an abort, or 60 s
  Script& close() { return step('x', ""); }
  Script& reset() {
    return step('X', "");
  }  // by SO_LINGER 0 (a Unix socket knows no RST: there it is a close with unread input)
  Script& exit(int status) { return step('q', std::to_string(status)); }
  Script& signal(int number) { return step('k', std::to_string(number)); }  // to itself
  Script& pid() { return step('i', ""); }                                   // STDOUT: the worker's pid, in digits
  Script& nonce() { return step('N', ""); }  // STDOUT: the value of the request header X-Nonce
  Script& param(std::string_view name) { return step('v', hex(name)); }  // STDOUT: this parameter's value
  Script& params() { return step('V', ""); }      // STDOUT: all parameters, "NAME=value\n" each, as they came
  Script& body() { return step('d', ""); }        // STDOUT: the bytes of STDIN that were read
  Script& body_bytes() { return step('D', ""); }  // STDOUT: their number

  Script& append(const Script& more) {
    text_ += text_.empty() || more.text_.empty() ? more.text_ : "." + more.text_;
    return *this;
  }

  const std::string& text() const { return text_; }
  std::string at(const std::string& path) const { return path + "?" + text_; }  // the request's target

  static std::string hex(std::string_view bytes) {
    constexpr char digits[] = "0123456789abcdef";
    std::string out;
    for (const char byte : bytes) {
      out += digits[static_cast<unsigned char>(byte) >> 4];
      out += digits[static_cast<unsigned char>(byte) & 15];
    }
    return out;
  }

 private:
  Script& step(char letter, const std::string& argument) {
    if (!text_.empty()) text_ += '.';
    text_ += letter + argument;
    return *this;
  }
  static std::string repeat(char fill, std::size_t count) { return std::to_string(count) + "," + hex({&fill, 1}); }

  std::string text_;
};

// A good answer with this body, said properly.
inline Script answer(std::string_view body, std::string_view more_headers = "") {
  return Script()
      .read()
      .out(std::string("Content-Type: text/plain\r\n") + std::string(more_headers) + "\r\n" + std::string(body))
      .end_of_out()
      .end();
}

}  // namespace cppfcgi::test
