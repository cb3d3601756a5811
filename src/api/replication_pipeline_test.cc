// What only pipelined fetches do: distance, news of flushes, epochs of old formats, order over several connections.
#include <gtest/gtest.h>

#include <numeric>

#include "api/cluster_support.h"
#include "record/message.h"
#include "replication/sessions/fetch_pipeline.h"

namespace odradek::api {
namespace {

using namespace odradek::api::testing;
using protocol::FetchRequest;
using protocol::FetchResponse;
using replication::testing::make_batch;

const TopicPartition kTp{"t", 0};

TestClusterOptions two_brokers(bool pipelined = true) {
  TestClusterOptions options;
  options.brokers = 2;
  if (!pipelined) options.fetcher.in_flight_bytes = 0;
  return options;
}

// How far the follower is after 1.5 s, at a round trip of 100 ms; 64 KiB an answer.
int64_t caught_up_after_1500_ms(bool pipelined) {
  TestClusterOptions options = two_brokers(pipelined);
  options.fetcher.max_bytes = 64 << 10;
  if (pipelined) options.fetcher.in_flight_bytes = 32 * (64 << 10);
  TestCluster cluster(options);
  cluster.create(kTp, {1, 2});
  cluster.kill(2);
  cluster.down(2);
  for (int i = 0; i < 400; ++i) cluster.produce(kTp, make_batch(10, 1000));
  cluster.run();
  cluster.delay_ms = 50;
  cluster.start(2);
  cluster.up(2);
  cluster.advance(1500);
  return cluster.broker(2).log(kTp)->log_end_offset().value;
}

TEST(ReplicationPipeline, DistanceDoesNotSlowAFollower) {
  EXPECT_EQ(caught_up_after_1500_ms(true), 4000);
  EXPECT_LT(caught_up_after_1500_ms(false), 1500);
}

TEST(ReplicationPipeline, AFollowerFarAwayStaysInTheIsrUnderConstantLoad) {
  TestClusterOptions options = two_brokers();
  options.lag_ms = 1000;
  TestCluster cluster(options);
  cluster.delay_ms = 100;
  cluster.create(kTp, {1, 2});
  cluster.advance(3000);
  cluster.isr_wishes.clear();
  for (int i = 0; i < 2000; ++i) {
    cluster.produce(kTp, 1, 1);
    cluster.advance(5);
    ASSERT_LT(cluster.broker(2).log(kTp)->log_end_offset(), cluster.broker(1).log(kTp)->log_end_offset());
  }
  EXPECT_TRUE(cluster.isr_wishes.empty());
}

// One that has stopped writing is out, however often it asks.
TEST(ReplicationPipeline, AFollowerThatAsksButDoesNotWriteLeavesTheIsr) {
  TestClusterOptions options = two_brokers();
  options.lag_ms = 1000;
  TestCluster cluster(options);
  cluster.create(kTp, {1, 2});
  cluster.advance(3000);
  cluster.files(2).set_capacity(cluster.files(2).used_bytes());
  for (int i = 0; i < 100; ++i) {
    cluster.produce(kTp, make_batch(1, 5000), 1);
    cluster.advance(50);
  }
  EXPECT_EQ(cluster.state(kTp).isr.size(), 1u);
}

TEST(ReplicationPipeline, AnAckOfAllWaitsForTheFollowersDisk) {
  for (bool pipelined : {true, false}) {
    TestClusterOptions options = two_brokers(pipelined);
    options.log.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
    options.log.min_insync_replicas = 2;
    options.fetcher.wait_max_ms = 100'000;  // nothing comes by a time-out
    TestCluster cluster(options);
    cluster.delay_ms = 10;
    cluster.create(kTp, {1, 2});
    cluster.advance(2000);
    for (int i = 1; i <= 20; ++i) {
      auto produced = cluster.produce(kTp);
      cluster.advance(25);  // there, and back with the news of the flush: not one more round trip for that
      if (!pipelined) {
        // A follower that does not say what is on its disk is no flushed copy.
        EXPECT_EQ(produced->result, ErrorCode::kNotEnoughReplicas);
        continue;
      }
      ASSERT_EQ(produced->result, ErrorCode::kNone) << i;
      EXPECT_GE(cluster.broker(2).log(kTp)->flushed_offset(), Offset{i});
    }
  }
}

// Else who sends a batch again that stands there already would wait for ever (cluster simulation, seed 2).
TEST(ReplicationPipeline, AFollowerFlushesWhatItsFormerLifeLeft) {
  TestClusterOptions options = two_brokers();
  options.log.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
  TestCluster cluster(options);
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.produce(kTp, 3);
  cluster.advance(100);
  cluster.kill(2);
  cluster.down(2);
  cluster.start(2);
  cluster.up(2);
  cluster.advance(3000);
  EXPECT_EQ(cluster.broker(2).log(kTp)->log_end_offset(), Offset{3});
  EXPECT_EQ(cluster.broker(2).log(kTp)->flushed_offset(), Offset{3});
}

// The leader did not believe it, and waited for a word that does not come while nobody writes; and nobody could (cluster simulation, seed 5151).
TEST(ReplicationPipeline, AFurtherSessionSaysWhatIsFlushedInItsFirstRequest) {
  TestClusterOptions options = two_brokers();
  options.log.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
  options.log.min_insync_replicas = 2;
  options.fetcher.wait_max_ms = 100'000;
  TestCluster cluster(options);
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  auto produced = cluster.produce(kTp);
  cluster.advance(100);
  ASSERT_EQ(produced->result, ErrorCode::kNone);
  bool is_lost = true;
  cluster.on_fetch = [&](BrokerId, BrokerId, FetchRequest& request) {
    if (request.session_epoch == 0) is_lost = false;
    if (is_lost) request.session_id ^= 1;
  };
  cluster.state(kTp).isr = {{1}};
  cluster.elect(kTp, 1);
  cluster.advance(3000);
  EXPECT_FALSE(is_lost);
  ASSERT_EQ(cluster.state(kTp).isr.size(), 2u);
  produced = cluster.produce(kTp);
  cluster.advance(100);
  EXPECT_EQ(produced->result, ErrorCode::kNone);
}

TEST(ReplicationPipeline, AFollowerTellsWhatItHasFlushedWhenTheTopicBeginsToAskForIt) {
  TestClusterOptions options = two_brokers();
  options.log.min_insync_replicas = 2;
  TestCluster cluster(options);
  cluster.create(kTp, {1, 2});
  cluster.advance(2000);
  cluster.produce(kTp, 3);
  cluster.advance(100);
  auto flushing = std::make_shared<storage::LogConfig>(options.log);
  flushing->flush_before_ack = storage::FlushBeforeAck::kAcksAll;
  for (int32_t id : {1, 2}) cluster.broker(id).replicas->update_log_config(kTp, flushing);
  cluster.advance(2000);
  auto produced = cluster.produce(kTp);
  cluster.advance(2000);
  EXPECT_EQ(produced->result, ErrorCode::kNone);
}

TEST(ReplicationPipeline, EpochsOfOldFormatsTravelAndNothingIsCutAtLeaderChanges) {
  TestClusterOptions options = two_brokers();
  options.brokers = 3;
  options.log.keep_old_formats = true;
  TestCluster cluster(options);
  cluster.produce_version = 2;
  cluster.create(kTp, {1, 2, 3});
  cluster.advance(2000);
  auto message = [](int i) {
    Bytes bytes;
    record::put_message(bytes, record::kMagicV1, {0}, 1'600'000'000'000 + i, 0, as_bytes("key"), as_bytes("value " + std::to_string(i)));
    return bytes;
  };
  for (int32_t leader : {1, 2, 3, 1, 3}) {
    cluster.elect(kTp, leader);
    cluster.run();
    for (int i = 0; i < 3; ++i) cluster.produce(kTp, message(i));
    cluster.advance(3000);
    cluster.expect_equal(kTp);
  }
  const auto epochs = cluster.broker(2).log(kTp)->epochs();
  ASSERT_EQ(epochs.size(), 5u);
  EXPECT_EQ(epochs.back().start, Offset{12});
  // One that had nothing learns them all.
  cluster.kill(2);
  cluster.down(2);
  cluster.files(2).remove_all("/data");
  cluster.start(2);
  cluster.up(2);
  cluster.advance(3000);
  cluster.expect_equal(kTp);
  EXPECT_EQ(cluster.broker(2).log(kTp)->epochs().size(), 5u);
}

// The sizes of Java: what it does not know it skips, and it answers with a session of its own.
TEST(ReplicationPipeline, AnApacheLeaderIsAskedOneAtATimeOverSeveralConnections) {
  TestCluster cluster(two_brokers());
  cluster.on_fetch = [](BrokerId, BrokerId, FetchRequest& request) {
    request.pipeline.reset();
    for (auto& topic : request.topics) {
      for (auto& partition : topic.partitions) partition.position = partition.flushed = -1;
    }
  };
  std::vector<TopicPartition> partitions;
  for (int32_t i = 0; i < 8; ++i) cluster.create(partitions.emplace_back(TopicPartition{"t", i}), {1, 2});
  cluster.advance(5000);
  auto produce_all = [&] {
    for (const auto& tp : partitions) {
      auto produced = cluster.produce(tp, 3);
      cluster.advance(1);
      EXPECT_EQ(produced->result, ErrorCode::kNone);
    }
    cluster.advance(1000);
    for (const auto& tp : partitions) cluster.expect_equal(tp);
  };
  produce_all();
  EXPECT_EQ(cluster.broker(1).pipelines->sessions(), 0u);
  EXPECT_GE(cluster.broker(1).sessions.sessions(), 4u);
  // Odradek takes its place.
  cluster.on_fetch = nullptr;
  cluster.cut(1, 2);
  cluster.heal(1, 2);
  cluster.advance(3000);
  produce_all();
  EXPECT_EQ(cluster.broker(1).pipelines->sessions(), 1u);
}

TEST(ReplicationPipeline, ANewPartitionDoesNotWaitForThoseThatHaveNothing) {
  TestClusterOptions options = two_brokers();
  options.fetcher.wait_max_ms = 100'000;
  TestCluster cluster(options);
  cluster.create(kTp, {1, 2});
  cluster.run();
  const TopicPartition other{"t", 1};
  cluster.create(other, {1, 2});
  auto produced = cluster.produce(other);
  cluster.run();
  EXPECT_EQ(produced->result, ErrorCode::kNone);
}

TEST(ReplicationPipeline, WhatIsOnTheWayIsBounded) {
  TestClusterOptions options = two_brokers();
  options.fetcher.in_flight_bytes = 1 << 20;
  TestCluster cluster(options);
  cluster.delay_ms = 20;
  cluster.jitter_ms = 20;
  int64_t requests = 0, bytes = 0, most = 0, most_bytes = 0;
  std::vector<int64_t> sizes;
  cluster.on_fetch = [&](BrokerId, BrokerId, FetchRequest& request) {
    most = std::max(most, ++requests);
    bytes += request.max_bytes;
    sizes.push_back(request.max_bytes);
    most_bytes = std::max(most_bytes, bytes);
  };
  cluster.on_answer = [&](BrokerId, BrokerId, FetchResponse&) {
    --requests;
    bytes -= sizes.back();
  };
  cluster.create(kTp, {1, 2});
  for (int i = 0; i < 1500; ++i) {
    cluster.produce(kTp, make_batch(10, 1000), 1);
    if (i % 10 == 0) cluster.advance(1);
  }
  cluster.advance(3000);
  cluster.expect_equal(kTp);
  EXPECT_GE(most, 16);
  EXPECT_LE(most, 32);
  EXPECT_LE(most_bytes, 1 << 20);
}

// --- the leader's side alone ----------------------------------------------------------------------------------------------------------

class FetchPipelinesTest : public ::testing::Test {
 protected:
  FetchPipelinesTest() : cluster(alone()) {
    cluster.create(kTp, {1});
    cluster.state(kTp).replicas = {{1}, {2}};  // broker 2 is this test
    cluster.state(kTp).isr = {{1}};
    cluster.elect(kTp, 1);
    cluster.run();
  }
  static TestClusterOptions alone() {
    TestClusterOptions options;
    options.brokers = 1;
    return options;
  }
  FetchRequest make(int32_t number, int64_t written, int64_t position = -1) {
    FetchRequest request;
    request.replica_state = {.replica_id = 2, .replica_epoch = 7, .unknown_tags = {}};
    request.max_wait_ms = 500;
    request.min_bytes = 1;
    request.max_bytes = 150;  // one batch
    request.session_id = session;
    request.session_epoch = number;
    request.pipeline = protocol::FetchRequest::Pipeline{};
    request.pipeline->depth = 4;
    auto& topic = request.topics.emplace_back();
    topic.topic_id = cluster.state(kTp).topic_id;
    auto& partition = topic.partitions.emplace_back();
    partition.fetch_offset = written;
    partition.position = position;
    partition.current_leader_epoch = 1;
    return request;
  }
  static FetchRequest without_partitions(FetchRequest request) {
    request.topics.clear();
    return request;
  }
  void send(FetchRequest request) {
    const int32_t number = request.session_epoch;
    cluster.broker(1).pipelines->fetch(std::move(request), cluster.runtime.clock().monotonic_ms(), [this, number](FetchResponse answer) {
      if (number == 0) session = answer.session_id;
      order.push_back(number);
      answers[number] = std::move(answer);
    });
    cluster.run();
  }
  int64_t first_offset(int32_t number) {
    const auto& slices = answers.at(number).responses.at(0).partitions.at(0).records.slices;
    return slices.empty() ? -1 : replication::testing::base_offsets(slices[0]).at(0);
  }

