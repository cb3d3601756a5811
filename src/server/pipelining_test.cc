// Many requests of one connection: what may start, and the order of answers.
#include "server/server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "server/server_test_util.h"

namespace odradek::server {
namespace {

TEST(Server, TakesTenThousandPipelinedRequestsOfAClientThatDoesNotRead) {
  EchoServer server;
  EchoClient client(server.port(), 4096);
  Bytes stream;
  for (int32_t i = 0; i < 10000; ++i) {
    Bytes one = echo_request(i, Op::kEcho, 0, pattern(2000, static_cast<uint8_t>(i)));
    stream.insert(stream.end(), one.begin(), one.end());
  }
  Sender sender(client, stream);
  std::this_thread::sleep_for(300ms);
  EXPECT_LT(server.server->stats().request_bytes, 4 << 20);
  EXPECT_LT(server.sink.started.load(), 10000);
  expect_quick_answer(server);
  for (int32_t i = 0; i < 10000; ++i) {
    auto answer = client.receive();
    ASSERT_TRUE(answer) << i;
    ASSERT_EQ(answer->correlation_id, i);
    ASSERT_TRUE(answer->payload == pattern(2000, static_cast<uint8_t>(i)));
  }
}

TEST(Server, FreesWhatAClientWithPipelinedRequestsLeavesBehind) {
  EchoServer server;
  Bytes stream;
  for (int32_t i = 0; i < 5000; ++i) {
    Bytes one = echo_request(i, i % 3 == 0 ? Op::kLater : Op::kFill, 1000, pattern(500));
    stream.insert(stream.end(), one.begin(), one.end());
  }
  for (int round = 0; round < 10; ++round) {
    EchoClient client(server.port(), 4096);
    Sender sender(client, stream);
    std::this_thread::sleep_for(std::chrono::milliseconds(round * 3));
  }
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0 && server.server->stats().request_bytes == 0; }));
  EXPECT_EQ(server.server->stats().request_queue, 0);
  expect_quick_answer(server);
}

TEST(Server, AnswersLeaveInRequestOrderWhateverTheOrderOfFinishing) {
  EchoServer server;
  EchoClient client = server.client();
  constexpr int32_t kCount = 50;
  for (int32_t i = 0; i < kCount; ++i) ASSERT_TRUE(client.send(i, Op::kPark, 0, pattern(10, static_cast<uint8_t>(i))));
  std::vector<int32_t> order(kCount);
  for (int32_t i = 0; i < kCount; ++i) order[static_cast<size_t>(i)] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  for (int32_t id : order) server.sink.finish(id);
  for (int32_t i = 0; i < kCount; ++i) {
    auto answer = client.receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->correlation_id, i);
    EXPECT_EQ(answer->payload, pattern(10, static_cast<uint8_t>(i)));
  }
}

TEST(Server, AnswersOfManyThreadsKeepTheOrderOfEachConnection) {
  EchoServer server;
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      EchoClient client = server.client();
      std::mt19937 random(static_cast<unsigned>(c));
      Bytes stream;
      constexpr int32_t kCount = 3000;
      for (int32_t i = 0; i < kCount; ++i) {
        static constexpr Op kOps[] = {Op::kEcho, Op::kLater, Op::kPendLater, Op::kEcho};
        Bytes one = echo_request(i, kOps[random() % 4], 0, pattern(random() % 300));
        stream.insert(stream.end(), one.begin(), one.end());
      }
      Sender sender(client, stream);
      for (int32_t i = 0; i < kCount; ++i) {
        auto answer = client.receive();
        ASSERT_TRUE(answer) << i;
        ASSERT_EQ(answer->correlation_id, i);
      }
    });
  }
  for (auto& client : clients) client.join();
}

TEST(Server, APendingRequestBlocksItsConnectionAndNoOther) {
  EchoServer server;
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kPend));
  ASSERT_TRUE(client.send(2, Op::kEcho));
  ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 1; }));
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(server.sink.started.load(), 1);
  expect_quick_answer(server);
  server.sink.finish(1);
  EXPECT_EQ(client.receive()->correlation_id, 1);
  EXPECT_EQ(client.receive()->correlation_id, 2);
}

TEST(Server, ASettledRequestLetsTheNextStart) {
  EchoServer server;
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kPark));
  ASSERT_TRUE(client.send(2, Op::kEcho));
  ASSERT_TRUE(client.send(3, Op::kPark));
  ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 2; }));
  EXPECT_EQ(server.sink.started.load(), 3);
  EXPECT_FALSE(client.wait_readable(50ms));  // the answers wait for the first
  server.sink.finish(1);
  EXPECT_EQ(client.receive()->correlation_id, 1);
  EXPECT_EQ(client.receive()->correlation_id, 2);
  server.sink.finish(3);
  EXPECT_EQ(client.receive()->correlation_id, 3);
}

TEST(Server, APendingRequestThatSettlesLaterLetsTheNextStart) {
  EchoServer server;
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kPend));
  ASSERT_TRUE(client.send(2, Op::kPark));
  auto first = server.sink.take(1);
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(server.sink.started.load(), 1);
  first->settle();
  ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 1; }));
  server.sink.finish(2);
  EchoSink::echo(std::move(first));
  EXPECT_EQ(client.receive()->correlation_id, 1);
  EXPECT_EQ(client.receive()->correlation_id, 2);
}

