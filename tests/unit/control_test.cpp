// The control socket's messages, and texts in memory, over a real socket pair.
#include "shared/control.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace cppfcgi {
namespace {

using std::chrono::milliseconds;

struct Ends {
  Fd here, there;
  Ends() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    here.reset(pair[0]);
    there.reset(pair[1]);
  }
};

TEST(Control, AMessageArrivesWithItsTextAndDescriptors) {
  Ends ends;
  Message sent{.kind = MessageKind::configure, .number = 7, .text = "hello"};
  sent.descriptors.push_back(std::move(*text_to_memory("a configuration")));
  ASSERT_TRUE(send_message(ends.here.get(), sent));
  auto got = receive_message(ends.there.get(), milliseconds(1000));
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_EQ(got->kind, MessageKind::configure);
  EXPECT_EQ(got->number, 7U);
  EXPECT_EQ(got->text, "hello");
  ASSERT_EQ(got->descriptors.size(), 1U);
  EXPECT_EQ(*text_from_memory(got->descriptors[0].get(), 100), "a configuration");
}

TEST(Control, ATextThatIsTooLongIsRefusedBySender) {
  Ends ends;
  const auto sent = send_message(ends.here.get(), {.text = std::string(max_message_text_bytes + 1, 'x')});
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, EMSGSIZE);
}

TEST(Control, NothingInTimeIsATimeOut) {
  Ends ends;
  EXPECT_EQ(receive_message(ends.there.get(), milliseconds(0)).error().code, ETIMEDOUT);
  EXPECT_EQ(receive_message(ends.there.get(), milliseconds(20)).error().code, ETIMEDOUT);
}

TEST(Control, TheOtherEndsCloseIsToldFromFailures) {
  Ends ends;
  ends.here.reset();
  const auto got = receive_message(ends.there.get(), milliseconds(1000));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, 0);
}

TEST(Control, APacketThatIsNoMessageIsRefused) {
  Ends ends;
  ASSERT_EQ(send(ends.here.get(), "garbage", 7, 0), 7);
  EXPECT_EQ(receive_message(ends.there.get(), milliseconds(1000)).error().code, EBADMSG);
}

TEST(Control, AMemoryTextBeyondTheLimitIsRefused) {
  const auto memory = text_to_memory(std::string(101, 'x'));
  EXPECT_EQ(text_from_memory(memory->get(), 100).error().code, EFBIG);
}

}  // namespace
}  // namespace cppfcgi
