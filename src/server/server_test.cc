// The reactor, the request queue and the handlers together, over real sockets.
#include "server/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "base/file.h"
#include "server/echo_server.h"

namespace odradek::server {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

Bytes pattern(size_t size, uint8_t seed = 1) {
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

void expect_quick_answer(EchoServer& server) {
  auto start = Clock::now();
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kEcho));
  ASSERT_TRUE(client.receive());
  EXPECT_LT(Clock::now() - start, 2s);
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * 4096;
}

// ---- Framing

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

TEST(Server, TakesFramesOfEverySize) {
  EchoServer server;
  EchoClient client = server.client();
  int32_t id = 0;
  for (size_t size : {0, 1, 1000, 4096, 5000, 5001, 15000, 15200, 3, 65536, 65520, 70000, 300000, 300001, 9, 3000000}) {
    Bytes payload = pattern(size, static_cast<uint8_t>(size));
    ASSERT_TRUE(client.send(++id, Op::kEcho, 0, payload));
    auto answer = client.receive();
    ASSERT_TRUE(answer) << size;
    EXPECT_EQ(answer->correlation_id, id);
    EXPECT_TRUE(answer->payload == payload) << size;
  }
}

TEST(Server, ClosesOnASizeBelowZeroOrAboveTheLimitWithoutAnAnswer) {
  EchoServer server;
  for (int32_t size : {-1, INT32_MIN, (100 << 20) + 1, INT32_MAX}) {
    EchoClient client = server.client();
    Bytes bytes;
    base::append_be<int32_t>(bytes, size);
    ASSERT_TRUE(client.send(bytes));
    EXPECT_TRUE(client.closes_within(5s)) << size;
  }
  expect_quick_answer(server);
}

TEST(Server, ClosesOnAHeaderThatCannotBeRead) {
  EchoServer server;
  for (Bytes header : {Bytes{}, Bytes{0, 0}, Bytes{0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff}, Bytes{0, 0, 0, 3, 0, 0, 0, 1, 0x70, 0}}) {
    EchoClient client = server.client();
    Bytes bytes;
    base::append_be<int32_t>(bytes, static_cast<int32_t>(header.size()));
    bytes.insert(bytes.end(), header.begin(), header.end());
    ASSERT_TRUE(client.send(bytes));
    EXPECT_TRUE(client.closes_within(5s));
  }
  expect_quick_answer(server);
}

TEST(Server, TakesARequestThatComesByteByByte) {
  EchoServer server;
  EchoClient client = server.client();
  Bytes request = echo_request(3, Op::kEcho, 0, pattern(40));
  for (uint8_t byte : request) {
    ASSERT_TRUE(client.send({&byte, 1}));
    std::this_thread::sleep_for(1ms);
  }
  auto answer = client.receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->payload, pattern(40));
}

TEST(Server, ClosesAConnectionWhoseRequestStopsInTheMiddle) {
  auto options = EchoServer::quick_options();
  options.net.reservation_stall = 300ms;
  EchoServer server(options);
  for (size_t size : {50, 10000, 1000000}) {
    EchoClient stopped = server.client();
    EchoClient slow = server.client();
    Bytes request = echo_request(3, Op::kEcho, 0, pattern(size));
    ASSERT_TRUE(stopped.send(ByteView(request).first(40)));
    auto start = Clock::now();
    std::thread sender([&] {
      // Slow, but never without progress for so long.
      for (size_t i = 0; i < 8; ++i) {
        ASSERT_TRUE(slow.send(ByteView(request).subspan(i * request.size() / 8, (i + 1) * request.size() / 8 - i * request.size() / 8)));
        std::this_thread::sleep_for(100ms);
      }
    });
    EXPECT_TRUE(stopped.closes_within(5s));
    EXPECT_GE(Clock::now() - start, 250ms);
    sender.join();
    EXPECT_TRUE(slow.receive());
  }
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0 && server.server->stats().request_bytes == 0; }));
}

TEST(Server, AnswersAClientThatHasClosedItsSendingSide) {
  EchoServer server;
  EchoClient client = server.client();
  for (int32_t i = 0; i < 200; ++i) ASSERT_TRUE(client.send(i, i % 2 == 0 ? Op::kLater : Op::kPendLater, 0, pattern(2000)));
  client.shut_sending();
  for (int32_t i = 0; i < 200; ++i) {
    auto answer = client.receive();
    ASSERT_TRUE(answer) << i;
    EXPECT_EQ(answer->correlation_id, i);
  }
  EXPECT_TRUE(client.closes_within(5s));
}

TEST(Server, ForgetsAConnectionThatIsReset) {
  EchoServer server;
  {
    EchoClient client = server.client();
    ASSERT_TRUE(client.send(1, Op::kPark));
    ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 1; }));
    linger hard{1, 0};
    ::setsockopt(client.socket(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  }
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0; }));
  server.sink.finish(1);  // its answer goes nowhere
  expect_quick_answer(server);
}

// ---- Pipelining and order

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

// ---- Memory and the bound on requests

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

