#include "shared/address.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace cppfcgi {
namespace {

TEST(Address, IsAPathOrAnAddressAndAPort) {
  EXPECT_EQ(Address::from("/run/x")->family(), AF_UNIX);
  EXPECT_EQ(Address::from("127.0.0.1:9000")->family(), AF_INET);
  EXPECT_EQ(Address::from("[::1]:9000")->family(), AF_INET6);
  EXPECT_EQ(reinterpret_cast<const sockaddr_in*>(Address::from("127.0.0.1:9000")->get())->sin_port, htons(9000));
  EXPECT_EQ(*Address::from("127.0.0.1:9000"), *Address::from("127.0.0.1:9000"));
  EXPECT_FALSE(*Address::from("127.0.0.1:9000") == *Address::from("127.0.0.1:9001"));
}

TEST(Address, IsNothingElse) {
  for (const std::string text :
       {"", "run/x", "localhost:9000", "127.0.0.1", "127.0.0.1:", ":9000", "127.0.0.1:0", "127.0.0.1:65536",
        "127.0.0.1:9x", "::1:9000", "[::1]", "[127.0.0.1]:9000", "1.2.3:9", "[]:9000"}) {
    EXPECT_FALSE(Address::from(text)) << text;
  }
  EXPECT_TRUE(Address::from("/" + std::string(106, 'x')));
  EXPECT_FALSE(Address::from("/" + std::string(107, 'x')));
}

TEST(HostPort, IsANameAndAPort) {
  EXPECT_EQ(split_host_port("a.example:9000")->host, "a.example");
  EXPECT_EQ(split_host_port("[::1]:80")->host, "::1");
  EXPECT_EQ(split_host_port("[::1]:80")->port, 80);
  EXPECT_FALSE(split_host_port("a.example"));
  EXPECT_FALSE(split_host_port("a.example:http"));
}

}  // namespace
}  // namespace cppfcgi