TEST(Server, RunsNoMoreThanTheAllowedNumberBehindTheOldestUnanswered) {
  EchoServer server;
  EchoClient client = server.client();
  for (int32_t i = 0; i < 200; ++i) ASSERT_TRUE(client.send(i, Op::kPark));
  ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 64; }));
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(server.sink.started.load(), 64);
  for (int32_t i = 0; i < 200; ++i) {
    server.sink.finish(i);
    ASSERT_EQ(client.receive()->correlation_id, i);
  }
}

TEST(Server, StartsNoRequestWhileTooManyBytesOfAnswersWait) {
  EchoServer server;
  EchoClient client(server.port(), 65536);
  for (int32_t i = 0; i < 12; ++i) ASSERT_TRUE(client.send(i, Op::kFill, 4 << 20));
  std::this_thread::sleep_for(300ms);
  // What is in the socket's buffers is sent; behind it one answer exceeds the limit.
  EXPECT_LE(server.sink.started.load(), 4);
  for (int32_t i = 0; i < 12; ++i) {
    auto answer = client.receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->correlation_id, i);
    EXPECT_EQ(answer->payload.size(), 4u << 20);
  }
}

TEST(Server, ARequestWithoutAnswerGivesUpItsPlace) {
  EchoServer server;
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kNoAnswer));
  ASSERT_TRUE(client.send(2, Op::kEcho));
  for (int32_t i = 0; i < 500; ++i) ASSERT_TRUE(client.send(3, Op::kNoAnswer));
  ASSERT_TRUE(client.send(4, Op::kEcho));
  EXPECT_EQ(client.receive()->correlation_id, 2);
  EXPECT_EQ(client.receive()->correlation_id, 4);
}

TEST(Server, ClosingComesBeforeTheNextRequestAndAfterEarlierAnswers) {
  for (Op op : {Op::kClose, Op::kAnswerAndClose}) {
    EchoServer server;
    EchoClient client = server.client();
    Bytes stream;
    for (auto one : {echo_request(1, Op::kPark), echo_request(2, op), echo_request(3, Op::kEcho), echo_request(4, Op::kEcho)}) {
      stream.insert(stream.end(), one.begin(), one.end());
    }
    ASSERT_TRUE(client.send(stream));
    ASSERT_TRUE(becomes_true([&] { return server.sink.started.load() == 2; }));
    EXPECT_FALSE(client.wait_readable(50ms));
    server.sink.finish(1);
    EXPECT_EQ(client.receive()->correlation_id, 1);
    if (op == Op::kAnswerAndClose) {
      EXPECT_EQ(client.receive()->correlation_id, 2);
    }
    EXPECT_TRUE(client.closes_within(5s));
    EXPECT_EQ(server.sink.started.load(), 2);
    EXPECT_TRUE(becomes_true([&] { return server.connections() == 0; }));
  }
}

TEST(Server, AHandlerThatThrowsClosesTheConnectionOnly) {
  EchoServer server;
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kEcho));
  ASSERT_TRUE(client.send(2, Op::kThrow));
  ASSERT_TRUE(client.send(3, Op::kEcho));
  EXPECT_EQ(client.receive()->correlation_id, 1);
  EXPECT_TRUE(client.closes_within(5s));
  expect_quick_answer(server);
}

TEST(Server, AThrottledConnectionIsMutedAtOnceAndAnsweredAtOnce) {
  EchoServer server;
  EchoClient client = server.client();
  auto start = Clock::now();
  Bytes stream = echo_request(1, Op::kThrottle, 300);
  Bytes second = echo_request(2, Op::kEcho);
  stream.insert(stream.end(), second.begin(), second.end());
  ASSERT_TRUE(client.send(stream));
  EXPECT_EQ(client.receive()->correlation_id, 1);
  EXPECT_LT(Clock::now() - start, 250ms);
  ASSERT_TRUE(client.send(3, Op::kEcho));
  expect_quick_answer(server);
  EXPECT_EQ(client.receive()->correlation_id, 2);
  EXPECT_GE(Clock::now() - start, 295ms);
  EXPECT_EQ(client.receive()->correlation_id, 3);
}

TEST(Server, AThrottledConnectionCanGoAway) {
  EchoServer server;
  for (int i = 0; i < 20; ++i) {
    EchoClient client = server.client();
    Bytes stream = echo_request(1, Op::kThrottle, 100);
    for (int32_t id = 2; id < 6; ++id) {
      Bytes more = echo_request(id, Op::kEcho);
      stream.insert(stream.end(), more.begin(), more.end());
    }
    ASSERT_TRUE(client.send(stream));
    EXPECT_EQ(client.receive()->correlation_id, 1);
    linger hard{1, 0};
    ::setsockopt(client.socket(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  }
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0; }));
  EXPECT_TRUE(becomes_true([&] { return server.server->stats().request_bytes == 0; }));
}

}  // namespace
}  // namespace odradek::server
