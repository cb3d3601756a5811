// Replication between brokers: real handlers and followers over a network with delays.
#include <gtest/gtest.h>

#include "api/cluster_support.h"

namespace odradek::api {
namespace {

using namespace testing;
using replication::testing::make_batch;

const TopicPartition kTp{"t", 0};

// Each test with pipelined fetches and with Kafka's one at a time.
class Replication : public ::testing::TestWithParam<bool> {
 protected:
  static bool pipelined() { return GetParam(); }
  static TestClusterOptions brokers(int count = 3) {
    TestClusterOptions options;
    options.brokers = count;
    if (!pipelined()) options.fetcher.in_flight_bytes = 0;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Fetches, Replication, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? std::string("Pipelined") : std::string("OneAtATime"); });

TEST_P(Replication, FollowersHoldTheLeadersBytesAndItsHighWatermark) {
  TestCluster cluster(brokers());
  cluster.create(kTp, {1, 2, 3});
  cluster.advance(2000);  // the leader may have been asked before it knew
  auto produced = cluster.produce(kTp, 10);
  cluster.run();
  ASSERT_TRUE(produced->result);
  EXPECT_EQ(*produced->result, ErrorCode::kNone);
  EXPECT_EQ(cluster.broker(1).partition(kTp)->high_watermark(), Offset{10});
  cluster.expect_equal(kTp);
}

TEST_P(Replication, AcksOfAllReplicasWaitForTheSlowestOfTheIsr) {
  TestCluster cluster(brokers());
  cluster.create(kTp, {1, 2, 3});
  cluster.advance(2000);
  cluster.cut(1, 3);
  auto produced = cluster.produce(kTp);
  cluster.advance(1000);
  EXPECT_FALSE(produced->result);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_end_offset(), Offset{1});
  EXPECT_EQ(cluster.broker(1).partition(kTp)->high_watermark(), Offset{0});
  cluster.heal(1, 3);
  cluster.advance(3000);
  EXPECT_EQ(produced->result, ErrorCode::kNone);
  cluster.expect_equal(kTp);
}

TEST_P(Replication, ASilentFollowerLeavesTheIsrAndComesBackWhenItHasCaughtUp) {
  TestCluster cluster(brokers());
  cluster.create(kTp, {1, 2, 3});
  cluster.advance(2000);
  cluster.cut(1, 3);
  auto produced = cluster.produce(kTp);
  cluster.advance(30'000);
  EXPECT_EQ(produced->result, ErrorCode::kNone);
  EXPECT_EQ(cluster.state(kTp).isr, (std::vector<BrokerId>{{1}, {2}}));
  cluster.heal(1, 3);
  cluster.advance(3000);
  EXPECT_EQ(cluster.state(kTp).isr, (std::vector<BrokerId>{{1}, {2}, {3}}));
  cluster.expect_equal(kTp);
}

TEST_P(Replication, AnIdlePartitionNeverShrinks) {
  TestCluster cluster(brokers());
  cluster.create(kTp, {1, 2, 3});
  cluster.advance(2000);
  cluster.produce(kTp);
  cluster.advance(2000);
  cluster.cut(1, 3);
  cluster.advance(60'000);
  EXPECT_TRUE(cluster.isr_wishes.empty());
}

TEST_P(Replication, ANewLeaderCutsWhatTheOldOneHadAlone) {
  TestCluster cluster(brokers());
  cluster.create(kTp, {1, 2, 3});
  cluster.advance(2000);
  cluster.produce(kTp, 5);
  cluster.advance(1000);
  cluster.cut(1, 2);
  cluster.cut(1, 3);
  auto lost = cluster.produce(kTp, 7);
  cluster.run();
  EXPECT_EQ(cluster.broker(1).log(kTp)->log_end_offset(), Offset{12});
  cluster.down(1);
  cluster.advance(2000);
  EXPECT_EQ(cluster.state(kTp).leader, BrokerId{2});
  auto kept = cluster.produce(kTp, 3);
  cluster.advance(2000);
  EXPECT_EQ(kept->result, ErrorCode::kNone);
  EXPECT_FALSE(lost->result);
  cluster.heal(1, 2);
  cluster.heal(1, 3);
  cluster.up(1);
  cluster.advance(5000);
  EXPECT_EQ(lost->result, ErrorCode::kNotLeaderOrFollower);
  EXPECT_EQ(cluster.broker(1).log(kTp)->log_end_offset(), Offset{8});
  EXPECT_EQ(cluster.state(kTp).isr.size(), 3u);
  cluster.expect_equal(kTp);
}

// The controller has told that the topic is on its way out, and waits for a replica that moves.
TEST_P(Replication, AFollowerCatchesUpThoughItsTopicIsToBeDeleted) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.cut(1, 2);
  cluster.produce(kTp, 5, 1);
  cluster.run();
  protocol::UpdateMetadataRequest going;
  going.controller_id = 1;
  going.controller_epoch = 1;
  for (int32_t id : {1, 2}) {
    auto& broker = going.live_brokers.emplace_back();
    broker.id = id;
    auto& endpoint = broker.endpoints.emplace_back();
    endpoint.listener = "PLAINTEXT";
    endpoint.host = "host" + std::to_string(id);
    endpoint.port = 9092;
  }
  auto& topic = going.topic_states.emplace_back();
  topic.topic_name = kTp.topic;
  topic.topic_id = cluster.state(kTp).topic_id;
  topic.partition_states.emplace_back().leader = -2;
  ASSERT_EQ(cluster.broker(1).replicas->apply(going).error_code, 0);
  ASSERT_EQ(cluster.broker(1).image.current()->find_topic(kTp.topic), nullptr);
  cluster.heal(1, 2);
  cluster.advance(5'000);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_end_offset(), Offset{5});
}

// The end of the leader's log is not where they part.
TEST_P(Replication, AFollowerWithMoreThanTheLeaderIsCutToWhereTheyPart) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.produce(kTp, 5);
  cluster.advance(1000);
  cluster.cut(1, 2);
  for (int i = 0; i < 7; ++i) cluster.produce(kTp, 1);
  cluster.run();
  cluster.state(kTp).isr = {{2}};
  cluster.elect(kTp, 2);
  cluster.run();
  for (int i = 0; i < 3; ++i) cluster.produce(kTp, 1);
  cluster.heal(1, 2);
  cluster.advance(3000);
  EXPECT_EQ(cluster.broker(1).log(kTp)->log_end_offset(), Offset{8});
  cluster.expect_equal(kTp);
}

// Epochs without records on either side make the cut take several rounds.
TEST_P(Replication, LogsThatDivergeOverSeveralEpochsMeet) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.produce(kTp, 2);
  cluster.advance(1000);
  cluster.cut(1, 2);
  // Each leads in turn without the other, uncleanly.
  for (int round = 0; round < 3; ++round) {
    for (int32_t leader : {1, 2}) {
      cluster.state(kTp).isr = {{leader}};
      cluster.elect(kTp, leader);
      cluster.run();
      cluster.produce(kTp, 1 + round, 1);
      cluster.run();
    }
  }
  cluster.heal(1, 2);
  cluster.advance(10'000);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_end_offset(), Offset{8});
  cluster.expect_equal(kTp);
  cluster.elect(kTp, 1);
  cluster.advance(5000);
  cluster.expect_equal(kTp);
}

TEST_P(Replication, AFollowerBehindTheLeadersLogStartsAtItsStart) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.produce(kTp, 2);
  cluster.advance(1000);
  cluster.kill(2);
  cluster.down(2);
  cluster.produce(kTp, 10);
  cluster.produce(kTp, 10);
  cluster.advance(1000);
  ASSERT_TRUE(cluster.broker(1).partition(kTp)->delete_records({15}));
  cluster.start(2);
  cluster.up(2);
  cluster.advance(5000);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_start_offset(), Offset{15});
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_end_offset(), Offset{22});
  EXPECT_EQ(cluster.state(kTp).isr.size(), 2u);
  // The one that starts inside a batch holds the whole batch.
  auto read = cluster.broker(2).log(kTp)->read({15}, 1 << 20, {22}, true);
  ASSERT_TRUE(read);
  EXPECT_EQ(replication::testing::base_offsets(read->slice), (std::vector<int64_t>{12}));
}