// ---- Changes at run time

TEST(Server, ThreadCountsChangeUnderLoadWithoutLosingARequest) {
  EchoServer server;
  std::atomic<bool> stop{false};
  std::atomic<int64_t> answered{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 6; ++c) {
    clients.emplace_back([&, c] {
      EchoClient client = server.client();
      std::mt19937 random(static_cast<unsigned>(c));
      for (int32_t id = 0; !stop.load();) {
        int32_t burst = 1 + static_cast<int32_t>(random() % 10);
        Bytes stream;
        for (int32_t i = 0; i < burst; ++i) {
          static constexpr Op kOps[] = {Op::kEcho, Op::kEcho, Op::kLater, Op::kPendLater};
          Bytes one = echo_request(id + i, kOps[random() % 4], 0, pattern(random() % 9000));
          stream.insert(stream.end(), one.begin(), one.end());
        }
        // In two pieces, so that connections are moved in the middle of a frame.
        size_t cut = random() % stream.size();
        ASSERT_TRUE(client.send(ByteView(stream).first(cut)));
        if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(random() % 6));
        ASSERT_TRUE(client.send(ByteView(stream).subspan(cut)));
        for (int32_t i = 0; i < burst; ++i) {
          auto answer = client.receive();
          ASSERT_TRUE(answer);
          ASSERT_EQ(answer->correlation_id, id++);
        }
        answered += burst;
      }
    });
  }
  std::mt19937 random(99);
  for (int i = 0; i < 60; ++i) {
    server.server->set_network_threads(1 + static_cast<int>(random() % 4));
    server.server->set_handler_threads(1 + static_cast<int>(random() % 5));
    std::this_thread::sleep_for(25ms);
  }
  server.server->set_network_threads(1);
  server.server->set_handler_threads(2);
  EXPECT_TRUE(becomes_true([&] { return server.server->stats().listeners[0].idle.threads == 1; }));
  EXPECT_EQ(server.server->stats().handler_threads, 2);
  int64_t so_far = answered.load();
  EXPECT_TRUE(becomes_true([&] { return answered.load() > so_far + 100; }));
  stop = true;
  for (auto& client : clients) client.join();
}

TEST(Server, IdleConnectionsMoveWhenTheirThreadGoes) {
  EchoServer server;
  std::vector<EchoClient> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(server.client());
    ASSERT_TRUE(clients.back().send(1, Op::kEcho));
    ASSERT_TRUE(clients.back().receive());
  }
  server.server->set_network_threads(1);
  EXPECT_TRUE(becomes_true([&] { return server.server->stats().listeners[0].idle.threads == 1; }));
  for (auto& client : clients) {
    ASSERT_TRUE(client.send(2, Op::kEcho, 0, pattern(5000)));
    EXPECT_EQ(client.receive()->payload, pattern(5000));
  }
}

TEST(Server, TheNetworkThreadsOfOneListenerChangeAlone) {
  auto options = EchoServer::quick_options();
  options.net.listeners.push_back(options.net.listeners[0]);
  options.net.listeners[1].name = "SECOND";
  EchoServer server(options);
  auto threads = [&](size_t listener) { return server.server->stats().listeners[listener].idle.threads; };
  server.server->reactor().set_network_threads("SECOND", 4);
  EXPECT_EQ(threads(1), 4);
  EXPECT_EQ(threads(0), 2);
  // A thread takes two descriptors: where there are none the others go on.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  server.server->reactor().set_network_threads("SECOND", 6);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(threads(1), 4);
  EchoClient client(server.port(1));
  ASSERT_TRUE(client.send(1, Op::kEcho));
  EXPECT_TRUE(client.receive());
}

TEST(Server, ThreadsAreNamedAfterWhatTheyDo) {
  EchoServer server;
  auto names = [] {
    std::set<std::string> found;
    FILE* listing = ::popen(("cat /proc/" + std::to_string(::getpid()) + "/task/*/comm").c_str(), "r");
    char line[64];
    while (std::fgets(line, sizeof line, listing) != nullptr) found.insert(std::string(line).substr(0, std::string(line).find('\n')));
    ::pclose(listing);
    return found;
  };
  // A thread names itself, when it comes to run.
  for (const char* name : {"acceptor-PLAINT", "net-PLAINTEXT-0", "net-PLAINTEXT-1", "handler-0", "handler-2"}) {
    EXPECT_TRUE(becomes_true([&] { return names().contains(name); })) << name;
  }
}

// ---- Limits

TEST(Limits, MaxConnectionsLeavesFurtherOnesWaitingUntilOneGoes) {
  auto options = EchoServer::quick_options();
  options.net.max_connections = 3;
  EchoServer server(options);
  std::vector<EchoClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(server.client());
    ASSERT_TRUE(clients.back().send(1, Op::kEcho));
    ASSERT_TRUE(clients.back().receive());
  }
  EchoClient fourth = server.client();
  ASSERT_TRUE(fourth.send(1, Op::kEcho));
  EXPECT_FALSE(fourth.wait_readable(100ms));
  clients.pop_back();
  EXPECT_TRUE(fourth.receive());
  EchoClient fifth = server.client();
  ASSERT_TRUE(fifth.send(1, Op::kEcho));
  EXPECT_FALSE(fifth.wait_readable(100ms));
  server.server->reactor().set_max_connections(10);
  EXPECT_TRUE(fifth.receive());
  EXPECT_GT(server.server->stats().listeners[0].acceptor_blocked_ns, 0);
}

