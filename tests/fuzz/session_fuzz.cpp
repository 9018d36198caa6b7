// Session under arbitrary bytes: whatever a web server sends, however it is cut, the session says the same, keeps its
// own books, replies in whole records and runs nothing that was not complete. The input's first two bytes choose the
// cuts.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>
#include <string>

#include "shared/params.h"
#include "worker/src/session.h"

namespace {

using namespace cppfcgi;

void require(bool holds) {
  if (!holds) std::abort();
}

void require_whole_records(Bytes reply) {
  RecordReader reader;
  for (;;) {
    const RecordReader::Step step = reader.next(reply);
    require(step.kind != RecordReader::Kind::violation);
    if (step.kind == RecordReader::Kind::need_more) break;
  }
  require(reader.is_between_records());
}

// Receives pieces and keeps what was said in a form that does not depend on the cuts.
class Watcher {
 public:
  explicit Watcher(const SessionLimits& limits) : session_(limits, {.connections = 10, .requests = 2}) {}

  void receive(Bytes bytes) {
    while (!is_broken_) {
      const Session::Event event = session_.next(bytes);
      if (event.kind == Session::Kind::need_more) break;
      note(event);
    }
    require(is_broken_ || bytes.empty());
  }
  const std::string& said() const { return said_; }

 private:
  void note(const Session::Event& event) {
    if (event.kind != Session::Kind::body) {
      said_ += "\n" + std::to_string(static_cast<int>(event.kind)) + " " + std::to_string(event.id) + " ";
      said_ += as_text(event.content);
    }
    switch (event.kind) {
      case Session::Kind::need_more:
        break;
      case Session::Kind::begun:
        require(event.id != 0 && begun_.insert(event.slot).second && !handed_over_.contains(event.slot));
        bodies_[event.slot].clear();
        break;
      case Session::Kind::body:  // how much comes before a refusal depends on the cuts, so it counts when it is whole
        require(begun_.contains(event.slot) && !event.content.empty());
        bodies_[event.slot] += as_text(event.content);
        break;
      case Session::Kind::ready:
        require(begun_.erase(event.slot) == 1);
        run(event.slot);
        break;
      case Session::Kind::dropped:
        require(begun_.erase(event.slot) == 1);
        break;
      case Session::Kind::aborted:
        require(handed_over_.contains(event.slot));
        break;
      case Session::Kind::reply:
        require_whole_records(event.content);
        break;
      case Session::Kind::violation:
        is_broken_ = true;
        break;
    }
    require(session_.live() >= begun_.size() + handed_over_.size());
  }

  // Every other request is finished at once, the rest stay until three are there.
  void run(std::size_t slot) {
    for (const auto& [name, value] : session_.params(slot).pairs)
      said_.append(name).append("=").append(value).append(";");
    said_ += bodies_[slot];
    handed_over_.insert(slot);
    if (++count_ % 2 == 0 || handed_over_.size() > 3) {
      session_.finish(*handed_over_.begin());
      handed_over_.erase(handed_over_.begin());
    }
  }

  Session session_;
  std::set<std::size_t> begun_, handed_over_;
  std::string said_;
  std::map<std::size_t, std::string> bodies_;  // by slot
  std::size_t count_ = 0;
  bool is_broken_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t first = data[0] + 1u, second = data[1] + 1u;
  const Bytes input = std::as_bytes(std::span(data + 2, size - 2));
  const SessionLimits limits{.params_bytes = 600, .body_bytes = 1'000, .requests = 5};
  Watcher whole(limits), cut(limits);
  whole.receive(input);
  bool is_first = true;
  for (Bytes rest = input; !rest.empty(); is_first = !is_first) {
    const std::size_t taken = std::min(rest.size(), is_first ? first : second);
    cut.receive(rest.first(taken));
    rest = rest.subspan(taken);
  }
  require(whole.said() == cut.said());
  return 0;
}
