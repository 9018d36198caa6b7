// A guest book on SQLite: a form, and what others have written. Its tables are made at the first start. Any number of
// worker processes may share the file, named by GUESTBOOK_DB (default: guestbook.db in the folder where the worker was
// started).
#include <cppfcgi/worker.h>
#include <sqlite3.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "form.h"

namespace {

using cppfcgi::Request;
using cppfcgi::Response;

constexpr std::size_t max_form_bytes = 64'000;
constexpr std::size_t max_name_bytes = 100;
constexpr std::size_t max_message_bytes = 4'000;
constexpr int entries_shown = 50;
constexpr int busy_timeout_ms = 5'000;  // another worker is writing

class Statement;

class Database {
 public:
  explicit Database(const std::string& path) {
    sqlite3* opened = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &opened,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
    handle_.reset(opened);
    if (code != SQLITE_OK) throw std::runtime_error("cannot open " + path + ": " + sqlite3_errmsg(opened));
    sqlite3_busy_timeout(opened, busy_timeout_ms);
    use_write_ahead_log();
    run("PRAGMA synchronous = NORMAL");
    run("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, at TEXT NOT NULL DEFAULT (datetime('now')),"
        " name TEXT NOT NULL, message TEXT NOT NULL)");
  }

  sqlite3* get() const { return handle_.get(); }
  std::runtime_error error() const { return std::runtime_error(std::string("SQLite: ") + sqlite3_errmsg(get())); }

 private:
  // With it, readers do not wait for the one who writes. The change waits for nobody, though, whatever the busy timeout
  // says: when several workers start on a new file, all but one must try again.
  void use_write_ahead_log() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(busy_timeout_ms);
    for (;;) {
      const int code = sqlite3_exec(get(), "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr);
      if (code == SQLITE_OK) return;
      if (code != SQLITE_BUSY || std::chrono::steady_clock::now() > deadline) throw error();
      sqlite3_sleep(5);
    }
  }

  void run(const char* sql) {
    if (sqlite3_exec(get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) throw error();
  }

  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  std::unique_ptr<sqlite3, Close> handle_;
};

class Statement {
 public:
  Statement(const Database& database, std::string_view sql) : database_(database) {
    sqlite3_stmt* made = nullptr;
    if (sqlite3_prepare_v2(database.get(), sql.data(), static_cast<int>(sql.size()), &made, nullptr) != SQLITE_OK) {
      throw database.error();
    }
    handle_.reset(made);
  }
  void bind(int place, std::string_view text) {
    if (sqlite3_bind_text64(handle_.get(), place, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8) !=
        SQLITE_OK) {
      throw database_.error();
    }
  }
  void bind(int place, int number) {
    if (sqlite3_bind_int(handle_.get(), place, number) != SQLITE_OK) throw database_.error();
  }
  bool next_row() {
    const int code = sqlite3_step(handle_.get());
    if (code != SQLITE_ROW && code != SQLITE_DONE) throw database_.error();
    return code == SQLITE_ROW;
  }
  std::string_view text(int column) {
    const auto* const start = reinterpret_cast<const char*>(sqlite3_column_text(handle_.get(), column));
    return {start, static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column))};
  }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  const Database& database_;
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

// Whether the text is UTF-8 throughout, and free of NUL: what the page says it is.
bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead == 0) return false;
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xc2 && lead < 0xe0 ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      const unsigned least = k > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
      const unsigned most = k > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
      if (next < least || next > most) return false;
    }
    i += length;
  }
  return true;
}

void refuse(Response& response, int code, std::string_view why) {
  response.status(code).header("Content-Type", "text/plain; charset=utf-8") << why << '\n';
}

class Guestbook {
 public:
  explicit Guestbook(const std::string& path) : database_(path) {}

  void operator()(const Request& request, Response& response) const {
    if (request.method() == "POST") return write(request, response);
    if (request.method() == "GET" || request.method() == "HEAD") return show(response);
    response.header("Allow", "GET, HEAD, POST");
    refuse(response, 405, "this guest book is read with GET and written with POST");
  }

 private:
  void write(const Request& request, Response& response) const {
    if (request.body().size() > max_form_bytes)
      return refuse(response, 413, "that is more than fits into a guest book");
    const std::string form = request.body().read_all();
    const std::string name = samples::field(form, "name");
    const std::string message = samples::field(form, "message");
    if (name.empty() || message.empty()) return refuse(response, 400, "both a name and a message, please");
    if (name.size() > max_name_bytes || message.size() > max_message_bytes)
      return refuse(response, 400, "a little shorter, please");
    if (!is_utf8(name) || !is_utf8(message)) return refuse(response, 400, "that is not UTF-8");
    Statement insert(database_, "INSERT INTO entry (name, message) VALUES (?1, ?2)");
    insert.bind(1, name);
    insert.bind(2, message);
    insert.next_row();
    // The browser gets the page anew, so that "reload" does not write twice.
    const std::string_view uri = request.uri();
    const std::string_view here = uri.substr(0, uri.find('?'));
    response.status(303).header("Location", here.empty() ? request.param("SCRIPT_NAME") : here);
  }

  void show(Response& response) const {
    response.header("Content-Type", "text/html; charset=utf-8");
    response << "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Guest book</title>\n"
                "<style>body{font-family:sans-serif;max-width:40em;margin:2em auto}article{border-top:1px solid #ccc}"
                "textarea,input{width:100%}p{white-space:pre-wrap}</style>\n<h1>Guest book</h1>\n"
                "<form method=\"post\" accept-charset=\"utf-8\">\n"
                "<label>Name <input name=\"name\" maxlength=\"50\" required></label>\n"
                "<label>Message <textarea name=\"message\" rows=\"4\" maxlength=\"1000\" required></textarea></label>\n"
                "<button>Write</button>\n</form>\n";
    Statement select(database_, "SELECT name, at, message FROM entry ORDER BY id DESC LIMIT ?1");
    select.bind(1, entries_shown);
    while (select.next_row()) {
      response << "<article>\n<h2>" << samples::html_escaped(select.text(0)) << "</h2>\n<time>" << select.text(1)
               << " UTC</time>\n<p>" << samples::html_escaped(select.text(2)) << "</p>\n</article>\n";
    }
    response << "</html>\n";
  }

  Database database_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    const char* const path = std::getenv("GUESTBOOK_DB");
    const Guestbook guestbook(path != nullptr ? path : "guestbook.db");
    return cppfcgi::serve(argc, argv, std::cref(guestbook));
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "guestbook: %s\n", failure.what());
    return 1;
  }
}
