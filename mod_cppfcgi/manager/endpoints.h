// Endpoints: the whole policy of an external application: which of the places where it listens serve, which are set
// aside, and when those are probed. Pure, as Pool is: what happened goes in with the time, what to do comes out.
//
//            begin           reached                    cannot be reached
//   (known) ──────▶ probing ─────────▶ serves ──────────────────────────────────▶ probing ──reached──▶ serves
//                      │ failed                                                      │ failed
//                      └────────────▶ set aside ◀────────────────────────────────────┘
//                                        │ its pause is over: probed; each failure doubles the pause
//
// httpd's children say that an endpoint cannot be reached, and may be wrong: a probe decides. Where they say so again
// right after it was reached, it has a pause first.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "mod_cppfcgi/manager/pool_events.h"

namespace cppfcgi {

enum class EndpointDo : std::uint8_t {
  probe,             // connect
  end_probe,         // it has taken too long
  publish,           // whether it serves has changed
  report_set_aside,  // once, however often probes fail; delay: until the next
  report_return,     // of one that was reported
};

struct EndpointAction {
  EndpointDo what = EndpointDo::probe;
  std::uint32_t endpoint = 0;
  Duration delay{0};
  friend bool operator==(const EndpointAction&, const EndpointAction&) = default;
};
using EndpointActions = std::vector<EndpointAction>;

class Endpoints {
 public:
  explicit Endpoints(std::uint32_t count) : all_(count) {}

  void adopt(std::uint32_t endpoint) { all_[endpoint].serves = true; }  // of an earlier manager; before begin()
  EndpointActions begin(Time now);
  EndpointActions suspect(std::uint32_t endpoint, Time now);  // somebody could not connect
  EndpointActions reached(std::uint32_t endpoint, Time now);  // a probe has connected
  EndpointActions failed(std::uint32_t endpoint, Time now);   // it has not
  EndpointActions time_passed(Time now);

  std::optional<Time> next_deadline() const;
  bool serves(std::uint32_t endpoint) const { return all_[endpoint].serves; }
  // None serves, and none is expected to before a pause is over: for how long that is.
  std::optional<Duration> refuses_for(Time now) const;

  static constexpr Duration first_pause{100};
  static constexpr Duration longest_pause{2'000};
  static constexpr Duration patience{2'000};  // for a probe
  static constexpr Duration trust{1'000};     // that one must have served to be probed at once

 private:
  struct Endpoint {
    bool serves = false;
    bool is_probed = false;      // now
    bool is_reported = false;    // as set aside
    std::uint32_t failures = 0;  // in a row
    std::optional<Time> due;     // its probe: the next one, or the end of the one under way
    std::optional<Time> reached;
  };
  void probe(std::uint32_t endpoint, Time now);
  void set_aside(std::uint32_t endpoint, Time now);
  void withdraw(std::uint32_t endpoint);
  void note(EndpointDo what, std::uint32_t endpoint, Duration delay = Duration{0}) {
    actions_.push_back({what, endpoint, delay});
  }
  EndpointActions take();

  std::vector<Endpoint> all_;
  EndpointActions actions_;
};

}  // namespace cppfcgi