TEST_P(Replication, DeletedRecordsAreDeletedOnFollowersToo) {
  TestCluster cluster(brokers());
  cluster.create(kTp, {1, 2, 3});
  cluster.advance(2000);
  cluster.produce(kTp, 10);
  cluster.advance(1000);
  std::optional<Offset> low;
  cluster.broker(1).replicas->delete_records({{kTp, {4}}}, 60'000, [&](auto results) { low = results.at(0).low_watermark; });
  cluster.advance(2000);
  EXPECT_EQ(low, Offset{4});
  EXPECT_EQ(cluster.broker(3).log(kTp)->log_start_offset(), Offset{4});
}

TEST_P(Replication, APartitionThatFailsDoesNotStopTheOthers) {
  TestCluster cluster(brokers(2));
  const TopicPartition other{"t", 1};
  cluster.create(kTp, {1, 2});
  cluster.create(other, {1, 2});
  cluster.advance(2000);
  cluster.on_answer = [](BrokerId, BrokerId, protocol::FetchResponse& response) {
    for (auto& topic : response.responses) {
      for (auto& data : topic.partitions) {
        if (data.partition_index == 0 && data.records.bytes.size() > 40) data.records.bytes[40] ^= 1;
      }
    }
  };
  auto broken = cluster.produce(kTp, 3);
  auto whole = cluster.produce(other, 3);
  cluster.advance(3000);
  EXPECT_EQ(whole->result, ErrorCode::kNone);
  EXPECT_FALSE(broken->result);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_end_offset(), Offset{0});
  cluster.on_answer = nullptr;
  cluster.advance(3000);
  EXPECT_EQ(broken->result, ErrorCode::kNone);
}

