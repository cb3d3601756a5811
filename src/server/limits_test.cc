// Limits of connections.
#include "server/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <thread>

#include "server/server_test_util.h"

namespace odradek::server {
namespace {

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

}  // namespace
}  // namespace odradek::server
