#include "mod_cppfcgi/manager/program_file.h"

#include <algorithm>
#include <utility>

namespace cppfcgi {
namespace {

constexpr Duration settle_time{200};        // after the last change: whoever writes a file does it in several steps
constexpr Duration neighbour_pause{2'000};  // a folder may be written to all the time

Time clock_now() { return std::chrono::steady_clock::now(); }

std::optional<PinnedProgram> pin(const std::string& path) {
  auto pinned = PinnedProgram::pin(path);
  if (!pinned) return std::nullopt;  // there is none now: a start will say so
  return *std::move(pinned);
}

}  // namespace

void ProgramFile::follow(bool is_followed) {
  if (std::exchange(is_followed_, is_followed) == is_followed) return;
  candidate_.reset();
  in_force_ = is_followed ? pin(path_) : std::nullopt;
}

bool ProgramFile::adopt(const std::vector<Serving>& serving) {
  if (!in_force_) return false;
  std::optional<PinnedProgram> other;
  for (const Serving& worker : serving) {
    if (worker.program == in_force_->id()) return false;
    auto running = PinnedProgram::pin_running(worker.pid);
    // Of a script that is the interpreter: the script itself cannot be had any more.
    if (running && running->id() == worker.program) other = *std::move(running);
  }
  if (!other) return false;
  candidate_ = std::exchange(in_force_, std::move(other));
  return true;
}

std::uint64_t ProgramFile::id(bool is_trial) const {
  const auto& program = is_trial && candidate_ ? candidate_ : in_force_;
  return program ? program->id() : 0;
}

const PinnedProgram* ProgramFile::to_start(bool is_trial) const {
  const auto& program = is_trial && candidate_ ? candidate_ : in_force_;
  return program && !program->is_in_place(path_) ? &*program : nullptr;
}

void ProgramFile::commit() {
  if (candidate_) in_force_ = std::exchange(candidate_, std::nullopt);
}

Fd ProgramFile::open_in_force() const { return in_force_ ? in_force_->open_to_read() : Fd(); }

void ProgramFile::watch(bool is_backing_off) {
  is_backing_off_ = is_backing_off;
  if (!is_followed_ && !is_backing_off) {
    watch_.reset();
    due_.reset();
    return;
  }
  if (watch_ && !std::exchange(must_watch_anew_, false)) return;
  auto watch = ProgramWatch::make(loop_, path_, [this](ProgramWatch::Change change) { note(change); });
  const bool is_first = !watch_;
  watch_.reset();
  // Otherwise there is no such folder, or no more watches: time alone brings the next try.
  if (!watch) return;
  watch_.emplace(*std::move(watch));
  if (is_followed_ && is_first) due_ = clock_now() + settle_time;  // what changed before we looked
}

void ProgramFile::note(ProgramWatch::Change change) {
  const Time now = clock_now();
  if (change == ProgramWatch::Change::program) {
    must_watch_anew_ = true;
    due_ = is_followed_ ? now + settle_time : now;
  } else if (is_backing_off_ && !due_) {
    last_neighbour_ = std::max(now, last_neighbour_ + neighbour_pause);
    due_ = last_neighbour_;
  }
}

std::optional<Happened> ProgramFile::look(Time now) {
  if (!due_ || *due_ > now) return std::nullopt;
  due_.reset();
  return is_followed_ ? compare() : Happened::program_changed;
}

Happened ProgramFile::compare() {
  auto found = pin(path_);
  const bool is_known = !found || (candidate_ && found->is_same_state(*candidate_)) ||
                        (!candidate_ && in_force_ && found->is_same_state(*in_force_));
  if (is_known) return Happened::program_changed;
  if (in_force_ && found->is_same_state(*in_force_)) {  // the old one is back
    candidate_.reset();
    return Happened::withdrawn;
  }
  candidate_ = std::move(found);
  return Happened::deployed;
}

std::optional<Time> ProgramFile::next_deadline() const { return due_; }

}  // namespace cppfcgi