TEST_P(Replication, AFullDiskOfAFollowerPausesAndGoesOnWhenThereIsRoom) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.files(2).set_capacity(cluster.files(2).used_bytes());
  auto produced = cluster.produce(kTp, make_batch(10, 1000));
  cluster.advance(3000);
  EXPECT_FALSE(produced->result);
  EXPECT_EQ(cluster.broker(2).partition(kTp)->role(), replication::Role::kFollower);
  cluster.files(2).set_capacity(INT64_MAX);
  cluster.advance(3000);
  EXPECT_EQ(produced->result, ErrorCode::kNone);
  cluster.expect_equal(kTp);
}

TEST_P(Replication, AFailedLogDirOfAFollowerIsOfflineAndTheLeaderGoesOn) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.files(2).set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kWrite ? EIO : 0; });
  auto produced = cluster.produce(kTp, 10);
  cluster.advance(30'000);
  EXPECT_EQ(produced->result, ErrorCode::kNone);
  EXPECT_EQ(cluster.broker(2).partition(kTp)->role(), replication::Role::kOffline);
  EXPECT_EQ(cluster.state(kTp).isr.size(), 1u);
}

TEST_P(Replication, AFollowerStartsWhenItsLeaderBecomesKnownAsAlive) {
  TestCluster cluster(brokers(2));
  cluster.kill(1);
  cluster.down(1);
  cluster.run();
  cluster.create(kTp, {1, 2});  // broker 2 hears of a leader that is not alive
  cluster.advance(3000);
  EXPECT_EQ(cluster.broker(2).partition(kTp)->leader_epoch(), LeaderEpoch{0});
  EXPECT_EQ(cluster.fetches, 0u);
  cluster.start(1);
  cluster.up(1);
  cluster.advance(2000);
  auto produced = cluster.produce(kTp);
  cluster.run();
  EXPECT_EQ(produced->result, ErrorCode::kNone);
}

TEST_P(Replication, ADeletedTopicIsFetchedNoMore) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.produce(kTp);
  cluster.advance(1000);
  cluster.remove(kTp);
  cluster.advance(2000);
  const uint64_t fetches = cluster.fetches;
  cluster.advance(10'000);
  EXPECT_EQ(cluster.fetches, fetches);
  EXPECT_EQ(cluster.broker(2).log(kTp), nullptr);
  // Another topic of that name has nothing of the former one.
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.produce(kTp, 3);
  cluster.advance(1000);
  cluster.expect_equal(kTp);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_end_offset(), Offset{3});
}

