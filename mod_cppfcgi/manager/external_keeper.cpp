#include "mod_cppfcgi/manager/external_keeper.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "mod_cppfcgi/manager/obituaries.h"

namespace cppfcgi {
namespace {

constexpr Duration answer_patience{1'000};     // for its capacity: the question may hold one of its workers up
constexpr std::uint8_t any_connections = 255;  // it takes more of them than requests: SlotState::is_kept

Time clock_now() { return std::chrono::steady_clock::now(); }

}  // namespace

Result<std::unique_ptr<Keeper>> ExternalKeeper::open(const Surroundings& surroundings, const PoolConfig& config,
                                                     const Log::File& log) {
  const auto rows = surroundings.board.take(config.key(), config.slot_count());
  if (!rows) {
    return Error{ENOSPC, fmt::format("pool {}: no room for {} endpoints with {} connections each", config.name,
                                     config.endpoints.size(), config.max_connections)};
  }
  return std::unique_ptr<Keeper>(new ExternalKeeper(surroundings, {config.key(), *rows}, config, log));
}

std::unique_ptr<Keeper> ExternalKeeper::adopt(const Surroundings& surroundings, const Board::Found& found,
                                              const PoolConfig& config, const Log::File& log) {
  std::unique_ptr<ExternalKeeper> keeper(new ExternalKeeper(surroundings, found, config, log));
  for (std::uint32_t endpoint = 0; endpoint < config.endpoints.size(); ++endpoint) {
    keeper->for_each_slot(endpoint, [&](std::uint32_t slot) {
      if (surroundings.board.entry(slot).state.phase == Phase::ready) keeper->endpoints_.adopt(endpoint);
    });
  }
  surroundings.board.publish_refusal(found.rows.pool, 0);
  return keeper;
}

ExternalKeeper::ExternalKeeper(const Surroundings& surroundings, const Board::Found& row, const PoolConfig& config,
                               const Log::File& log)
    : around_(surroundings),
      log_(surroundings.log.on(log)),
      key_(row.key),
      config_(config),
      rows_(row.rows),
      places_(config.endpoints.size()),
      endpoints_(static_cast<std::uint32_t>(config.endpoints.size())) {}

ExternalKeeper::~ExternalKeeper() {
  if (!is_abandoned_) around_.board.give_back(rows_);
}

void ExternalKeeper::reconfigure(const PoolConfig& config, const Log::File& log) {
  log_ = around_.log.on(log);
  config_ = config;
}

void ExternalKeeper::begin() {
  if (std::exchange(has_begun_, true)) return;
  perform(endpoints_.begin(clock_now()));
  be_nudged();  // what was said while there was no manager
}

Board::Found ExternalKeeper::abandon() {
  is_abandoned_ = true;
  return {key_, rows_};
}

template <class Function>
void ExternalKeeper::for_each_slot(std::uint32_t endpoint, Function&& function) const {
  const auto step = static_cast<std::uint32_t>(places_.size());
  for (std::uint32_t slot = endpoint; slot < rows_.slot_count; slot += step) function(rows_.first_slot + slot);
}

void ExternalKeeper::turn() {
  const Time now = clock_now();
  for (std::uint32_t endpoint = 0; endpoint < places_.size(); ++endpoint) {
    if (places_[endpoint].answer_due && *places_[endpoint].answer_due <= now) take_offer(endpoint, std::nullopt);
  }
  if (const auto due = endpoints_.next_deadline(); due && *due <= now) perform(endpoints_.time_passed(now));
}

std::optional<Time> ExternalKeeper::next_deadline() const {
  std::optional<Time> first = endpoints_.next_deadline();
  for (const Place& place : places_) {
    if (place.answer_due && (!first || *place.answer_due < *first)) first = place.answer_due;
  }
  return first;
}

void ExternalKeeper::be_nudged() {
  for (std::uint32_t endpoint = 0; endpoint < places_.size(); ++endpoint) {
    bool is_suspect = false;
    for_each_slot(endpoint, [&](std::uint32_t slot) {
      const SlotState state = around_.board.entry(slot).state;
      is_suspect = is_suspect || (state.phase == Phase::ready && around_.claims.is_late(slot, state.generation));
    });
    if (!is_suspect) continue;
    places_[endpoint].failure = "httpd's children cannot connect to it";
    perform(endpoints_.suspect(endpoint, clock_now()));
  }
  if (around_.claims.waiting(rows_.pool) > 0) around_.claims.dispatch(rows_.pool, getpid());
}

void ExternalKeeper::perform(const EndpointActions& actions) {
  for (const EndpointAction& action : actions) {
    Place& place = places_[action.endpoint];
    const std::string& name = config_.endpoints[action.endpoint];
    switch (action.what) {
      case EndpointDo::probe:
        probe(action.endpoint);
        break;
      case EndpointDo::end_probe:
        place.probe.reset();
        place.failure = fmt::format("connect {}: nothing came of it within {}", name, text_of(Endpoints::patience));
        break;
      case EndpointDo::publish:
        publish(action.endpoint);
        break;
      case EndpointDo::report_set_aside:
        log_.error("endpoint {} of pool {} is set aside: {}; it is tried again in {}, and then at least every {}", name,
                   config_.name, place.failure, text_of(action.delay), text_of(Endpoints::longest_pause));
        break;
      case EndpointDo::report_return:
        log_.notice("endpoint {} of pool {} can be reached again", name, config_.name);
        break;
    }
  }
  refusal_sign_.show(endpoints_.refuses_for(clock_now()), around_.board, around_.claims, rows_.pool);
}

void ExternalKeeper::probe(std::uint32_t endpoint) {
  Place& place = places_[endpoint];
  place.answer_due.reset();
  auto probe =
      EndpointProbe::begin(around_.loop, config_.endpoints[endpoint],
                           {.reached =
                                [this, endpoint] {
                                  places_[endpoint].answer_due = clock_now() + answer_patience;
                                  perform(endpoints_.reached(endpoint, clock_now()));
                                },
                            .failed = [this, endpoint](const Error& why) { fail(endpoint, why); },
                            .ended = [this, endpoint](std::optional<Offer> offer) { take_offer(endpoint, offer); }});
  if (probe) {
    place.probe = *std::move(probe);
  } else if (probe.error().code == EAGAIN) {
    perform(endpoints_.reached(endpoint, clock_now()));
  } else {
    fail(endpoint, probe.error());
  }
}

void ExternalKeeper::fail(std::uint32_t endpoint, const Error& why) {
  places_[endpoint].probe.reset();
  places_[endpoint].failure = why.what;
  perform(endpoints_.failed(endpoint, clock_now()));
}

void ExternalKeeper::take_offer(std::uint32_t endpoint, std::optional<Offer> offer) {
  Place& place = places_[endpoint];
  place.probe.reset();
  place.answer_due.reset();
  const bool is_kept = offer && offer->connections > offer->capacity;
  if (std::exchange(place.is_kept, is_kept) != is_kept && endpoints_.serves(endpoint)) publish(endpoint);
}

void ExternalKeeper::publish(std::uint32_t endpoint) {
  const bool serves = endpoints_.serves(endpoint);
  for_each_slot(endpoint, [&](std::uint32_t slot) {
    SlotState state = around_.board.entry(slot).state;
    const bool is_new = serves && state.phase != Phase::ready;
    if (is_new) ++state.generation;
    state.phase = serves ? Phase::ready : Phase::empty;
    state.capacity =
        serves ? static_cast<std::uint8_t>(capacity_of_slot(config_, slot - rows_.first_slot)) : std::uint8_t{0};
    state.connections = serves && places_[endpoint].is_kept ? any_connections : std::uint8_t{0};
    around_.board.publish(slot, state);
  });
  if (!serves) return;
  log_.info("endpoint {} of pool {} serves{}", config_.endpoints[endpoint], config_.name,
            places_[endpoint].is_kept ? ", and keeps connections" : "");
  around_.claims.dispatch(rows_.pool, getpid());
}

}  // namespace cppfcgi
