// The rules of manager/crash_text.h.
#include "mod_cppfcgi/manager/crash_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace cppfcgi {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Frame frame(const std::string& function, const std::string& module = "/srv/a/app.fcgi") {
  return {.address = 0x55d0, .function = function, .module = module, .offset = 0x1234};
}

CrashRecord crash(std::uint64_t signal, std::int64_t code = 1, std::uint64_t address = 0) {
  return {.signal = signal,
          .code = code,
          .address = address,
          .sp = 0x7ffc'0010'0000,
          .request_id = "abc",
          .method = "GET",
          .uri = "/cart"};
}

TEST(CrashText, TopIsTheApplicationsInnermostFunction) {
  const std::vector<std::pair<Frames, std::string>> cases = {
      {{frame("Cart::total()"), frame("main")}, "Cart::total"},
      {{frame("raise", "/lib/x/libc.so.6"), frame("__cxa_throw", "/lib/x/libstdc++.so.6.0.30"), frame("f(int)")}, "f"},
      {{frame("std::vector<int>::at(unsigned long)"), frame("Cart::total() const")}, "Cart::total"},
      {{frame("cppfcgi::Response::header(std::string_view)"), frame("handle")}, "handle"},
      {{frame(""), frame("f()")}, "f"},
      {{frame("memcpy", "/lib/x/libc.so.6")}, ""},
      {{frame("_start")}, ""},
      {{}, ""}};
  for (const auto& [frames, expected] : cases) EXPECT_EQ(top_function(frames), expected);
}

TEST(CrashText, TopIsNamedWithoutParametersAndReturnType) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"Cart::total(int (*)(char), std::function<void (int)>) const", "Cart::total"},
      {"(anonymous namespace)::total(int)", "(anonymous namespace)::total"},
      {"main::{lambda(Request const&, Response&)#1}::operator()(Request const&, Response&) const",
       "main::{lambda#1}::operator()"},
      {"int total<int, char>(int, char)", "total<int, char>"},
      {"std::pair<int, int> Cart::total<int>(int)", "Cart::total<int>"},
      {"Cart::operator bool() const", "Cart::operator bool"},
      {"Cart::total() [clone .isra.0] [clone .cold]", "Cart::total"},
      {"f(", "f"},
      {"total\n[error]", "total\\n[error]"}};
  for (const auto& [function, expected] : cases) EXPECT_EQ(top_function({frame(function)}), expected);
}

TEST(CrashText, CauseSaysWhatHappenedWhereAndInWhichRequest) {
  const Frames frames = {frame("Cart::total()")};
  const std::string rest = " in Cart::total, request abc GET /cart";
  const std::vector<std::pair<CrashRecord, std::string>> cases = {
      {crash(SIGSEGV), "SIGSEGV at 0x0"},
      {crash(SIGSEGV, SEGV_ACCERR, 0xdead), "SIGSEGV at 0xdead"},
      {crash(SIGSEGV, SEGV_MAPERR, 0x7ffc'000f'fff8), "SIGSEGV at 0x7ffc000ffff8 (stack overflow)"},
      {crash(SIGBUS, BUS_ADRERR, 0x7ffc'000f'fff8), "SIGBUS at 0x7ffc000ffff8"},
      {crash(SIGSEGV, SI_KERNEL), "SIGSEGV at an address that cannot be"},
      {crash(SIGABRT, SI_TKILL), "SIGABRT"},
      {crash(~std::uint64_t{0}), "signal 18446744073709551615 at 0x0"}};
  for (const auto& [record, expected] : cases) EXPECT_EQ(cause(record, frames), expected + rest);
  CrashRecord sent = crash(SIGSEGV, SI_USER);
  sent.sender = 4'711;
  EXPECT_EQ(cause(sent, frames), "SIGSEGV sent by pid 4711" + rest);
}

TEST(CrashText, CauseNamesTheExceptionThatNobodyCaught) {
  CrashRecord record = crash(SIGABRT, SI_TKILL);
  record.exception = "std::runtime_error";
  record.what = "no such item\n[error] forged";
  EXPECT_EQ(cause(record, {frame("Cart::total()")}),
            "SIGABRT in Cart::total (nobody caught std::runtime_error: no such item\\n[error] forged), "
            "request abc GET /cart");
  record.exception = "my\nown";
  EXPECT_EQ(cause(record, {}),
            "SIGABRT (nobody caught my\\nown: no such item\\n[error] forged), request abc GET /cart");
}

TEST(CrashText, CauseMakesDoWithWhatIsKnown) {
  EXPECT_EQ(cause({.signal = SIGSEGV, .code = 1}, {}), "SIGSEGV at 0x0");
  EXPECT_EQ(cause({.signal = SIGABRT}, {frame("raise", "/lib/libc.so.6")}), "SIGABRT in libc.so.6+0x1234");
  CrashRecord record = crash(SIGFPE, FPE_INTDIV, 0x55d0);
  record.request_id.clear();
  record.uri = "/a\r\n[error] forged";
  EXPECT_EQ(cause(record, {}), "SIGFPE at 0x55d0, request GET /a\\r\\n[error] forged");
}

