// What the server measures, and what it costs while nothing happens.
#include "server/server.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <mutex>
#include <thread>

#include "server/server_test_util.h"

namespace odradek::server {
namespace {

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

}  // namespace
}  // namespace odradek::server
