#include "mod_cppfcgi/manager/endpoints.h"

#include <gtest/gtest.h>

#include <ostream>

namespace cppfcgi {

void PrintTo(const EndpointAction& action, std::ostream* out) {
  *out << static_cast<int>(action.what) << " of " << action.endpoint << " in " << action.delay.count() << " ms";
}

namespace {

using namespace std::chrono_literals;
using enum EndpointDo;

const Time t0 = Time{} + 1h;

// Begun, and all of them reached.
Endpoints serving(std::uint32_t count) {
  Endpoints endpoints(count);
  endpoints.begin(t0);
  for (std::uint32_t i = 0; i < count; ++i) endpoints.reached(i, t0);
  return endpoints;
}

TEST(Endpoints, ServeOnceTheyWereReached) {
  Endpoints endpoints(2);
  EXPECT_EQ(endpoints.begin(t0), (EndpointActions{{probe, 0}, {probe, 1}}));
  EXPECT_FALSE(endpoints.serves(0));
  EXPECT_FALSE(endpoints.refuses_for(t0)) << "nobody knows yet";
  EXPECT_EQ(endpoints.reached(1, t0), (EndpointActions{{publish, 1}}));
  EXPECT_TRUE(endpoints.serves(1));
  EXPECT_FALSE(endpoints.serves(0));
}

TEST(Endpoints, WaitForNothingWhileAllServe) { EXPECT_FALSE(serving(3).next_deadline()); }

TEST(Endpoints, OneThatCannotBeReachedIsSetAsideAndToldOnce) {
  Endpoints endpoints(1);
  endpoints.begin(t0);
  EXPECT_EQ(endpoints.failed(0, t0), (EndpointActions{{report_set_aside, 0, 100ms}}));
  EXPECT_EQ(endpoints.time_passed(t0 + 100ms), (EndpointActions{{probe, 0}}));
  EXPECT_EQ(endpoints.failed(0, t0 + 100ms), EndpointActions{});
  EXPECT_EQ(endpoints.time_passed(t0 + 300ms), (EndpointActions{{probe, 0}}));
  EXPECT_EQ(endpoints.reached(0, t0 + 300ms), (EndpointActions{{report_return, 0}, {publish, 0}}));
  EXPECT_FALSE(endpoints.next_deadline());
}

TEST(Endpoints, PausesBetweenProbesDoubleUpToTheLongest) {
  Endpoints endpoints(1);
  endpoints.begin(t0);
  Time now = t0;
  std::vector<Duration> pauses;
  for (int i = 0; i < 7; ++i) {
    endpoints.failed(0, now);
    pauses.push_back(std::chrono::duration_cast<Duration>(*endpoints.next_deadline() - now));
    now = *endpoints.next_deadline();
    endpoints.time_passed(now);
  }
  EXPECT_EQ(pauses, (std::vector<Duration>{100ms, 200ms, 400ms, 800ms, 1600ms, 2000ms, 2000ms}));
}

TEST(Endpoints, OneThatChildrenComplainOfIsProbedAtOnceAndServesNobodyMeanwhile) {
  Endpoints endpoints = serving(2);
  EXPECT_EQ(endpoints.suspect(0, t0 + 5s), (EndpointActions{{publish, 0}, {probe, 0}}));
  EXPECT_FALSE(endpoints.serves(0));
  EXPECT_TRUE(endpoints.serves(1));
  EXPECT_EQ(endpoints.suspect(0, t0 + 5s), EndpointActions{}) << "known";
  EXPECT_EQ(endpoints.reached(0, t0 + 5s), (EndpointActions{{publish, 0}})) << "and nobody need be told";
}

TEST(Endpoints, AComplaintRightAfterItWasReachedCostsItAPause) {
  Endpoints endpoints = serving(1);
  EXPECT_EQ(endpoints.suspect(0, t0 + 10ms), (EndpointActions{{publish, 0}}));
  EXPECT_EQ(endpoints.next_deadline(), t0 + 110ms);
  EXPECT_EQ(endpoints.refuses_for(t0 + 10ms), 100ms);
  EXPECT_EQ(endpoints.time_passed(t0 + 110ms), (EndpointActions{{probe, 0}}));
  EXPECT_EQ(endpoints.failed(0, t0 + 110ms), (EndpointActions{{report_set_aside, 0, 200ms}})) << "now one knows why";
}

TEST(Endpoints, AProbeThatTakesTooLongHasFailed) {
  Endpoints endpoints(1);
  endpoints.begin(t0);
  EXPECT_EQ(endpoints.next_deadline(), t0 + Endpoints::patience);
  EXPECT_EQ(endpoints.time_passed(t0 + Endpoints::patience),
            (EndpointActions{{end_probe, 0}, {report_set_aside, 0, 100ms}}));
  EXPECT_EQ(endpoints.reached(0, t0 + 3s), EndpointActions{}) << "too late";
}

TEST(Endpoints, RefuseOnlyWhereNoneServesAndAllHaveFailed) {
  Endpoints endpoints = serving(2);
  endpoints.suspect(0, t0 + 5s);
  endpoints.failed(0, t0 + 5s);
  EXPECT_FALSE(endpoints.refuses_for(t0 + 5s)) << "the other serves";
  endpoints.suspect(1, t0 + 5s);
  EXPECT_FALSE(endpoints.refuses_for(t0 + 5s)) << "the other may yet turn out to serve";
  endpoints.failed(1, t0 + 5s);
  EXPECT_EQ(endpoints.refuses_for(t0 + 5s), 100ms);
  endpoints.time_passed(t0 + 5s + 100ms);
  endpoints.reached(1, t0 + 5s + 100ms);
  EXPECT_FALSE(endpoints.refuses_for(t0 + 5s + 100ms));
}

TEST(Endpoints, AnAdoptedOneServesWhileItIsProbed) {
  Endpoints endpoints(2);
  endpoints.adopt(0);
  EXPECT_EQ(endpoints.begin(t0), (EndpointActions{{probe, 0}, {probe, 1}}));
  EXPECT_TRUE(endpoints.serves(0));
  EXPECT_EQ(endpoints.reached(0, t0), EndpointActions{}) << "as before";
  Endpoints gone(1);
  gone.adopt(0);
  gone.begin(t0);
  EXPECT_EQ(gone.failed(0, t0), (EndpointActions{{publish, 0}, {report_set_aside, 0, 100ms}}));
}

}  // namespace
}  // namespace cppfcgi