TEST(Limits, MaxConnectionsPerIpClosesRightAfterAccept) {
  auto options = EchoServer::quick_options();
  options.net.max_connections_per_ip = 2;
  EchoServer server(options);
  EchoClient first = server.client();
  {
    EchoClient second = server.client();
    ASSERT_TRUE(second.send(1, Op::kEcho));
    ASSERT_TRUE(second.receive());
    EchoClient third = server.client();
    EXPECT_TRUE(third.closes_within(5s));
    EXPECT_EQ(server.server->stats().listeners[0].refused, 1u);
  }
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 1; }));
  expect_quick_answer(server);
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 1; }));
  server.server->reactor().set_max_connections_per_ip(net::kUnlimited, {{"127.0.0.1", 1}});
  EchoClient refused = server.client();
  EXPECT_TRUE(refused.closes_within(5s));
  server.server->reactor().set_max_connections_per_ip(1, {{"127.0.0.1", 5}});
  expect_quick_answer(server);
}

TEST(Limits, MaxConnectionCreationRateDelaysAccepts) {
  auto options = EchoServer::quick_options();
  options.net.max_connection_creation_rate = 20;
  EchoServer server(options);
  auto start = Clock::now();
  for (int i = 0; i < 30; ++i) {  // 20 at once, then 20 a second
    EchoClient client = server.client();
    ASSERT_TRUE(client.send(1, Op::kEcho));
    ASSERT_TRUE(client.receive());
  }
  EXPECT_GE(Clock::now() - start, 450ms);
  EXPECT_LT(Clock::now() - start, 5s);
  server.server->reactor().set_max_connection_creation_rate(net::kUnlimited);
  start = Clock::now();
  for (int i = 0; i < 30; ++i) expect_quick_answer(server);
  EXPECT_LT(Clock::now() - start, 1s);
}

TEST(Limits, TheLimitsOfOneListenerDoNotTouchAnother) {
  auto options = EchoServer::quick_options();
  options.net.listeners.push_back(options.net.listeners[0]);
  options.net.listeners[1].name = "SECOND";
  options.net.listeners[0].max_connections = 1;
  EchoServer server(options);
  ASSERT_NE(server.port(0), server.port(1));
  EchoClient a(server.port(0)), b(server.port(0)), c(server.port(1));
  ASSERT_TRUE(a.send(1, Op::kEcho));
  ASSERT_TRUE(a.receive());
  ASSERT_TRUE(b.send(1, Op::kEcho));
  ASSERT_TRUE(c.send(1, Op::kEcho));
  EXPECT_TRUE(c.receive());
  EXPECT_FALSE(b.wait_readable(100ms));
  server.server->reactor().set_listener_limits("PLAINTEXT", 2, net::kUnlimited);
  EXPECT_TRUE(b.receive());
}

TEST(Limits, TheListenerOfTheBrokersIsNotHeldUpByTheRateOfAll) {
  auto options = EchoServer::quick_options();
  options.net.listeners.push_back(options.net.listeners[0]);
  options.net.listeners[1].name = "BROKERS";
  options.net.listeners[1].inter_broker = true;
  options.net.max_connection_creation_rate = 1;
  EchoServer server(options);
  std::vector<EchoClient> clients;  // one a second gets in
  for (int i = 0; i < 40; ++i) clients.emplace_back(server.port(0));
  ASSERT_TRUE(clients[0].send(1, Op::kEcho));
  ASSERT_TRUE(clients[0].receive());
  for (int i = 0; i < 30; ++i) {
    EchoClient broker(server.port(1));
    ASSERT_TRUE(broker.send(1, Op::kEcho));
    ASSERT_TRUE(broker.receive());
  }
  EXPECT_LT(server.server->stats().listeners[0].accepted, 20u);
}

TEST(Limits, AConnectionThatIsTooManyGoesTheLeastRecentlyUsedFirst) {
  auto options = EchoServer::quick_options();
  options.net.listeners[0].network_threads = 1;
  options.net.listeners.push_back(options.net.listeners[0]);
  options.net.listeners[1].name = "BROKERS";
  options.net.listeners[1].inter_broker = true;
  options.net.max_connections = 3;
  EchoServer server(options);
  auto use = [](EchoClient& client) { return client.send(1, Op::kEcho) && client.receive(); };
  EchoClient first(server.port(0)), second(server.port(0)), third(server.port(0));
  for (auto* client : {&first, &second, &third, &first}) ASSERT_TRUE(use(*client));
  EchoClient broker(server.port(1));
  ASSERT_TRUE(use(broker));
  EXPECT_TRUE(second.closes_within(5s));
  for (auto* client : {&first, &third, &broker}) EXPECT_TRUE(use(*client));
  server.server->reactor().set_max_connections(2);
  EXPECT_TRUE(first.closes_within(5s));
  EXPECT_TRUE(use(third));
  server.server->reactor().set_listener_limits("BROKERS", 0, net::kUnlimited);
  EXPECT_TRUE(broker.closes_within(5s));
  EXPECT_TRUE(use(third));
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 1; }));
}

