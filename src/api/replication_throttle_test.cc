// Replication throttles: real handlers and followers over a network with delays, on a clock of the test.
#include <gtest/gtest.h>

#include "api/cluster_support.h"

namespace odradek::api {
namespace {

using namespace testing;
using replication::testing::make_batch;

const TopicPartition kTp{"t", 0};
constexpr int64_t kRate = 1'000'000;
constexpr int kBatches = 100;
constexpr size_t kBatchBytes = 100'000;

// Each test with pipelined fetches and with Kafka's one at a time. Broker 3 has missed 10 MB and comes back; 2 is in sync.
class Throttle : public ::testing::TestWithParam<bool> {
 protected:
  static TestClusterOptions options() {
    TestClusterOptions options;
    options.fetcher.response_max_bytes = 500'000;
    options.fetcher.max_bytes = 500'000;
    options.fetcher.in_flight_bytes = GetParam() ? 4'000'000 : 0;
    return options;
  }
  Throttle() : cluster(options()) {
    cluster.delay_ms = 1;
    cluster.create(kTp, {1, 2, 3});
    cluster.advance(2000);
    cluster.kill(3);
    cluster.down(3);
    for (int i = 0; i < kBatches; ++i) cluster.produce(kTp, make_batch(1, kBatchBytes));
    cluster.advance(30'000);
    EXPECT_EQ(cluster.state(kTp).isr, (std::vector<BrokerId>{{1}, {2}}));
  }
  void come_back() {
    cluster.start(3);
    configure();
    cluster.up(3);
    cluster.run();
    configure();  // its replica is there now
  }
  void throttle(storage::ThrottledReplicas leaders, storage::ThrottledReplicas followers) {
    config.leader_throttled = std::move(leaders);
    config.follower_throttled = std::move(followers);
    configure();
  }
  void configure() {
    for (int32_t id = 1; id <= 3; ++id) {
      if (!cluster.runs(id)) continue;
      cluster.broker(id).replicas->update_log_config(kTp, std::make_shared<const storage::LogConfig>(config));
      cluster.broker(id).replicas->quotas().leader.set_limit(leader_limit);
      cluster.broker(id).replicas->quotas().follower.set_limit(follower_limit);
    }
  }
  int64_t copied() { return cluster.broker(3).log(kTp)->size_bytes(); }
  // 10 s at the rate, 10 MB: more than a burst at the beginning would be no throttle, far less no progress.
  void expect_paced() {
    int64_t before = copied();
    for (int second = 1; second <= 6; ++second) {
      cluster.advance(1000);
      EXPECT_LE(copied(), kRate * second + 2'500'000) << "after " << second << " s";
      EXPECT_GE(copied(), before);
      before = copied();
    }
    EXPECT_GE(before, 3'000'000);
  }
  void expect_end() {
    cluster.advance(15'000);
    EXPECT_EQ(cluster.state(kTp).isr.size(), 3u);
    cluster.expect_equal(kTp);
  }

  TestCluster cluster;
  storage::LogConfig config;
  int64_t leader_limit = quota::ReplicationQuota::kUnlimited, follower_limit = quota::ReplicationQuota::kUnlimited;
};

INSTANTIATE_TEST_SUITE_P(Fetches, Throttle, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? std::string("Pipelined") : std::string("OneAtATime"); });

const storage::ThrottledReplicas kAll{.all = true, .listed = {}};

TEST_P(Throttle, WithoutOneAFollowerCatchesUpAtOnce) {
  come_back();
  cluster.advance(2000);
  EXPECT_GE(copied(), kBatches * static_cast<int64_t>(kBatchBytes));
}

TEST_P(Throttle, ALeaderSendsNoMoreThanItsRate) {
  leader_limit = kRate;
  throttle({.all = false, .listed = {{0, {1}}}}, {});
  come_back();
  expect_paced();
  expect_end();
}

TEST_P(Throttle, AFollowerFetchesNoMoreThanItsRate) {
  follower_limit = kRate;
  throttle({}, {.all = false, .listed = {{0, {3}}}});
  come_back();
  expect_paced();
  expect_end();
}

TEST_P(Throttle, OtherReplicasAreNotSlowedDown) {
  leader_limit = follower_limit = kRate;
  throttle({.all = false, .listed = {{0, {2}}, {1, {1}}}}, {.all = false, .listed = {{0, {1}}, {0, {2}}, {7, {3}}}});
  come_back();
  cluster.advance(2000);
  EXPECT_GE(copied(), kBatches * static_cast<int64_t>(kBatchBytes));
}

// The rate is used up, by what it sends to 3; 2 is in sync and must stay so.
TEST_P(Throttle, MembersOfTheIsrAreNeverHeldBack) {
  leader_limit = follower_limit = kRate / 10;
  throttle(kAll, kAll);
  come_back();
  for (int i = 0; i < 100; ++i) {
    auto produced = cluster.produce(kTp, make_batch(1, 10'000));
    cluster.advance(200);
    EXPECT_EQ(produced->result, ErrorCode::kNone) << i;
  }
  EXPECT_EQ(cluster.state(kTp).isr, (std::vector<BrokerId>{{1}, {2}}));
  EXPECT_LE(copied(), 6'000'000);
}

TEST_P(Throttle, WithoutItsThrottleAFollowerGoesOn) {
  leader_limit = follower_limit = 1;
  throttle(kAll, kAll);
  come_back();
  cluster.advance(20'000);
  EXPECT_LE(copied(), 6'000'000);
  throttle({}, {});
  cluster.advance(3000);
  EXPECT_EQ(cluster.state(kTp).isr.size(), 3u);
  cluster.expect_equal(kTp);
}

}  // namespace
}  // namespace odradek::api