TEST(CrashText, CauseTellsOfExit) {
  CrashRecord record = crash(0);
  record.exit_status = 3;
  EXPECT_EQ(cause(record, {}), "called exit(3) in request abc GET /cart");
  EXPECT_EQ(cause({}, {}), "called exit(0)");
}

TEST(CrashText, FramesAreALineEach) {
  Frame with_line =
      frame("Cart::total(std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >)");
  with_line.file = "/home/me/src/cart.cpp";
  with_line.line = 42;
  EXPECT_THAT(frame_lines({with_line, frame(""), {.address = 0x10}}),
              ElementsAre("#0 0x55d0 Cart::total(std::string) at cart.cpp:42 (app.fcgi+0x1234)",
                          "#1 0x55d0 (app.fcgi+0x1234)", "#2 0x10"));
  EXPECT_THAT(frame_lines({frame("f\n"), frame("g", "/srv/\x1b[31m")}),
              ElementsAre("#0 0x55d0 f\\n (app.fcgi+0x1234)", "#1 0x55d0 g (\\x1b[31m+0x1234)"));
}

TEST(CrashText, FramesOfARecursionAreOneLine) {
  EXPECT_THAT(frame_lines({frame("a"), frame("f"), frame("f"), frame("f"), frame("g")}),
              ElementsAre("#0 0x55d0 a (app.fcgi+0x1234)", "#1 0x55d0 f (app.fcgi+0x1234), 3 times",
                          "#4 0x55d0 g (app.fcgi+0x1234)"));
}

TEST(CrashText, RawFramesAreInTheirModules) {
  const CrashRecord record{.modules = {{.start = 0x1000, .end = 0x2000, .offset = 0x100, .path = "/a"}},
                           .frames = {0x1010, 0x2000, 0x1fff}};
  EXPECT_THAT(raw_frames(record),
              ElementsAre(Frame{.address = 0x1010, .module = "/a", .offset = 0x110}, Frame{.address = 0x2000},
                          Frame{.address = 0x1fff, .module = "/a", .offset = 0x10ff}));
}

TEST(CrashText, DetailsAreWhatElseIsKnown) {
  CrashRecord record = crash(SIGSEGV);
  record.client = "192.0.2.7";
  record.thread = 812;
  record.thread_name = "cart";
  record.modules = {{.start = 1, .end = 2, .build_id = "0aff", .path = "/srv/a/app.fcgi"}};
  record.is_whole = true;
  EXPECT_THAT(detail_lines(record, "used little"),
              ElementsAre("the request's client: 192.0.2.7", "in thread 812 (cart)", "build id of app.fcgi: 0aff",
                          "used little"));
  EXPECT_THAT(detail_lines({}, ""), ElementsAre("its record broke off"));
  EXPECT_THAT(detail_lines({.is_whole = true}, ""), IsEmpty());
}

TEST(CrashText, ThreadsAreTheirNameAndFrames) {
  EXPECT_THAT(stack_lines({.threads = {{.id = 7, .name = "a\tb", .state = "running", .frames = {frame("f")}},
                                       {.id = 8, .name = "c", .state = "sleeping", .failure = "it does not stop"}},
                           .failure = "broke off"}),
              ElementsAre("thread 7 (a\\tb, running):", "#0 0x55d0 f (app.fcgi+0x1234)",
                          "thread 8 (c, sleeping): it does not stop", "stacks: broke off"));
}

TEST(CrashText, StacksAreDecodedAsTheyWereEncoded) {
  ThreadStack thread{.id = 812, .name = "cart", .state = "running", .failure = "none", .frames = {}};
  Frame full = frame("Cart::total(int)");
  full.file = "cart.cpp";
  full.line = 42;
  const std::string text = encode_thread(thread) + encode_frame(full) + encode_frame({}) + encode_end("");
  thread.frames = {full, {}};
  EXPECT_EQ(decode_stacks(text), (Stacks{.threads = {thread}, .failure = ""}));
  EXPECT_EQ(decode_stacks(encode_end("no\tright")).failure, "no\\tright");
}

TEST(CrashText, StacksThatBreakOffAreKept) {
  const std::string text = encode_thread({.id = 1}) + encode_frame(frame("f")) + encode_frame(frame("g"));
  const Stacks stacks = decode_stacks(std::string_view(text).substr(0, text.size() - 1));
  EXPECT_EQ(stacks.failure, "the reading of stacks broke off");
  ASSERT_EQ(stacks.threads.size(), 1u);
  EXPECT_EQ(stacks.threads[0].frames, Frames{frame("f")});
  EXPECT_EQ(decode_stacks("frame\t1\nthread\nframe\tx\nend\n").threads.size(), 1u);
}

}  // namespace
}  // namespace cppfcgi