TEST(Limits, OverridesOfMaxConnectionsPerIpMayNameHosts) {
  auto options = EchoServer::quick_options();
  options.net.max_connections_per_ip_overrides = {{"localhost", 1}, {"no.such.host.invalid", 1}};
  EchoServer server(options);
  EchoClient first = server.client();
  ASSERT_TRUE(first.send(1, Op::kEcho));
  ASSERT_TRUE(first.receive());
  EchoClient second = server.client();
  EXPECT_TRUE(second.closes_within(5s));
}

TEST(Limits, ConnectionsLeaveSomeDescriptorsToFiles) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 256;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  {
    EchoServer server;
    auto lowest_free = [] {
      int number = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      if (number >= 0) ::close(number);
      return number;
    };
    // Both ends are of this process: with so many clients the other ends would take all that is left.
    std::vector<EchoClient> clients;
    const int clients_wanted = (256 - lowest_free()) / 2 + 4;
    for (int i = 0; i < clients_wanted; ++i) clients.push_back(server.client());
    ASSERT_TRUE(becomes_true([&] { return lowest_free() >= 240 || lowest_free() < 0; }));
    std::this_thread::sleep_for(500ms);  // one that takes more has done so by then
    EXPECT_GE(lowest_free(), 240);
    clients.clear();
    EXPECT_TRUE(becomes_true([&] { return server.connections() == 0; }));
    expect_quick_answer(server);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(Limits, ManyConnectionsAtOnceAllGetIn) {
  auto options = EchoServer::quick_options();
  options.net.new_connection_queue = 1;
  EchoServer server(options);
  std::vector<EchoClient> clients;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(server.client());
    ASSERT_TRUE(clients.back().send(i, Op::kEcho));
  }
  for (int i = 0; i < 300; ++i) ASSERT_EQ(clients[static_cast<size_t>(i)].receive()->correlation_id, i);
}

TEST(Limits, IdleConnectionsAreClosedAndBusyOnesAreNot) {
  auto options = EchoServer::quick_options();
  options.net.max_idle = 200ms;
  EchoServer server(options);
  EchoClient idle = server.client();
  EchoClient active = server.client();
  EchoClient waiting = server.client();
  ASSERT_TRUE(waiting.send(1, Op::kPark));
  EchoClient ended = server.client();  // nobody may be there to wait for the parked answer
  ASSERT_TRUE(ended.send(2, Op::kPark));
  ended.shut_sending();
  auto start = Clock::now();
  std::thread sender([&] {
    for (int32_t i = 0; i < 12; ++i) {
      ASSERT_TRUE(active.send(i, Op::kEcho));
      ASSERT_TRUE(active.receive());
      std::this_thread::sleep_for(50ms);
    }
  });
  EXPECT_TRUE(idle.closes_within(5s));
  EXPECT_GE(Clock::now() - start, 150ms);
  EXPECT_LT(Clock::now() - start, 450ms);
  EXPECT_TRUE(ended.closes_within(5s));
  sender.join();
  server.sink.finish(1);
  EXPECT_TRUE(waiting.receive());
  EXPECT_TRUE(waiting.closes_within(5s));
  EXPECT_TRUE(active.closes_within(5s));
}

TEST(Limits, AConnectionThatTakesNothingOfItsAnswerIsIdle) {
  auto options = EchoServer::quick_options();
  options.net.max_idle = 200ms;
  EchoServer server(options);
  EchoClient client(server.port(), 4096);
  ASSERT_TRUE(client.send(1, Op::kFill, 32 << 20));
  ASSERT_TRUE(becomes_true([&] { return server.sink.started.load() == 1; }));
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0; }));
  EXPECT_FALSE(client.receive());
}

TEST(Limits, SocketBuffersAreSetOnlyWhenAskedFor) {
  auto options = EchoServer::quick_options();
  options.net.send_buffer_bytes = 30000;
  options.net.receive_buffer_bytes = 30000;
  EchoServer server(options);
  expect_quick_answer(server);
}

// ---- Slices

// A file in the temporary directory; removed at once, kept open.
std::shared_ptr<base::SharedFile> file_with(ByteView content) {
  char path[] = "/tmp/odradek_server_test_XXXXXX";
  int descriptor = ::mkstemp(path);
  ::close(descriptor);
  auto file = base::posix_files().open(path, base::OpenMode::kReadWrite);
  CHECK(file);
  CHECK((*file)->pwrite(0, content));
  ::unlink(path);
  return std::make_shared<base::SharedFile>(std::move(*file));
}

