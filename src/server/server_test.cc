// The reactor, the request queue and the handlers together, over real sockets: framing, changes at run time, start and end, everything at once.
#include "server/server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <set>
#include <thread>

#include "server/slices_test_util.h"

namespace odradek::server {
namespace {

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
