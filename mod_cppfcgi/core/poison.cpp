#include "mod_cppfcgi/core/poison.h"

#include <algorithm>

namespace cppfcgi {
namespace {

constexpr std::uint32_t places = 8;
constexpr int most_tries = 8;
constexpr std::uint32_t most_counted = 255;
constexpr std::uint32_t count_again_every = 64;
constexpr Poisons::Seconds clock_slack = 2;  // another thread's now may be a little after ours

// PoisonRow::deaths.
struct Deaths {
  std::uint32_t count = 0;       // 8 bits
  std::uint32_t worker = 0;      // 24 bits of the last one's identity
  Poisons::Seconds seconds = 0;  // of the last one

  static Deaths unpack(std::uint64_t word) {
    return {.count = static_cast<std::uint32_t>(word >> 56),
            .worker = static_cast<std::uint32_t>(word >> 32) & 0xffffff,
            .seconds = static_cast<Poisons::Seconds>(word)};
  }
  std::uint64_t pack() const { return std::uint64_t{count} << 56 | std::uint64_t{worker} << 32 | seconds; }

  // What lies in the future is nobody's honest word.
  bool is_within(Poisons::Seconds age, Poisons::Seconds now) const {
    return seconds > now ? seconds - now <= clock_slack : now - seconds < age;
  }
};

std::uint32_t tag(std::uint64_t worker) { return static_cast<std::uint32_t>((worker * 0x9e3779b97f4a7c15) >> 40); }

PoisonRow& place(Load& load, std::uint64_t fingerprint, std::uint32_t i) {
  return load.poisons[(fingerprint + i) % max_poisons];
}

}  // namespace

PoisonRow* Poisons::find(std::uint64_t fingerprint) {
  for (std::uint32_t i = 0; i < places; ++i) {
    PoisonRow& row = place(*load_, fingerprint, i);
    if (row.fingerprint.load() == fingerprint) return &row;
  }
  return nullptr;
}

// A free place, or the oldest's. nullptr: others took them meanwhile.
PoisonRow* Poisons::make(std::uint64_t fingerprint, Seconds now) {
  PoisonRow* best = nullptr;
  std::uint64_t found = 0;
  Seconds oldest = 0;
  for (std::uint32_t i = 0; i < places; ++i) {
    PoisonRow& row = place(*load_, fingerprint, i);
    const std::uint64_t there = row.fingerprint.load();
    const Deaths deaths = Deaths::unpack(row.deaths.load());
    const bool is_free = there == 0 || !deaths.is_within(memory_seconds, now);
    const Seconds age = is_free ? memory_seconds : now - std::min(deaths.seconds, now);
    if (best != nullptr && age <= oldest) continue;
    best = &row;
    found = there;
    oldest = age;
  }
  if (found == 0) load_->poison_count.fetch_add(1);
  best->deaths.store(0);
  if (best->fingerprint.compare_exchange_strong(found, fingerprint)) return best;
  if (found == 0) load_->poison_count.fetch_sub(1);
  return nullptr;
}

void Poisons::free(PoisonRow& row, std::uint64_t fingerprint) {
  if (row.fingerprint.compare_exchange_strong(fingerprint, 0)) load_->poison_count.fetch_sub(1);
}

// One row at a time, so that none stays for ever.
void Poisons::tidy(Seconds now) {
  const std::uint32_t turn = next_tidied_.fetch_add(1, std::memory_order_relaxed);
  PoisonRow& row = load_->poisons[turn % max_poisons];
  const std::uint64_t fingerprint = row.fingerprint.load();
  if (fingerprint != 0 && !Deaths::unpack(row.deaths.load()).is_within(memory_seconds, now)) free(row, fingerprint);
  if (turn % count_again_every == 0) count_again();
}

// A process that was killed between its two writes, or wrote nonsense, has left the count wrong. So may we, where
// another is between its two now: the next time mends it.
void Poisons::count_again() {
  std::uint32_t before = load_->poison_count.load();
  const auto used =
      std::ranges::count_if(load_->poisons, [](const PoisonRow& row) { return row.fingerprint.load() != 0; });
  load_->poison_count.compare_exchange_strong(before, static_cast<std::uint32_t>(used));
}

Poisons::Seconds Poisons::refused_for(std::uint64_t fingerprint, Seconds now) {
  tidy(now);
  const PoisonRow* row = find(fingerprint);
  if (row == nullptr) return 0;
  const Deaths deaths = Deaths::unpack(row->deaths.load());
  if (deaths.count < enough_deaths || !deaths.is_within(refusal_seconds, now)) return 0;
  return refusal_seconds - (now - std::min(deaths.seconds, now));
}

std::uint32_t Poisons::add_death(std::uint64_t fingerprint, std::uint64_t worker, Seconds now) {
  for (int tries = 0; tries < most_tries; ++tries) {
    PoisonRow* row = find(fingerprint);
    if (row == nullptr) row = make(fingerprint, now);
    if (row == nullptr) continue;
    std::uint64_t before = row->deaths.load();
    const Deaths deaths = Deaths::unpack(before);
    const bool goes_on = deaths.count > 0 && deaths.is_within(memory_seconds, now);
    if (goes_on && deaths.worker == tag(worker)) return 0;
    const std::uint32_t count = goes_on ? std::min(deaths.count + 1, most_counted) : 1;
    if (row->deaths.compare_exchange_strong(before, Deaths{count, tag(worker), now}.pack())) return count;
  }
  return 0;
}

void Poisons::clear(std::uint64_t fingerprint) {
  if (PoisonRow* row = find(fingerprint)) free(*row, fingerprint);
}

}  // namespace cppfcgi