Bytes expected_slice(const Bytes& content, int64_t position, int64_t size) {
  Bytes expected{1};
  expected.insert(expected.end(), content.begin() + position, content.begin() + position + size);
  expected.push_back(2);
  return expected;
}

// Passes everything on, but shows no descriptor, or claims that only what was loaded (one part behind the other) is in the cache.
class FileOver : public base::File {
 public:
  FileOver(std::unique_ptr<base::File> under, bool hide_handle, bool cold) : under_(std::move(under)), hide_(hide_handle), cold_(cold) {}
  Result<size_t> pread(int64_t position, MutableByteView into) override { return under_->pread(position, into); }
  Result<void> pwritev(int64_t position, std::span<const ByteView> parts) override { return under_->pwritev(position, parts); }
  Result<void> sync_data() override { return under_->sync_data(); }
  Result<void> sync_all() override { return under_->sync_all(); }
  void start_writeback(int64_t position, int64_t size) override { under_->start_writeback(position, size); }
  Result<void> allocate(int64_t size) override { return under_->allocate(size); }
  Result<void> truncate(int64_t size) override { return under_->truncate(size); }
  Result<int64_t> size() override { return under_->size(); }
  bool resident(int64_t position, int64_t size) override {
    base::MutexLock lock(mutex_);
    return !cold_ || (position >= loaded_from_ && position + size <= loaded_until_);
  }
  void load_into_cache(int64_t position, int64_t size) override {
    under_->load_into_cache(position, size);
    base::MutexLock lock(mutex_);
    if (position != loaded_until_) loaded_from_ = position;
    loaded_until_ = position + size;
  }
  void drop_from_cache(int64_t position, int64_t size) override { under_->drop_from_cache(position, size); }
  int native_handle() const override { return hide_ ? -1 : under_->native_handle(); }

 private:
  std::unique_ptr<base::File> under_;
  bool hide_, cold_;
  base::Mutex mutex_;
  int64_t loaded_from_ GUARDED_BY(mutex_) = 0, loaded_until_ GUARDED_BY(mutex_) = 0;
};

std::shared_ptr<base::SharedFile> file_over(ByteView content, bool hide_handle, bool cold) {
  char path[] = "/tmp/odradek_server_test_XXXXXX";
  ::close(::mkstemp(path));
  auto file = base::posix_files().open(path, base::OpenMode::kReadWrite);
  CHECK(file);
  CHECK((*file)->pwrite(0, content));
  ::unlink(path);
  return std::make_shared<base::SharedFile>(std::make_unique<FileOver>(std::move(*file), hide_handle, cold));
}

class ThreadLoader : public base::SliceLoader {
 public:
  explicit ThreadLoader(base::Runtime& runtime) : thread_(runtime.make_executor("reader", 1)) {}
  void load(const base::FileSlice& slice, Task done) override {
    ++loads;
    bytes += slice.size;
    thread_->post([slice, done = std::move(done)]() mutable {
      slice.file->file().load_into_cache(slice.position, slice.size);
      done();
    });
  }
  std::atomic<int> loads{0};
  std::atomic<int64_t> bytes{0};

 private:
  std::unique_ptr<base::Executor> thread_;
};

TEST(Slices, AreSentBetweenTheBytesAroundThem) {
  EchoServer server;
  EchoClient client = server.client();
  Bytes content = pattern(5000000);
  auto file = file_with(content);
  int32_t id = 0;
  for (auto [position, size] : {std::pair<int64_t, int64_t>{0, 1}, {100, 8192}, {1, 8193}, {0, 0}, {4096, 262144}, {17, 1000000}, {0, 5000000}}) {
    server.sink.set_slice({file, position, size, file->generation()});
    ASSERT_TRUE(client.send(++id, Op::kSlice));
    auto answer = client.receive();
    ASSERT_TRUE(answer) << size;
    EXPECT_TRUE(answer->payload == expected_slice(content, position, size)) << size;
  }
}

TEST(Slices, GoWholeToASlowReaderAmongOtherAnswers) {
  EchoServer server;
  EchoClient client(server.port(), 4096);
  Bytes content = pattern(700000);
  auto file = file_with(content);
  server.sink.set_slice({file, 5, 600000, file->generation()});
  for (int32_t i = 0; i < 30; ++i) ASSERT_TRUE(client.send(i, i % 3 == 0 ? Op::kSlice : Op::kEcho, 0, pattern(30)));
  for (int32_t i = 0; i < 30; ++i) {
    if (i % 5 == 0) std::this_thread::sleep_for(10ms);
    auto answer = client.receive();
    ASSERT_TRUE(answer);
    ASSERT_EQ(answer->correlation_id, i);
    EXPECT_TRUE(answer->payload == (i % 3 == 0 ? expected_slice(content, 5, 600000) : pattern(30)));
  }
}

TEST(Slices, OfAFileWithoutDescriptorAreReadAndSent) {
  EchoServer server;
  EchoClient client(server.port(), 4096);
  Bytes content = pattern(700000);
  auto file = file_over(content, true, false);
  server.sink.set_slice({file, 3, 650000, file->generation()});
  ASSERT_TRUE(client.send(1, Op::kSlice));
  EXPECT_TRUE(client.receive()->payload == expected_slice(content, 3, 650000));
}

