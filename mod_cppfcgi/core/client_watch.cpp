#include "mod_cppfcgi/core/client_watch.h"

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;

constexpr auto half_close_grace = 1000ms;
constexpr auto look_period = 250ms;

}  // namespace

pollfd ClientWatch::wanted() const {
  // Once it has half closed it would be ready for ever; an error or a full close still shows.
  const int input = half_closed_ ? 0 : POLLRDHUP;
  return {.fd = socket_, .events = static_cast<short>(has_output() ? input | POLLOUT : input), .revents = 0};
}

ClientWatch::Clock::time_point ClientWatch::look_again(Clock::time_point now) const {
  if (half_closed_) return *half_closed_ + half_close_grace;
  return socket_ < 0 ? now + look_period : Clock::time_point::max();
}

bool ClientWatch::is_gone(short happened, Clock::time_point now) {
  if ((happened & POLLOUT) != 0 && has_output()) output_->write_on();
  if (is_aborted_(context_) || (happened & (POLLHUP | POLLERR | POLLNVAL)) != 0) return true;
  if ((happened & POLLRDHUP) != 0 && !half_closed_) half_closed_ = now;
  return half_closed_ && now >= *half_closed_ + half_close_grace;
}

bool ClientWatch::is_gone_now() {
  pollfd client = wanted();
  if (::poll(&client, 1, 0) < 0) client.revents = 0;
  return is_gone(client.revents, Clock::now());
}

}  // namespace cppfcgi
