// FastcgiClient: the web server's side of FastCGI, for tests that talk to a worker directly, record by record, rules or
// not. And WorkerProcess: a worker program with a listening socket of its own as fd 0.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shared/fd.h"
#include "shared/record.h"
#include "tests/support/process.h"
#include "tests/support/temp_folder.h"
#include "tests/support/wait.h"

namespace cppfcgi::test {

using Params = std::vector<std::pair<std::string, std::string>>;

struct Record {
  RecordHeader header;
  std::string content;
};

// What came for one request.
struct FastcgiAnswer {
  std::string out;
  std::string err;
  bool has_ended = false;  // END_REQUEST came
  std::uint32_t app_status = 0;
  unsigned protocol_status = 0;
};

class FastcgiClient {
 public:
  static FastcgiClient to_unix(const std::string& path);  // both throw where nobody listens
  static FastcgiClient to_port(int port);
  explicit FastcgiClient(Fd socket) : socket_(std::move(socket)) {}

  // Senders: false where the other side has closed.
  bool send(std::string_view bytes, Milliseconds within = Milliseconds(20'000));
  bool begin(std::uint16_t id, bool keep_connection, Role role = Role::responder);
  bool params(std::uint16_t id, const Params& params);  // the whole stream, its end included
  bool input(std::uint16_t id, std::string_view body);  // STDIN without its end
  bool end_of_input(std::uint16_t id);
  bool abort(std::uint16_t id);
  // begin, params, input and its end, as one write.
  bool request(std::uint16_t id, const Params& params, std::string_view body = {}, bool keep_connection = true);

  // The next record; nullopt at the end of the connection or the deadline (is_closed tells which). Throws on another
  // version.
  std::optional<Record> receive(Milliseconds within = Milliseconds(10'000));
  // Records up to this request's END_REQUEST, the end of the connection or the deadline; those of other requests are
  // kept for their own call of answer().
  FastcgiAnswer answer(std::uint16_t id, Milliseconds within = Milliseconds(10'000));
  bool is_closed(Milliseconds within = Milliseconds(5'000));
  void shut_down_sending();
  void close() { socket_.reset(); }
  int fd() const { return socket_.get(); }

 private:
  Fd socket_;
  std::string buffer_;
  bool has_ended_ = false;
  std::map<std::uint16_t, std::vector<Record>> for_others_;
};

// The parameters that every responder needs for a GET of this path; more are added or take their place.
Params get_params(const std::string& path = "/", const Params& more = {});

struct WorkerOptions {
  std::vector<std::string> command;      // [0]: the program
  std::vector<std::string> environment;  // beyond the test's own
  bool is_on_port = false;               // listens on 127.0.0.1, else on a Unix socket
  int backlog = 100;
};

class WorkerProcess {
 public:
  explicit WorkerProcess(const WorkerOptions& options);
  FastcgiClient connect() const;
  int port() const { return port_; }
  const std::string& socket_path() const { return path_; }
  Process& process() { return process_; }
  std::string output() const;  // its stdout and stderr

 private:
  TempFolder folder_;
  std::string path_;
  int port_ = 0;
  Process process_;
};

}  // namespace cppfcgi::test