TEST(Slices, ColdOnesAreLoadedByAnotherThreadFirst) {
  auto runtime = base::make_system_runtime();
  ThreadLoader loader(*runtime);
  EchoServer server(EchoServer::quick_options(), &loader);
  EchoClient client = server.client();
  Bytes content = pattern(3000000);
  for (int64_t size : {100, 3000, 200000, 2500000}) {
    auto cold = file_over(content, false, true);
    int before = loader.loads.load();
    loader.bytes = 0;
    server.sink.set_slice({cold, 3, size, cold->generation()});
    ASSERT_TRUE(client.send(1, Op::kSlice));
    ASSERT_TRUE(client.send(2, Op::kEcho));
    auto answer = client.receive();
    ASSERT_TRUE(answer);
    EXPECT_TRUE(answer->payload == expected_slice(content, 3, size));
    EXPECT_EQ(client.receive()->correlation_id, 2);
    EXPECT_GT(loader.loads.load(), before);
    EXPECT_EQ(loader.bytes.load(), size);
  }
  int before = loader.loads.load();
  auto warm = file_with(content);
  server.sink.set_slice({warm, 0, 2000000, warm->generation()});
  ASSERT_TRUE(client.send(3, Op::kSlice));
  EXPECT_TRUE(client.receive()->payload == expected_slice(content, 0, 2000000));
  EXPECT_EQ(loader.loads.load(), before);
  // The client goes while a load is under way.
  auto cold = file_over(content, false, true);
  server.sink.set_slice({cold, 0, 3000000, cold->generation()});
  ASSERT_TRUE(client.send(4, Op::kSlice));
  client.close();
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0; }));
}

TEST(Slices, OfAnotherGenerationOrBehindTheEndOfTheFileCloseTheConnection) {
  EchoServer server;
  Bytes content = pattern(100000);
  auto file = file_with(content);
  for (int64_t size : {5000, 50000}) {
    EchoClient client = server.client();
    server.sink.set_slice({file, 0, size, file->generation()});
    file->invalidate();
    ASSERT_TRUE(client.send(1, Op::kSlice));
    EXPECT_TRUE(client.closes_within(5s));
  }
  for (auto [position, size] : {std::pair<int64_t, int64_t>{99000, 2000}, {50000, 60000}}) {
    EchoClient client = server.client();
    server.sink.set_slice({file, position, size, file->generation()});
    ASSERT_TRUE(client.send(1, Op::kSlice));
    EXPECT_TRUE(client.closes_within(5s));
  }
  expect_quick_answer(server);
}

// ---- Start and end

TEST(Server, NamesTheAddressThatItCannotListenOn) {
  EchoServer server;
  auto options = EchoServer::quick_options();
  options.net.listeners[0].port = server.port();
  EchoSink sink(*server.runtime);
  Server second(*server.runtime, options, sink, nullptr, nullptr);
  auto bound = second.bind();
  ASSERT_FALSE(bound);
  EXPECT_NE(bound.error().what.find(std::to_string(server.port())), std::string::npos) << bound.error().what;
  EXPECT_NE(bound.error().what.find("in use"), std::string::npos) << bound.error().what;
}

TEST(Server, ListensOnAllAddressesWhenNoneIsGiven) {
  auto options = EchoServer::quick_options();
  options.net.listeners[0].host.clear();
  EchoServer server(options);
  expect_quick_answer(server);
}

