#include <gtest/gtest.h>

#include "server/echo_server.h"

namespace odradek::server {
namespace {

using namespace std::chrono_literals;

Bytes pattern(size_t size, uint8_t seed = 1) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(seed + i * 31 + (i >> 8));
  return bytes;
}

TEST(Server, AnswersARequest) {
  EchoServer server;
  EchoClient client = server.client();
  Bytes payload = pattern(100);
  ASSERT_TRUE(client.send(7, Op::kEcho, 0, payload));
  auto answer = client.receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->correlation_id, 7);
  EXPECT_EQ(answer->payload, payload);
}

TEST(Server, TakesFramesOfEverySizeInAnyPieces) {
  EchoServer server;
  EchoClient client = server.client();
  int32_t id = 0;
  for (size_t size : {size_t{0}, size_t{1}, size_t{1000}, size_t{4096}, size_t{5000}, size_t{5001}, size_t{15000}, size_t{15200}, size_t{3},
                      size_t{65536}, size_t{65520}, size_t{70000}, size_t{300000}, size_t{300001}, size_t{9}, size_t{3000000}}) {
    Bytes payload = pattern(size, static_cast<uint8_t>(size));
    ASSERT_TRUE(client.send(++id, Op::kEcho, 0, payload));
    auto answer = client.receive();
    ASSERT_TRUE(answer) << size;
    EXPECT_EQ(answer->correlation_id, id);
    EXPECT_TRUE(answer->payload == payload) << size;
  }
}

}  // namespace
}  // namespace odradek::server
