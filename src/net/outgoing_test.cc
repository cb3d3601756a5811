#include "net/outgoing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/executor.h"
#include "model/error_code.h"

namespace odradek::net {
namespace {

TEST(Outgoing, AddressesAreReadAndWritten) {
  EXPECT_EQ(parse_endpoint("b1:9092")->to_string(), "b1:9092");
  EXPECT_EQ(parse_endpoint("[::1]:9092")->host, "::1");
  EXPECT_EQ(parse_endpoint("[::1]:9092")->to_string(), "[::1]:9092");
  auto several = parse_endpoints("a:1, b:2,");
  ASSERT_TRUE(several);
  EXPECT_EQ(*several, (std::vector<Endpoint>{{"a", 1}, {"b", 2}}));
}

TEST(Outgoing, WhatIsNoAddressIsRefused) {
  for (const char* text : {"", "a", ":9092", "a:", "a:0", "a:65536", "a:9x", "::1:9092", "[]:1", "[::1:9092"}) {
    auto address = parse_endpoint(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code, ErrorCode::kInvalidRequest);
  }
  EXPECT_FALSE(parse_endpoints(" , "));
}

// A listening socket on a port that the system chose.
class Listening {
 public:
  Listening() : descriptor_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(descriptor_, 5), 0);
    socklen_t size = sizeof address;
    ::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  ~Listening() { ::close(descriptor_); }
  int accept() { return ::accept(descriptor_, nullptr, nullptr); }
  int port = 0;

 private:
  int descriptor_;
};

class OutgoingTcp : public testing::Test {
 protected:
  int64_t in_ms(int64_t ms) { return runtime->clock().monotonic_ns() + ms * 1'000'000; }
  std::unique_ptr<base::Runtime> runtime = base::make_system_runtime();
  std::unique_ptr<Dialer> dialer = make_tcp_dialer(runtime->clock());
};

TEST_F(OutgoingTcp, BytesGoBothWays) {
  Listening server;
  auto stream = dialer->dial({"127.0.0.1", server.port}, in_ms(10'000));
  ASSERT_TRUE(stream) << stream.error().what;
  int peer = server.accept();
  ByteView parts[] = {as_bytes("he"), as_bytes(""), as_bytes("llo")};
  ASSERT_TRUE((*stream)->send(parts, in_ms(10'000)));
  char text[16] = {};
  EXPECT_EQ(::recv(peer, text, 5, MSG_WAITALL), 5);
  EXPECT_STREQ(text, "hello");
  ASSERT_EQ(::send(peer, "back", 4, 0), 4);
  Bytes into(16);
  auto got = (*stream)->receive(into, in_ms(10'000));
  ASSERT_TRUE(got);
  EXPECT_EQ(as_text(ByteView(into).first(*got)), "back");
  auto late = (*stream)->receive(into, in_ms(20));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kRequestTimedOut);
  ::close(peer);
  auto closed = (*stream)->receive(into, in_ms(10'000));
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code, ErrorCode::kNetworkException);
}

TEST_F(OutgoingTcp, PeerThatDoesNotReadEndsAtTheDeadline) {
  Listening server;
  auto stream = dialer->dial({"127.0.0.1", server.port}, in_ms(10'000));
  ASSERT_TRUE(stream);
  Bytes much(64 << 20);
  ByteView parts[] = {much};
  auto sent = (*stream)->send(parts, in_ms(50));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::kRequestTimedOut);
}

TEST_F(OutgoingTcp, ClosedPortIsANetworkError) {
  int port = Listening().port;
  auto stream = dialer->dial({"127.0.0.1", port}, in_ms(10'000));
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code, ErrorCode::kNetworkException);
  EXPECT_NE(stream.error().os_error, 0);
}

}  // namespace
}  // namespace odradek::net