TEST(Server, StoppingAnswersWhatWasReceivedAndClosesWhatIsIdle) {
  EchoServer server;
  EchoClient idle = server.client();
  EchoClient busy = server.client();
  EchoClient parked = server.client();
  ASSERT_TRUE(idle.send(1, Op::kEcho));
  ASSERT_TRUE(idle.receive());
  ASSERT_TRUE(busy.send(1, Op::kBusy, 200'000));
  ASSERT_TRUE(parked.send(2, Op::kPend));
  ASSERT_TRUE(becomes_true([&] { return server.sink.started.load() == 3; }));
  std::thread finisher([&] {
    std::this_thread::sleep_for(100ms);
    server.sink.finish(2);
  });
  auto start = Clock::now();
  server.server->stop(10s);
  EXPECT_LT(Clock::now() - start, 5s);
  finisher.join();
  EXPECT_TRUE(busy.receive());
  EXPECT_EQ(parked.receive()->correlation_id, 2);
  EXPECT_TRUE(idle.closes_within(1s));
  EXPECT_TRUE(busy.closes_within(1s));
  EchoClient late(server.port());
  EXPECT_FALSE(late.connected() && late.send(1, Op::kEcho) && late.receive());
}

TEST(Server, RequestsMayBeFinishedAfterTheServerHasGone) {
  std::vector<request::RequestPtr> late;
  auto runtime = base::make_system_runtime();
  EchoSink sink(*runtime);
  {
    Server server(*runtime, EchoServer::quick_options(), sink, nullptr, nullptr);
    ASSERT_TRUE(server.bind());
    server.start();
    std::vector<EchoClient> clients;
    for (int32_t c = 0; c < 6; ++c) {
      clients.emplace_back(server.listeners()[0].port);
      // Settled, then pending with requests behind it.
      ASSERT_TRUE(clients.back().send(c * 10, Op::kPark, 0, pattern(70000)));
      ASSERT_TRUE(clients.back().send(c * 10 + 1, Op::kPend));
      for (int32_t i = 0; i < 5; ++i) ASSERT_TRUE(clients.back().send(c * 10 + 2 + i, Op::kEcho));
      if (c % 2 == 0) late.push_back(sink.take(c * 10));
      late.push_back(sink.take(c * 10 + 1));
    }
    while (clients.size() > 3) clients.pop_back();
    auto start = Clock::now();
    server.stop(50ms);
    EXPECT_LT(Clock::now() - start, 3s);
  }
  for (auto& request : late) EchoSink::echo(std::move(request));
  sink.finish_all();
}

TEST(Server, ManyFinishersMayRaceWithItsEnd) {
  for (int round = 0; round < 20; ++round) {
    auto runtime = base::make_system_runtime();
    EchoSink sink(*runtime);
    std::vector<EchoClient> clients;
    {
      Server server(*runtime, EchoServer::quick_options(), sink, nullptr, nullptr);
      ASSERT_TRUE(server.bind());
      server.start();
      for (int c = 0; c < 4; ++c) {
        clients.emplace_back(server.listeners()[0].port);
        Bytes stream;
        for (int32_t i = 0; i < 40; ++i) {
          Bytes one = echo_request(i, i % 2 == 0 ? Op::kLater : Op::kPendLater);
          stream.insert(stream.end(), one.begin(), one.end());
        }
        ASSERT_TRUE(clients.back().send(stream));
      }
      std::this_thread::sleep_for(std::chrono::microseconds(round * 100));
      server.stop(0ms);
    }
  }
}

// ---- Measures

struct Recorder : RequestObserver {
  void on_request(const RequestReport& report) override {
    std::lock_guard lock(mutex);
    times.push_back(report.times);
    sizes.push_back({report.request_bytes, report.response_bytes});
    EXPECT_EQ(report.api, protocol::ApiKey::kProduce);
    EXPECT_EQ(report.version, 3);
    EXPECT_EQ(report.connection.peer_host, "127.0.0.1");
  }
  std::mutex mutex;
  std::vector<request::Times> times;
  std::vector<std::pair<size_t, size_t>> sizes;
};

TEST(Server, ReportsTheTimesOfEachRequest) {
  Recorder recorder;
  EchoServer server(EchoServer::quick_options(), nullptr, &recorder);
  EchoClient client = server.client();
  Bytes payload = pattern(100);
  ASSERT_TRUE(client.send(1, Op::kPark, 0, payload));
  ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 1; }));
  std::this_thread::sleep_for(40ms);
  server.sink.finish(1);
  ASSERT_TRUE(client.receive());
  ASSERT_TRUE(client.send(2, Op::kThrottle, 5, payload));
  ASSERT_TRUE(client.receive());
  ASSERT_TRUE(client.send(3, Op::kPend, 0, payload));
  ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 1; }));
  std::this_thread::sleep_for(40ms);
  server.sink.finish(3);
  ASSERT_TRUE(client.receive());
  ASSERT_TRUE(client.send(4, Op::kNoAnswer, 0, payload));
  ASSERT_TRUE(becomes_true([&] {
    std::lock_guard lock(recorder.mutex);
    return recorder.times.size() == 4;
  }));
  for (const request::Times& times : recorder.times) {
    EXPECT_GT(times.received_ns, 0);
    EXPECT_LE(times.received_ns, times.started_ns);
    EXPECT_LE(times.started_ns, times.handled_ns);
    EXPECT_LE(times.handled_ns, times.finished_ns);
    EXPECT_LE(times.finished_ns, times.dequeued_ns);
    EXPECT_LE(times.dequeued_ns, times.sent_ns);
  }
  EXPECT_GE(recorder.times[0].remote_ns(), 20'000'000);
  EXPECT_LT(recorder.times[0].local_ns(), recorder.times[0].remote_ns());
  EXPECT_EQ(recorder.times[1].throttle_ms, 5);
  EXPECT_GE(recorder.times[2].remote_ns(), 20'000'000);
  EXPECT_EQ(recorder.sizes[0].second, 104u);
  EXPECT_EQ(recorder.sizes[0].first, 10u + 5 + 100);
  EXPECT_EQ(recorder.sizes[3].second, 0u);
}

