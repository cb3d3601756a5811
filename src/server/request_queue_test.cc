// Memory, and the bound on requests.
#include "server/request_queue.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <thread>

#include "server/server_test_util.h"

namespace odradek::server {
namespace {

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * 4096;
}

TEST(Server, FortyClaimsOfAHundredMebibytesShutNobodyOut) {
  auto options = EchoServer::quick_options();
  options.net.reservation_stall = 1s;
  options.net.queued_max_request_bytes = 256 << 20;
  EchoServer server(options);
  int64_t before = resident_bytes();
  std::vector<EchoClient> claims;
  for (int i = 0; i < 40; ++i) {
    claims.push_back(server.client());
    Bytes bytes;
    base::append_be<int32_t>(bytes, 100 << 20);
    bytes.resize(60000, 1);
    ASSERT_TRUE(claims.back().send(bytes));
    // The first one is surely among those that are let in.
    if (i == 0) ASSERT_TRUE(becomes_true([&] { return server.server->stats().request_bytes >= (100 << 20); }));
  }
  ASSERT_TRUE(becomes_true([&] { return server.server->stats().request_bytes >= (200 << 20); }));
  EXPECT_LE(server.server->stats().request_bytes, (256 + 64) << 20);
  expect_quick_answer(server);
  EXPECT_LT(resident_bytes() - before, 40 << 20);
  // Those without progress go, the next are admitted, and a large request gets its turn in the end.
  EchoClient large = server.client();
  std::thread sender([&] { large.send(1, Op::kNoAnswer, 0, Bytes(90 << 20)); });
  EXPECT_TRUE(claims[0].closes_within(10s));
  claims.clear();
  sender.join();
  ASSERT_TRUE(large.send(2, Op::kEcho));
  EXPECT_EQ(large.receive()->correlation_id, 2);
  EXPECT_TRUE(becomes_true([&] { return server.server->stats().request_bytes == 0; }));
}

TEST(Server, ClaimsThatComeByteByByteShutNobodyOut) {
  auto options = EchoServer::quick_options();
  options.net.reservation_stall = 300ms;
  options.net.queued_max_request_bytes = 256 << 20;
  EchoServer server(options);
  std::vector<EchoClient> claims;
  for (int i = 0; i < 3; ++i) {
    claims.push_back(server.client());
    Bytes bytes;
    base::append_be<int32_t>(bytes, 100 << 20);
    ASSERT_TRUE(claims.back().send(bytes));
  }
  ASSERT_TRUE(becomes_true([&] { return server.server->stats().request_bytes >= (200 << 20); }));
  EchoClient large = server.client();
  const timeval limit{20, 0};
  ASSERT_EQ(::setsockopt(large.socket(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
  std::atomic<bool> done{false};
  std::thread dripping([&] {
    const uint8_t byte = 1;
    for (; !done.load(); std::this_thread::sleep_for(20ms)) {
      for (EchoClient& claim : claims) (void)claim.send({&byte, 1});
    }
  });
  const bool sent = large.send(1, Op::kNoAnswer, 0, Bytes(90 << 20)) && large.send(2, Op::kEcho);
  EXPECT_TRUE(sent && large.receive());
  done.store(true);
  dripping.join();
}

TEST(Server, ARequestCanGiveBackItsBodyBeforeItsAnswer) {
  EchoServer server;
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kPark, 0, pattern(1000000)));
  auto request = server.sink.take(1);
  EXPECT_GE(server.server->stats().request_bytes, 1000000);
  request->release_body();
  EXPECT_EQ(server.server->stats().request_bytes, 0);
  request->finish(EchoSink::answer(*request, {}));
  EXPECT_EQ(client.receive()->correlation_id, 1);
}

// The bound on requests at its smallest: every network thread is refused all the time. A lost wake-up would leave it asleep.
TEST(Server, AFullRequestQueueLosesNoWakeUp) {
  for (int bound : {1, 2, 5}) {
    auto options = EchoServer::quick_options();
    options.net.listeners[0].network_threads = 3;
    options.max_queued_requests = bound;
    EchoServer server(options);
    std::vector<std::thread> clients;
    for (int c = 0; c < 6; ++c) {
      clients.emplace_back([&, c] {
        EchoClient client = server.client();
        std::mt19937 random(static_cast<unsigned>(c));
        int32_t sent = 0, received = 0;
        while (received < 2000) {
          int32_t burst = 1 + static_cast<int32_t>(random() % 20);
          Bytes stream;
          for (int32_t i = 0; i < burst; ++i) {
            Bytes one = echo_request(sent++, random() % 8 == 0 ? Op::kPendLater : Op::kEcho);
            stream.insert(stream.end(), one.begin(), one.end());
          }
          ASSERT_TRUE(client.send(stream));
          while (received < sent) {
            auto answer = client.receive();
            ASSERT_TRUE(answer) << "bound " << bound << " client " << c << " answer " << received;
            ASSERT_EQ(answer->correlation_id, received++);
          }
        }
      });
    }
    for (auto& client : clients) client.join();
    EXPECT_EQ(server.server->stats().request_queue, 0);
  }
}

TEST(Server, RequestsBehindPendingOnesDoNotFillTheQueueForOthers) {
  auto options = EchoServer::quick_options();
  options.max_queued_requests = 20;
  EchoServer server(options);
  std::vector<EchoClient> blocked;
  for (int32_t c = 0; c < 10; ++c) {
    blocked.push_back(server.client());
    ASSERT_TRUE(blocked.back().send(c, Op::kPend));
    for (int32_t i = 0; i < 50; ++i) ASSERT_TRUE(blocked.back().send(1000 + i, Op::kEcho));
  }
  ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 10; }));
  expect_quick_answer(server);
  for (int32_t c = 0; c < 10; ++c) server.sink.finish(c);
  for (int32_t c = 0; c < 10; ++c) {
    ASSERT_EQ(blocked[static_cast<size_t>(c)].receive()->correlation_id, c);
    for (int32_t i = 0; i < 50; ++i) ASSERT_EQ(blocked[static_cast<size_t>(c)].receive()->correlation_id, 1000 + i);
  }
  EXPECT_EQ(server.server->stats().request_queue, 0);
}

TEST(Server, ABusyHandlerDoesNotHoldUpOtherConnections) {
  EchoServer server;
  EchoClient slow = server.client();
  ASSERT_TRUE(slow.send(1, Op::kBusy, 1'000'000));
  ASSERT_TRUE(becomes_true([&] { return server.sink.started.load() == 1; }));
  auto start = Clock::now();
  for (int i = 0; i < 20; ++i) {
    EchoClient client = server.client();
    ASSERT_TRUE(client.send(1, Op::kEcho));
    ASSERT_TRUE(client.receive());
  }
  EXPECT_LT(Clock::now() - start, 700ms);
  EXPECT_TRUE(slow.receive());
}

}  // namespace
}  // namespace odradek::server