TEST_P(Replication, AnIdleFollowerAsksSeldomAndNamesNothing) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  size_t named = 0;
  cluster.on_fetch = [&](BrokerId, BrokerId, protocol::FetchRequest& request) { named += request.topics.size() + request.forgotten_topics_data.size(); };
  const uint64_t fetches = cluster.fetches;
  cluster.advance(10'000);
  EXPECT_EQ(cluster.fetches - fetches, pipelined() ? 40u : 20u);  // two wait at a time
  EXPECT_EQ(named, 0u);
}

TEST_P(Replication, TheNumberOfFetchersChangesWhileRecordsFlow) {
  TestCluster cluster(brokers(2));
  std::vector<TopicPartition> partitions;
  for (int32_t i = 0; i < 8; ++i) cluster.create(partitions.emplace_back(TopicPartition{"t", i}), {1, 2});
  cluster.delay_ms = 5;
  cluster.advance(2000);
  for (int32_t fetchers : {3, 1, 5}) {
    for (const auto& tp : partitions) cluster.produce(tp, 2);
    cluster.advance(3);
    cluster.broker(2).replicas->set_fetcher_count(fetchers);
    for (const auto& tp : partitions) cluster.produce(tp, 2);
    cluster.advance(3000);
    for (const auto& tp : partitions) cluster.expect_equal(tp);
  }
}

// KIP-392: the leader names the replica in the consumer's rack, and that one answers up to its high watermark.
TEST_P(Replication, AConsumerWithARackReadsFromTheReplicaInIt) {
  TestClusterOptions options = brokers();
  options.broker_config = {{"replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"}};
  TestCluster cluster(options);
  cluster.rack_of = [](int32_t id) { return "rack" + std::to_string(id); };
  cluster.create(kTp, {1, 2, 3});
  cluster.advance(2000);
  cluster.produce(kTp, 4);
  cluster.advance(1000);
  auto consume = [&](int32_t from, const std::string& rack, int64_t offset) {
    protocol::FetchRequest request;
    request.min_bytes = 1;
    request.max_bytes = 1 << 20;
    request.rack_id = rack;
    auto& topic = request.topics.emplace_back();
    topic.topic_id = cluster.state(kTp).topic_id;
    auto& partition = topic.partitions.emplace_back();
    partition.fetch_offset = offset;
    partition.partition_max_bytes = 1 << 20;
    return cluster.ask(from, request, 13).responses.at(0).partitions.at(0);
  };
  auto answer = consume(1, "rack3", 0);
  EXPECT_EQ(answer.preferred_read_replica, 3);
  EXPECT_EQ(answer.records.size(), 0u);
  EXPECT_EQ(answer.high_watermark, 4);
  EXPECT_EQ(consume(1, "rack1", 0).preferred_read_replica, -1);
  EXPECT_GT(consume(1, "rack1", 0).records.size(), 0u);
  EXPECT_GT(consume(1, "elsewhere", 0).records.size(), 0u);
  answer = consume(3, "rack3", 0);
  EXPECT_EQ(answer.error_code, 0);
  EXPECT_GT(answer.records.size(), 0u);
  // One that has left the ISR is not named.
  cluster.cut(1, 3);
  cluster.produce(kTp, 1, 1);
  cluster.advance(30'000);
  EXPECT_EQ(consume(1, "rack3", 0).preferred_read_replica, -1);
}

TEST_P(Replication, ALostSessionIsMadeAgain) {
  TestCluster cluster(brokers(2));
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  int wrong = 3;
  int32_t epoch = 0;
  cluster.on_fetch = [&](BrokerId, BrokerId, protocol::FetchRequest& request) {
    epoch = request.session_epoch;
    if (request.session_id != 0 && request.session_epoch > 0 && wrong-- > 0) wrong % 2 == 0 || pipelined() ? ++request.session_id : ++request.session_epoch;
  };
  cluster.advance(3000);
  auto produced = cluster.produce(kTp);
  cluster.run();
  EXPECT_EQ(produced->result, ErrorCode::kNone);
  EXPECT_GT(epoch, 0);
}

}  // namespace
}  // namespace odradek::api