TEST(Server, MeasuresHowIdleItsThreadsAre) {
  EchoServer server;
  auto before = server.server->stats();
  std::this_thread::sleep_for(200ms);
  auto after = server.server->stats();
  auto ratio = [](const net::IdleTimes& a, const net::IdleTimes& b) {
    return static_cast<double>(b.idle_ns - a.idle_ns) / static_cast<double>(b.alive_ns - a.alive_ns);
  };
  EXPECT_GT(ratio(before.handler_idle, after.handler_idle), 0.9);
  EXPECT_LE(ratio(before.handler_idle, after.handler_idle), 1.01);
  EXPECT_GT(ratio(before.listeners[0].idle, after.listeners[0].idle), 0.9);
  EchoClient client = server.client();
  ASSERT_TRUE(client.send(1, Op::kBusy, 300'000));
  ASSERT_TRUE(becomes_true([&] { return server.sink.started.load() == 1; }));
  before = server.server->stats();
  std::this_thread::sleep_for(150ms);
  after = server.server->stats();
  EXPECT_NEAR(ratio(before.handler_idle, after.handler_idle), 2.0 / 3, 0.15);  // one of three is busy
  EXPECT_TRUE(client.receive());
}

// Sum over this process's threads whose name starts so.
int64_t context_switches(const std::string& prefix) {
  int64_t sum = 0;
  FILE* listing = ::popen(("grep -l '^" + prefix + "' /proc/" + std::to_string(::getpid()) +
                           "/task/*/comm | sed 's/comm$/status/' | xargs grep -h ctxt_switches | awk '{s+=$2} END {print s}'")
                              .c_str(),
                          "r");
  long value = 0;
  if (std::fscanf(listing, "%ld", &value) == 1) sum = value;
  ::pclose(listing);
  return sum;
}

TEST(Server, IdlenessCostsNoWakeUp) {
  EchoServer server;
  std::vector<EchoClient> clients;
  for (int32_t i = 0; i < 20; ++i) {
    clients.push_back(server.client());
    ASSERT_TRUE(clients.back().send(i, i % 2 == 0 ? Op::kPark : Op::kEcho));
  }
  ASSERT_TRUE(becomes_true([&] { return server.sink.parked() == 10; }));
  std::this_thread::sleep_for(50ms);
  for (const char* name : {"net-", "handler-", "acceptor-"}) {
    int64_t before = context_switches(name);
    ASSERT_GT(before, 0);
    std::this_thread::sleep_for(500ms);
    EXPECT_EQ(context_switches(name), before) << name;
  }
}

// ---- Everything at once

TEST(Server, SurvivesAMixOfEverything) {
  auto options = EchoServer::quick_options();
  options.max_queued_requests = 30;
  options.net.queued_max_request_bytes = 2 << 20;
  auto runtime = base::make_system_runtime();
  ThreadLoader loader(*runtime);
  EchoServer server(options, &loader);
  Bytes content = pattern(400000);
  auto file = file_over(content, false, true);
  server.sink.set_slice({file, 1, 300000, file->generation()});
  auto until = Clock::now() + 3s;
  std::vector<std::thread> clients;
  for (int c = 0; c < 6; ++c) {
    clients.emplace_back([&, c] {
      std::mt19937 random(static_cast<unsigned>(c + 1));
      while (Clock::now() < until) {
        EchoClient client = server.client();
        int32_t sent = 0;
        std::vector<Op> ops;
        Bytes stream;
        int32_t count = static_cast<int32_t>(random() % 60);
        for (int32_t i = 0; i < count; ++i) {
          static constexpr Op kOps[] = {Op::kEcho, Op::kEcho, Op::kLater, Op::kPendLater, Op::kNoAnswer, Op::kSlice, Op::kFill, Op::kThrottle};
          Op op = kOps[random() % 8];
          if (op == Op::kThrottle && random() % 4 != 0) op = Op::kEcho;
          size_t size = random() % 10 == 0 ? random() % 150000 : random() % 500;
          Bytes one = echo_request(sent++, op, op == Op::kThrottle ? 3 : 2000, pattern(size));
          stream.insert(stream.end(), one.begin(), one.end());
          ops.push_back(op);
        }
        bool rude = random() % 3 == 0;
        if (rude) stream.resize(stream.size() - std::min<size_t>(stream.size(), random() % 50));
        Sender sender(client, stream);
        int32_t next = 0;
        int32_t wanted = rude ? static_cast<int32_t>(random() % 20) : count;
        for (; next < count && next < wanted; ++next) {
          if (ops[static_cast<size_t>(next)] == Op::kNoAnswer) continue;
          auto answer = client.receive();
          ASSERT_TRUE(answer || rude);
          if (!answer) break;
          ASSERT_EQ(answer->correlation_id, next);
        }
      }
    });
  }
  std::mt19937 random(4711);
  while (Clock::now() < until) {
    server.server->set_network_threads(1 + static_cast<int>(random() % 3));
    server.server->set_handler_threads(1 + static_cast<int>(random() % 4));
    std::this_thread::sleep_for(40ms);
  }
  for (auto& client : clients) client.join();
  EXPECT_TRUE(becomes_true([&] { return server.connections() == 0 && server.server->stats().request_bytes == 0; }));
  EXPECT_EQ(server.server->stats().request_queue, 0);
  expect_quick_answer(server);
}

}  // namespace
}  // namespace odradek::server
