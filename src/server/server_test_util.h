// What the tests of the server share; the server itself, its client: echo_server.h.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>

#include "base/bytes.h"
#include "server/echo_server.h"

namespace odradek::server {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

inline Bytes pattern(size_t size, uint8_t seed = 1) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(seed + i * 31 + (i >> 8));
  return bytes;
}

template <class Condition>
bool becomes_true(Condition condition, std::chrono::milliseconds time = 10s) {
  for (auto until = Clock::now() + time; Clock::now() < until; std::this_thread::sleep_for(1ms)) {
    if (condition()) return true;
  }
  return condition();
}

inline void expect_quick_answer(EchoServer& server) {
  auto start = Clock::now();
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kEcho));
  ASSERT_TRUE(client.receive());
  EXPECT_LT(Clock::now() - start, 2s);
}

// Writes on a thread of its own, as far as the server takes it; in the end it hangs up.
class Sender {
 public:
  Sender(EchoClient& client, const Bytes& bytes) : client_(client), thread_([&client, &bytes] { client.send(bytes); }) {}
  ~Sender() { hang_up(); }
  void hang_up() {
    if (!thread_.joinable()) return;
    ::shutdown(client_.socket(), SHUT_RDWR);
    thread_.join();
  }

 private:
  EchoClient& client_;
  std::thread thread_;
};

}  // namespace odradek::server
