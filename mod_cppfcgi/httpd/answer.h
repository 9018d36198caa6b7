// What an application's header means to httpd: status, headers, redirects and conditions, as mod_cgi does it.
#pragma once

#include <httpd.h>

#include "mod_cppfcgi/core/answer_head.h"

namespace cppfcgi {

enum class AnswerPlan {
  send,        // the body that follows
  send_empty,  // the header alone: 204, 304
  local_redirect,
  refuse,  // httpd answers with `status` in the application's place: 302, 412
};

struct Answer {
  AnswerPlan plan = AnswerPlan::send;
  int status = OK;                 // refuse
  const char* location = nullptr;  // local_redirect
};

// Its body goes out as it comes: server-sent events, or what says so by X-Accel-Buffering (a header that clients do not
// get).
bool is_stream(const AnswerHead& head);

Answer apply_head(request_rec* request, const AnswerHead& head, bool is_nph);

// Carries on at another URL of this server. The answer's header is that one's then.
void redirect_locally(request_rec* request, const char* location);

}  // namespace cppfcgi