  int32_t session = 0;
  std::vector<int32_t> order;
  std::map<int32_t, FetchResponse> answers;
  TestCluster cluster;  // answers those that wait when it ends
};

TEST_F(FetchPipelinesTest, RequestsAreWorkedOffInTheOrderOfTheirNumbers) {
  for (int i = 0; i < 4; ++i) cluster.produce(kTp, 1, 1);
  send(make(0, 0, 0));
  ASSERT_TRUE(answers.at(0).pipeline);
  send(without_partitions(make(3, 0)));
  send(without_partitions(make(2, 0)));
  EXPECT_EQ(order.size(), 1u);
  send(without_partitions(make(1, 0)));
  EXPECT_EQ(order, (std::vector<int32_t>{0, 1, 2, 3}));
  for (int32_t i : {0, 1, 2, 3}) EXPECT_EQ(first_offset(i), i);
}

TEST_F(FetchPipelinesTest, WrittenCountsAtOnceAndPositionNever) {
  cluster.produce(kTp, 1, 1);
  cluster.produce(kTp, 1, 1);
  send(make(0, 0, 0));
  send(without_partitions(make(1, 0)));  // both are sent
  send(without_partitions(make(2, 0)));  // waits
  cluster.state(kTp).isr = {{1}, {2}};
  cluster.elect(kTp, 1);  // and is told of the new epoch
  cluster.run();
  EXPECT_EQ(cluster.broker(1).partition(kTp)->isr().size(), 2u);
  auto again = make(3, 2, 2);  // who began below the high watermark would leave the ISR
  again.topics[0].partitions[0].current_leader_epoch = 2;
  send(std::move(again));
  auto produced = cluster.produce(kTp);
  EXPECT_FALSE(produced->result);
  send(without_partitions(make(4, 0)));
  send(without_partitions(make(5, 0)));
  cluster.run();
  EXPECT_FALSE(produced->result) << "sent is not written";
  send(make(7, 3));
  EXPECT_FALSE(produced->result) << "6 is missing";
  send(make(6, 2));
  EXPECT_EQ(produced->result, ErrorCode::kNone);
}

TEST_F(FetchPipelinesTest, AnErrorStopsAPartitionUntilAPositionIsNamed) {
  for (int i = 0; i < 4; ++i) cluster.produce(kTp, 1, 1);
  send(make(0, 0, 99));
  EXPECT_EQ(answers.at(0).responses.at(0).partitions.at(0).error_code, static_cast<int16_t>(ErrorCode::kOffsetOutOfRange));
  send(without_partitions(make(1, 0)));
  cluster.advance(600);
  EXPECT_TRUE(answers.at(1).responses.empty());
  send(make(2, 0, 2));
  EXPECT_EQ(first_offset(2), 2);
}

// Else names that nobody has would fill the memory.
TEST_F(FetchPipelinesTest, APartitionThatIsNotThereIsNotKeptInTheSession) {
  auto unknown = [&](int32_t number, int64_t position) {
    FetchRequest request = make(number, 0, position);
    request.topics[0].partitions[0].partition = 99;
    return request;
  };
  send(unknown(0, 0));
  const int16_t error = answers.at(0).responses.at(0).partitions.at(0).error_code;
  EXPECT_NE(error, 0);
  send(unknown(1, -1));
  ASSERT_EQ(answers.at(1).responses.size(), 1u) << "its progress names it anew";
  EXPECT_EQ(answers.at(1).responses[0].partitions.at(0).error_code, error);
}

TEST_F(FetchPipelinesTest, WhoWaitsIsPushedOutByMoreThanTheDepthBehindIt) {
  send(make(0, 0, 0));
  cluster.advance(600);
  for (int32_t number = 1; number <= 5; ++number) send(without_partitions(make(number, 0)));
  EXPECT_EQ(order, (std::vector<int32_t>{0}));
  send(without_partitions(make(6, 0)));
  EXPECT_EQ(order, (std::vector<int32_t>{0, 1}));
}

TEST_F(FetchPipelinesTest, ASecondUseOfANumberEndsTheSessionAndAnswersAll) {
  send(make(0, 0, 0));
  cluster.advance(600);
  send(without_partitions(make(1, 0)));
  send(without_partitions(make(3, 0)));
  send(without_partitions(make(1, 0)));
  EXPECT_EQ(order.size(), 4u);
  EXPECT_EQ(answers.at(3).error_code, static_cast<int16_t>(ErrorCode::kFetchSessionIdNotFound));
  send(without_partitions(make(2, 0)));
  EXPECT_NE(answers.at(2).error_code, 0);
}

TEST_F(FetchPipelinesTest, TheLineHasABound) {
  send(make(0, 0, 0));
  cluster.advance(600);
  for (int32_t number = 2; answers.size() == 1; ++number) {
    ASSERT_LE(number, 300);
    send(without_partitions(make(number, 0)));
  }
  EXPECT_EQ(answers.size(), replication::FetchPipelines::kMostInLine + 2);
}

TEST_F(FetchPipelinesTest, AFullRequestEndsTheFormerSessionAndAnswersWhoWaits) {
  send(make(0, 0, 0));
  cluster.advance(600);
  send(without_partitions(make(1, 0)));
  send(without_partitions(make(2, 0)));
  send(make(0, 0, 0));
  EXPECT_EQ(answers.at(2).error_code, static_cast<int16_t>(ErrorCode::kFetchSessionIdNotFound));
  EXPECT_EQ(cluster.broker(1).pipelines->sessions(), 1u);
}

}  // namespace
}  // namespace odradek::api
