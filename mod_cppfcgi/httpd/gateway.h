// Gateway: one request's way to a worker and its answer's way back, from the claim to the last byte. Lives as long as
// the handler runs. The story: run() → attempt() (claim, connect, converse) → the answer's events. What is lost is
// judged by core/retry.h.
#pragma once

#include <httpd.h>

#include <optional>
#include <string>
#include <variant>

#include "mod_cppfcgi/core/conversation.h"
#include "mod_cppfcgi/core/drainer.h"
#include "mod_cppfcgi/core/retry.h"
#include "mod_cppfcgi/httpd/answer.h"
#include "mod_cppfcgi/httpd/child_state.h"
#include "mod_cppfcgi/httpd/claimed_worker.h"
#include "mod_cppfcgi/httpd/client_output.h"
#include "mod_cppfcgi/httpd/delivery.h"
#include "mod_cppfcgi/httpd/error_text.h"
#include "mod_cppfcgi/httpd/pool_settings.h"
#include "mod_cppfcgi/httpd/suspect.h"

namespace cppfcgi {

class Gateway {
 public:
  Gateway(request_rec* request, const PoolSettings& settings, ChildState& child, std::string& opening,
          const BodySource& body);

  int run();  // what the handler returns

 private:
  // The request is done with, one way or the other; this is what the handler returns.
  struct Over {
    int status = OK;
  };
  using Outcome = std::variant<Over, Attempt>;

  Outcome attempt();
  std::optional<Over> claim();
  Over without_pool(const Error& why);
  std::string size_option() const;

  Outcome converse(Conversation& conversation);
  std::optional<Outcome> take(Conversation& conversation, Bytes bytes);
  std::optional<Over> pass_on(Conversation& conversation, std::optional<DrainedAnswer>& drained);
  std::optional<Over> wait_for_room(Conversation& conversation);
  std::optional<Over> pass_drained(Conversation& conversation, DrainedAnswer& drained);
  Over end_drained(Conversation& conversation, const DrainedAnswer::Ending& ending);
  Outcome end(Conversation& conversation, const EndRequestBody& end);
  Over settle();
  Outcome lose(Conversation& conversation, const Conversation::Input& input);

  Over be_late(Conversation& conversation, const std::string& why);
  Over break_off(Conversation* conversation, int status, const std::string& why);
  Over abandon(Conversation* conversation);
  int unavailable();
  int refuse();
  int turn_away(std::uint32_t clients, std::uint32_t seconds);
  int refuse_poison(std::uint32_t seconds);
  int come_again(std::uint32_t seconds);
  void begin_answer(const AnswerHead& head);
  bool is_wanted() const;

  Outcome lost(Loss loss, Conversation* conversation);
  bool has_not_begun(Loss loss, const Conversation& conversation) const;
  void log(int level, const std::string& text) const;

  request_rec* request_;
  const PoolSettings& settings_;
  ChildState& child_;
  std::string& opening_;
  RequestSource source_;
  ClientOutput output_;
  ClientWatch client_;
  Delivery delivery_;
  ErrorText error_text_;
  ClaimedWorker worker_;
  Suspect suspect_;
  std::string last_failure_;  // for the log
  std::string begun_in_;      // the worker that was lost over it after it may have begun; "": none
  bool is_stream_ = false;
  std::optional<Answer> answer_;  // once the header has been applied
  std::size_t swallowed_ = 0;     // of a body that nobody wants
};

}  // namespace cppfcgi
