#include "replication/replica_manager.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "replication/partition/test_support.h"
#include "storage/dir/log_dir.h"

namespace odradek::replication {
namespace {

using namespace testing;
using protocol::LeaderAndIsrRequest;
using protocol::UpdateMetadataRequest;

Uuid topic_uuid(uint8_t n) {
  Uuid id;
  id.bytes[15] = n;
  return id;
}

struct Heard : LeadershipListener {
  std::vector<std::string> log;
  void on_leader(const TopicPartition& tp, LeaderEpoch epoch) override { log.push_back("leader " + tp.to_string() + " " + std::to_string(epoch.value)); }
  void on_follower(const TopicPartition& tp, LeaderEpoch epoch) override { log.push_back("follower " + tp.to_string() + " " + std::to_string(epoch.value)); }
  void on_stopped(const TopicPartition& tp) override { log.push_back("stopped " + tp.to_string()); }
};

// Takes the requests; the test answers them.
struct Channel : AlterPartitionChannel {
  std::vector<protocol::AlterPartitionRequest> requests;
  std::vector<UniqueFunction<void(Result<protocol::AlterPartitionResponse>)>> waiting;
  void send(protocol::AlterPartitionRequest request, UniqueFunction<void(Result<protocol::AlterPartitionResponse>)> done) override {
    requests.push_back(std::move(request));
    waiting.push_back(std::move(done));
  }
};

class ReplicaManagerTest : public ::testing::Test {
 protected:
  ReplicaManagerTest() {
    manager.add_listener(heard);
    manager.set_alter_partition_channel(&channel);
    manager.start();
    UpdateMetadataRequest brokers;
    brokers.controller_epoch = 1;
    for (int32_t id : {1, 2, 3}) brokers.live_brokers.emplace_back().id = id;
    EXPECT_EQ(manager.apply(brokers).error_code, 0);
  }

  static LeaderAndIsrRequest make_request(const std::string& topic, int32_t partition, const PartitionState& state, Uuid id = topic_uuid(1),
                                          int32_t controller_epoch = 1) {
    LeaderAndIsrRequest request;
    request.controller_id = 1;
    request.controller_epoch = controller_epoch;
    auto& states = request.topic_states.emplace_back();
    states.topic_name = topic;
    states.topic_id = id;
    auto& one = states.partition_states.emplace_back();
    one.partition_index = partition;
    one.leader = state.leader.value;
    one.leader_epoch = state.leader_epoch.value;
    one.partition_epoch = state.partition_epoch;
    for (BrokerId broker : state.isr) one.isr.push_back(broker.value);
    for (BrokerId broker : state.replicas) one.replicas.push_back(broker.value);
    one.is_new = true;
    return request;
  }
  ErrorCode apply(const LeaderAndIsrRequest& request) {
    auto response = manager.apply(request);
    if (response.error_code != 0) return static_cast<ErrorCode>(response.error_code);
    return static_cast<ErrorCode>(response.topics.at(0).partition_errors.at(0).error_code);
  }
  ErrorCode lead(int32_t partition, int32_t epoch = 0, std::initializer_list<int32_t> isr = {1}, std::initializer_list<int32_t> replicas = {1}) {
    return apply(make_request("t", partition, make_state(1, epoch, isr, replicas)));
  }
  ErrorCode stop(int32_t partition, int32_t epoch, bool remove) {
    return static_cast<ErrorCode>(manager.apply(make_stop("t", partition, epoch, remove)).partition_errors.at(0).error_code);
  }

  ProduceOutcome produce(int32_t partition, int records, int16_t acks = 1, size_t value_size = 10) {
    batches.push_back(make_batch(records, value_size));
    ProducePartition to{manager.find("t", partition), ErrorCode::kUnknownTopicOrPartition, batches.back()};
    ProduceParams params;
    params.acks = acks;
    params.timeout_ms = 1000;
    return manager.append(params, {&to, 1});
  }
  FetchPartition at(int32_t partition, int64_t offset, int32_t max_bytes = 1 << 20) {
    FetchPartition asked;
    asked.partition = manager.find("t", partition);
    asked.error = ErrorCode::kUnknownTopicOrPartition;
    asked.fetch_offset = {offset};
    asked.max_bytes = max_bytes;
    return asked;
  }
  static FetchParams consumer(int32_t min_bytes = 1, int32_t max_wait_ms = 500, int32_t max_bytes = 1 << 20) {
    FetchParams params;
    params.min_bytes = min_bytes;
    params.max_wait_ms = max_wait_ms;
    params.max_bytes = max_bytes;
    return params;
  }
  // Reads, and waits if there is nothing: how many answers came, and the last one.
  void fetch(const FetchParams& params, std::vector<FetchPartition> partitions) {
    FetchOutcome outcome = manager.read(params, partitions, true);
    if (outcome.satisfied) {
      ++answers;
      results = std::move(outcome.results);
      return;
    }
    manager.wait_for_data(params, std::move(partitions), [this](std::vector<ReadResult> read) {
      ++answers;
      results = std::move(read);
    });
  }
  FetchOutcome follower_fetch(int32_t follower, int32_t partition, int64_t offset) {
    FetchParams params = consumer(1, 0);
    params.replica_id = {follower};
    FetchPartition asked = at(partition, offset);
    asked.log_start_offset = {0};
    return manager.read(params, {&asked, 1}, true);
  }

  Disk disk;
  metadata::ImageHolder image;
  Heard heard;
  Channel channel;
  storage::LogConfig config;
  ReplicaManager manager{disk.runtime, *disk.logs, image,
                         {.self = {1}, .replica_lag_time_max_ms = 10'000, .log_config = [this](const std::string&) { return std::make_shared<const storage::LogConfig>(config); }},
                         disk.metrics};
  std::list<Bytes> batches;
  int answers = 0;
  std::vector<ReadResult> results;
};

TEST_F(ReplicaManagerTest, LeaderAndIsrMakesALeaderThatTakesAndGivesRecords) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  EXPECT_EQ(heard.log, std::vector<std::string>{"leader t-0 0"});
  ProduceOutcome outcome = produce(0, 3, -1);
  ASSERT_EQ(outcome.results[0].error, ErrorCode::kNone);
  EXPECT_FALSE(outcome.must_wait);
  EXPECT_EQ(outcome.results[0].info.first_offset, Offset{0});
  fetch(consumer(), {at(0, 0)});
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(base_offsets(results[0].records), std::vector<int64_t>{0});
  EXPECT_EQ(results[0].high_watermark, Offset{3});
  EXPECT_EQ(manager.find("t", 0)->log()->topic_id(), topic_uuid(1));
}

TEST_F(ReplicaManagerTest, WhoIsAskedForAPartitionThatIsElsewhereSaysSo) {
  UpdateMetadataRequest update;
  update.controller_epoch = 1;
  for (int32_t id : {1, 2}) update.live_brokers.emplace_back().id = id;
  auto& topic = update.topic_states.emplace_back();
  topic.topic_name = "elsewhere";
  topic.topic_id = topic_uuid(9);
  auto& state = topic.partition_states.emplace_back();
  state.leader = 2;
  state.replicas = state.isr = {2};
  ASSERT_EQ(manager.apply(update).error_code, 0);
  EXPECT_EQ(manager.leader_or_error({"elsewhere", 0}, kNoLeaderEpoch).error().code, ErrorCode::kNotLeaderOrFollower);
  EXPECT_EQ(manager.leader_or_error({"elsewhere", 1}, kNoLeaderEpoch).error().code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(manager.leader_or_error({"nowhere", 0}, kNoLeaderEpoch).error().code, ErrorCode::kUnknownTopicOrPartition);
}

TEST_F(ReplicaManagerTest, OldControllersAndOldRegistrationsAreRefused) {
  ASSERT_EQ(apply(make_request("t", 0, make_state(1, 0, {1}, {1}), topic_uuid(1), 5)), ErrorCode::kNone);
  EXPECT_EQ(apply(make_request("t", 0, make_state(1, 1, {1}, {1}), topic_uuid(1), 4)), ErrorCode::kStaleControllerEpoch);
  UpdateMetadataRequest update;
  update.controller_epoch = 4;
  EXPECT_EQ(manager.apply(update).error_code, static_cast<int16_t>(ErrorCode::kStaleControllerEpoch));
  manager.set_broker_epoch(100);
  LeaderAndIsrRequest request = make_request("t", 0, make_state(1, 1, {1}, {1}), topic_uuid(1), 5);
  request.broker_epoch = 99;
  EXPECT_EQ(apply(request), ErrorCode::kStaleBrokerEpoch);
  request.broker_epoch = 100;
  EXPECT_EQ(apply(request), ErrorCode::kNone);
}

TEST_F(ReplicaManagerTest, ARepeatedStateAnotherTopicIdAndAStrangersReplicaAreRefusedOneByOne) {
  ASSERT_EQ(lead(0, 3), ErrorCode::kNone);
  EXPECT_EQ(lead(0, 3), ErrorCode::kStaleControllerEpoch);
  EXPECT_EQ(lead(0, 2), ErrorCode::kStaleControllerEpoch);
  EXPECT_EQ(apply(make_request("t", 0, make_state(1, 4, {1}, {1}), topic_uuid(2))), ErrorCode::kInconsistentTopicId);
  EXPECT_EQ(apply(make_request("t", 1, make_state(2, 0, {2}, {2, 3}))), ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(manager.find("t", 1), nullptr);
}

TEST_F(ReplicaManagerTest, AParkedFetchIsWokenByTheAppendAndAnsweredOnce) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  ASSERT_EQ(lead(1), ErrorCode::kNone);
  fetch(consumer(), {at(0, 0), at(1, 0)});
  EXPECT_EQ(answers, 0);
  EXPECT_EQ(manager.parked_fetches(), 1u);
  { auto outcome = produce(1, 2); }
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(results[0].records.size, 0);
  EXPECT_EQ(base_offsets(results[1].records), std::vector<int64_t>{0});
  { auto outcome = produce(0, 2); }
  disk.runtime.advance(1000);
  EXPECT_EQ(answers, 1);
  EXPECT_EQ(manager.parked_fetches(), 0u);
}

TEST_F(ReplicaManagerTest, AParkedFetchIsAnsweredEmptyWhenItsTimeIsOver) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  fetch(consumer(1, 500), {at(0, 0)});
  disk.runtime.advance(499);
  EXPECT_EQ(answers, 0);
  disk.runtime.advance(1);
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(results[0].error, ErrorCode::kNone);
  EXPECT_EQ(results[0].records.size, 0);
}

TEST_F(ReplicaManagerTest, AFetchWaitsForItsMinimumOverAllPartitions) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  ASSERT_EQ(lead(1), ErrorCode::kNone);
  const auto size = static_cast<int32_t>(make_batch(1, 100).size());
  fetch(consumer(3 * size), {at(0, 0), at(1, 0)});
  { auto outcome = produce(0, 1, 1, 100); }
  { auto outcome = produce(1, 1, 1, 100); }
  EXPECT_EQ(answers, 0);
  { auto outcome = produce(0, 1, 1, 100); }
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(results[0].records.size + results[1].records.size, 3 * size);
}

TEST_F(ReplicaManagerTest, AFetchIsAnsweredAtOnceForAnErrorOrWhenNothingIsAsked) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  fetch(consumer(), {at(0, 0), at(7, 0)});
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(results[1].error, ErrorCode::kUnknownTopicOrPartition);
  fetch(consumer(), {at(0, 99)});
  ASSERT_EQ(answers, 2);
  EXPECT_EQ(results[0].error, ErrorCode::kOffsetOutOfRange);
  fetch(consumer(), {});
  EXPECT_EQ(answers, 3);
  fetch(consumer(1, 0), {at(0, 0)});
  EXPECT_EQ(answers, 4);
}

TEST_F(ReplicaManagerTest, AFetchThatAsksForNoMinimumStillGetsWhatMustComeFromTheDisk) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  { auto outcome = produce(0, 1); }
  EXPECT_TRUE(manager.find("t", 0)->log()->roll());  // the newest batches are always at hand
  disk.files.make_cold("/data/t-0/00000000000000000000.log");
  FetchPartition asked = at(0, 0);
  FetchOutcome outcome = manager.read(consumer(0, 0), {&asked, 1}, false);
  EXPECT_FALSE(outcome.satisfied);
  ASSERT_EQ(outcome.cold.size(), 1u);
  bool loaded = false;
  manager.load(outcome.cold, [&] { loaded = true; });
  disk.runtime.run_until_idle();
  ASSERT_TRUE(loaded);
  outcome = manager.read(consumer(0, 0), {&asked, 1}, true);
  EXPECT_TRUE(outcome.satisfied);
  EXPECT_GT(outcome.results[0].records.size, 0);
}

TEST_F(ReplicaManagerTest, TheFirstBatchComesWholeAndTheRestFitsTheLimits) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  ASSERT_EQ(lead(1), ErrorCode::kNone);
  const auto size = static_cast<int32_t>(make_batch(1, 1000).size());
  for (int i = 0; i < 4; ++i) {
    { auto outcome = produce(0, 1, 1, 1000); }
    { auto outcome = produce(1, 1, 1, 1000); }
  }
  // Both limits below one batch: the first partition still gives one, the second nothing.
  fetch(consumer(1, 0, 10), {at(0, 0, 10), at(1, 0, 10)});
  EXPECT_EQ(results[0].records.size, size);
  EXPECT_EQ(results[1].records.size, 0);
  // An empty partition in front does not use up that right.
  fetch(consumer(1, 0, 10), {at(0, 4, 10), at(1, 0, 10)});
  EXPECT_EQ(results[1].records.size, size);
  // The partition's limit, then what is left of the request's.
  fetch(consumer(1, 0, 3 * size + 10), {at(0, 0, 2 * size + 10), at(1, 0, 2 * size + 10)});
  EXPECT_EQ(results[0].records.size, 2 * size);
  EXPECT_EQ(results[1].records.size, size);
  FetchParams hard = consumer(1, 0, 10);
  hard.at_least_one_batch = false;
  fetch(hard, {at(0, 0, 10)});
  EXPECT_EQ(results[0].records.size, 0);
}

TEST_F(ReplicaManagerTest, AcksAllWaitsForTheFollowers) {
  ASSERT_EQ(lead(0, 0, {1, 2}, {1, 2}), ErrorCode::kNone);
  fetch(consumer(1, 60'000), {at(0, 0)});
  std::vector<ProduceResult> acked;
  {
    ProduceOutcome outcome = produce(0, 2, -1);
    ASSERT_TRUE(outcome.must_wait);
    ProducePartition to{manager.find("t", 0)};
    ProduceParams params{.acks = -1, .timeout_ms = 1000};
    manager.wait_for_acks(params, {&to, 1}, std::move(outcome.results), [&](std::vector<ProduceResult> results) { acked = std::move(results); });
  }
  EXPECT_TRUE(acked.empty());
  EXPECT_EQ(answers, 0);  // a consumer does not see it yet
  { FetchOutcome outcome = follower_fetch(2, 0, 0); }
  EXPECT_TRUE(acked.empty());
  { FetchOutcome outcome = follower_fetch(2, 0, 2); }
  ASSERT_EQ(acked.size(), 1u);
  EXPECT_EQ(acked[0].error, ErrorCode::kNone);
  EXPECT_EQ(acked[0].info.first_offset, Offset{0});
  EXPECT_EQ(answers, 1);
  EXPECT_EQ(manager.parked_produces(), 0u);
}

// --- the disk before the answer -------------------------------------------------------------------------------------------------

class FlushBeforeAckTest : public ReplicaManagerTest {
 protected:
  // One record to each partition; the answers come into `answered`, in the order of the partitions.
  void produce_to(std::vector<int32_t> partitions, int16_t acks) {
    std::vector<ProducePartition> to;
    for (int32_t partition : partitions) {
      batches.push_back(make_batch(1));
      to.push_back({manager.find("t", partition), ErrorCode::kUnknownTopicOrPartition, batches.back()});
    }
    ProduceParams params;
    params.acks = acks;
    params.timeout_ms = 1000;
    params.append.origin = record::AppendOrigin::kClient;
    ProduceOutcome outcome = manager.append(params, to);
    auto note = [this](const std::vector<ProduceResult>& results) {
      std::vector<ErrorCode> codes;
      for (const auto& result : results) codes.push_back(result.error);
      answered.push_back(codes);
    };
    if (!outcome.must_wait) return note(outcome.results);
    manager.wait_for_acks(params, to, std::move(outcome.results), note);
  }
  using Codes = std::vector<ErrorCode>;
  static constexpr ErrorCode kGood = ErrorCode::kNone, kLate = ErrorCode::kRequestTimedOut;
  std::vector<Codes> answered;
};

TEST_F(FlushBeforeAckTest, WithAllTheLeadersDiskCountsForAcks1AndOneFlushReleasesEverybody) {
  config.flush_before_ack = storage::FlushBeforeAck::kAll;
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  for (int16_t acks : {1, -1, 1}) produce_to({0}, acks);
  EXPECT_TRUE(answered.empty());
  EXPECT_EQ(manager.find("t", 0)->high_watermark(), Offset{3}) << "consumers see it by Kafka's rule";
  const int64_t syncs = disk.files.calls(base::FileCall::kSync);
  disk.runtime.run_until_idle();
  EXPECT_EQ(answered, (std::vector<Codes>{{kGood}, {kGood}, {kGood}}));
  EXPECT_EQ(disk.files.calls(base::FileCall::kSync) - syncs, 3) << "the log, and once the topic id and the epochs";
}

TEST_F(FlushBeforeAckTest, WithAcksAllTheOtherAcksDoNotWait) {
  config.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  produce_to({0}, 1);
  EXPECT_EQ(answered.size(), 1u);
  produce_to({0}, 0);
  EXPECT_EQ(answered.size(), 2u);
  produce_to({0}, -1);
  EXPECT_EQ(answered.size(), 2u);
  disk.runtime.run_until_idle();
  EXPECT_EQ(answered.size(), 3u);
}

TEST_F(FlushBeforeAckTest, AcksZeroNeverWaits) {
  config.flush_before_ack = storage::FlushBeforeAck::kAll;
  config.flush_messages = 1;
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  for (int i = 0; i < 10; ++i) produce_to({0}, 0);  // in debt, too
  EXPECT_EQ(answered.size(), 10u);
}

TEST_F(FlushBeforeAckTest, ARequestForSeveralLogsWaitsForAllOfThem) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);  // this one waits for nothing
  config.flush_before_ack = storage::FlushBeforeAck::kAll;
  ASSERT_EQ(lead(1), ErrorCode::kNone);
  ASSERT_EQ(lead(2), ErrorCode::kNone);
  produce_to({0, 1, 7, 2}, 1);
  EXPECT_TRUE(answered.empty());
  ASSERT_TRUE(manager.find("t", 1)->log()->flush());
  EXPECT_TRUE(answered.empty());
  ASSERT_TRUE(manager.find("t", 2)->log()->flush());
  EXPECT_EQ(answered, (std::vector<Codes>{{kGood, kGood, ErrorCode::kUnknownTopicOrPartition, kGood}}));
}

TEST_F(FlushBeforeAckTest, ATimeOutAnswersSoAndTheRecordsStay) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  config.flush_before_ack = storage::FlushBeforeAck::kAll;
  ASSERT_EQ(lead(1), ErrorCode::kNone);
  // No flush ends: its descriptors have run out.
  disk.files.set_fault([](base::FileCall call, const std::string& path) { return call == base::FileCall::kSync && path.ends_with(".log") ? EMFILE : 0; });
  produce_to({0, 1}, 1);
  disk.runtime.advance(999);
  EXPECT_TRUE(answered.empty());
  disk.runtime.advance(1);
  EXPECT_EQ(answered, (std::vector<Codes>{{kGood, kLate}}));
  disk.files.set_fault(nullptr);
  fetch(consumer(), {at(1, 0)});
  EXPECT_EQ(base_offsets(results[0].records), std::vector<int64_t>{0});
}

TEST_F(FlushBeforeAckTest, AFailedFlushFailsWhoWaits) {
  config.flush_before_ack = storage::FlushBeforeAck::kAll;
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  disk.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kSync ? EIO : 0; });
  produce_to({0}, 1);
  disk.runtime.run_until_idle();
  EXPECT_EQ(answered, (std::vector<Codes>{{ErrorCode::kKafkaStorageError}}));
}

TEST_F(FlushBeforeAckTest, ADebtHoldsAnswersBackAndAtTheirTimeTheyAreGood) {
  config.flush_messages = 1;
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  for (int i = 0; i < 5; ++i) produce_to({0}, 1);
  EXPECT_EQ(answered.size(), 4u);  // the fifth is above four times one
  disk.runtime.run_until_idle();
  EXPECT_EQ(answered.size(), 5u);
  disk.files.set_fault([](base::FileCall call, const std::string& path) { return call == base::FileCall::kSync && path.ends_with(".log") ? EMFILE : 0; });
  for (int i = 0; i < 5; ++i) produce_to({0}, 1);
  EXPECT_EQ(answered.size(), 9u);
  disk.runtime.advance(1000);
  EXPECT_EQ(answered.size(), 10u);
  EXPECT_EQ(answered.back(), Codes{kGood});
}

TEST_F(ReplicaManagerTest, AcksAllTimesOutOrFailsWithTheLeadership) {
  ASSERT_EQ(lead(0, 0, {1, 2}, {1, 2}), ErrorCode::kNone);
  std::vector<ErrorCode> acked;
  auto wait = [&] {
    ProduceOutcome outcome = produce(0, 1, -1);
    ProducePartition to{manager.find("t", 0)};
    manager.wait_for_acks({.acks = -1, .timeout_ms = 1000}, {&to, 1}, std::move(outcome.results),
                          [&](std::vector<ProduceResult> results) { acked.push_back(results[0].error); });
  };
  wait();
  disk.runtime.advance(1000);
  EXPECT_EQ(acked, std::vector<ErrorCode>{ErrorCode::kRequestTimedOut});
  wait();
  ASSERT_EQ(apply(make_request("t", 0, make_state(2, 1, {2}, {1, 2}))), ErrorCode::kNone);
  EXPECT_EQ(acked, (std::vector<ErrorCode>{ErrorCode::kRequestTimedOut, ErrorCode::kNotLeaderOrFollower}));
}

TEST_F(ReplicaManagerTest, ACoordinatorsAppendIsCommittedOrRefusedExactlyOnce) {
  ASSERT_EQ(lead(0, 4), ErrorCode::kNone);
  std::vector<std::pair<ErrorCode, int64_t>> committed;
  auto append = [&](int32_t epoch) {
    return manager.append_internal({"t", 0}, make_batch(2), {epoch}, [&](ErrorCode error, Offset first) { committed.emplace_back(error, first.value); });
  };
  EXPECT_EQ(append(4).value(), Offset{0});
  EXPECT_EQ(append(3).error().code, ErrorCode::kNotLeaderOrFollower);
  EXPECT_EQ(append(5).error().code, ErrorCode::kNotLeaderOrFollower);
  EXPECT_EQ(manager.append_internal({"t", 8}, make_batch(1), {0}, [&](ErrorCode error, Offset) { committed.emplace_back(error, -8); }).error().code,
            ErrorCode::kUnknownTopicOrPartition);
  ASSERT_EQ(committed.size(), 4u);
  EXPECT_EQ(committed[0], std::pair(ErrorCode::kNone, int64_t{0}));
  // With followers it waits as long as the leadership lasts.
  ASSERT_EQ(lead(1, 0, {1, 2}, {1, 2}), ErrorCode::kNone);
  ErrorCode error = ErrorCode::kUnknownServerError;
  ASSERT_TRUE(manager.append_internal({"t", 1}, make_batch(1), {0}, [&](ErrorCode e, Offset) { error = e; }));
  disk.runtime.advance(60'000);
  EXPECT_EQ(error, ErrorCode::kUnknownServerError);
  ASSERT_EQ(stop(1, 1, false), ErrorCode::kNone);
  EXPECT_EQ(error, ErrorCode::kNotLeaderOrFollower);
}

TEST_F(ReplicaManagerTest, AStoppedPartitionServesNothingAndADeletedOneIsGone) {
  ASSERT_EQ(lead(0, 2), ErrorCode::kNone);
  fetch(consumer(1, 60'000), {at(0, 0)});
  EXPECT_EQ(stop(0, 1, false), ErrorCode::kFencedLeaderEpoch);
  EXPECT_EQ(answers, 0);
  EXPECT_EQ(stop(0, -2, false), ErrorCode::kNone);
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(results[0].error, ErrorCode::kNotLeaderOrFollower);
  EXPECT_EQ(heard.log.back(), "stopped t-0");
  EXPECT_EQ(stop(0, -2, true), ErrorCode::kNone);
  EXPECT_EQ(manager.find("t", 0), nullptr);
  EXPECT_EQ(disk.logs->find({"t", 0}), nullptr);
  EXPECT_EQ(heard.log.size(), 2u);  // once
  // Again, with a new id.
  EXPECT_EQ(apply(make_request("t", 0, make_state(1, 0, {1}, {1}), topic_uuid(7))), ErrorCode::kNone);
  EXPECT_EQ(manager.find("t", 0)->log()->log_end_offset(), Offset{0});
}

TEST_F(ReplicaManagerTest, APartitionIsGoneForGoodWhenItsDeletionIsAnswered) {
  for (int32_t partition : {0, 1, 2}) ASSERT_EQ(lead(partition), ErrorCode::kNone);
  auto syncs = [&] { return disk.files.calls(base::FileCall::kSyncDirectory); };
  const int64_t before = syncs();
  EXPECT_EQ(stop(0, -2, false), ErrorCode::kNone);
  EXPECT_EQ(syncs(), before);
  auto both = make_stop("t", 0, -2, true);
  both.topic_states[0].partition_states.push_back(both.topic_states[0].partition_states[0]);
  both.topic_states[0].partition_states[1].partition_index = 1;
  for (const auto& entry : manager.apply(both).partition_errors) EXPECT_EQ(entry.error_code, 0);
  EXPECT_EQ(syncs(), before + 1) << "once for all of them";
  disk.files.set_fault([](base::FileCall call, const std::string& path) { return call == base::FileCall::kSyncDirectory && path == "/data" ? EIO : 0; });
  EXPECT_EQ(stop(2, -2, true), ErrorCode::kKafkaStorageError);
}

// It went on leading for producers that had not heard of another leader, and never answered their acks=all (cluster simulation, seed 62).
TEST_F(ReplicaManagerTest, AReplicaThatMovedAwayWhileTheBrokerHadNoSessionStopsWithTheMetadata) {
  ASSERT_EQ(lead(0, 4, {1, 2}, {1, 2}), ErrorCode::kNone);
  UpdateMetadataRequest update;
  update.controller_epoch = 1;
  auto& topic = update.topic_states.emplace_back();
  topic.topic_name = "t";
  topic.topic_id = topic_uuid(1);
  auto& state = topic.partition_states.emplace_back();
  state.leader = 2;
  state.leader_epoch = 6;
  state.replicas = {1, 2};
  EXPECT_EQ(manager.apply(update).error_code, 0);
  EXPECT_TRUE(manager.find("t", 0)->is_leader()) << "LeaderAndIsr is on its way";
  topic.partition_states[0].replicas = {2, 3};
  EXPECT_EQ(manager.apply(update).error_code, 0);
  EXPECT_EQ(produce(0, 1, -1).results.at(0).error, ErrorCode::kNotLeaderOrFollower);
  EXPECT_NE(manager.find("t", 0)->log(), nullptr);
  EXPECT_EQ(lead(0, 7, {1, 2}, {1, 2}), ErrorCode::kNone) << "it comes back";
}

TEST_F(ReplicaManagerTest, DeletedRecordsAreReportedWhenEveryLiveReplicaHasFollowed) {
  ASSERT_EQ(lead(0, 0, {1, 2}, {1, 2}), ErrorCode::kNone);
  { auto outcome = produce(0, 3); }
  { auto outcome = follower_fetch(2, 0, 3); }
  std::vector<ReplicaManager::Deleted> deleted;
  auto remove = [&](int32_t partition, int64_t before) {
    manager.delete_records({{{"t", partition}, {before}}}, 1000, [&](std::vector<ReplicaManager::Deleted> results) { deleted = std::move(results); });
  };
  remove(9, 1);
  EXPECT_EQ(deleted.at(0).error, ErrorCode::kUnknownTopicOrPartition);
  remove(0, 9);
  EXPECT_EQ(deleted.at(0).error, ErrorCode::kOffsetOutOfRange);
  deleted.clear();
  remove(0, 2);
  EXPECT_TRUE(deleted.empty());
  {
    FetchParams params = consumer(1, 0);
    params.replica_id = {2};
    FetchPartition asked = at(0, 3);
    asked.log_start_offset = {2};
    auto outcome = manager.read(params, {&asked, 1}, true);
  }
  ASSERT_EQ(deleted.size(), 1u);
  EXPECT_EQ(deleted[0].error, ErrorCode::kNone);
  EXPECT_EQ(deleted[0].low_watermark, Offset{2});
  deleted.clear();
  remove(0, 3);
  disk.runtime.advance(1000);
  EXPECT_EQ(deleted.at(0).error, ErrorCode::kRequestTimedOut);
}

TEST_F(ReplicaManagerTest, IsrChangesGoToTheControllerOneRequestAtATime) {
  ASSERT_EQ(lead(0, 0, {1}, {1, 2}), ErrorCode::kNone);
  ASSERT_EQ(lead(1, 0, {1}, {1, 2}), ErrorCode::kNone);
  ASSERT_EQ(lead(2, 0, {1}, {1, 2}), ErrorCode::kNone);
  for (int32_t partition : {0, 1, 2}) follower_fetch(2, partition, 0);
  ASSERT_EQ(channel.requests.size(), 1u);
  EXPECT_EQ(channel.requests[0].topics.at(0).partitions.size(), 1u);
  EXPECT_EQ(alter_partition_version(channel.requests[0]), 3);
  auto answer_last = [&](int16_t top_level, int16_t per_partition) {
    protocol::AlterPartitionResponse response;
    response.error_code = top_level;
    for (const auto& topic : channel.requests.back().topics) {
      auto& topic_answer = response.topics.emplace_back();
      topic_answer.topic_id = topic.topic_id;
      for (const auto& partition : topic.partitions) {
        auto& entry = topic_answer.partitions.emplace_back();
        entry.partition_index = partition.partition_index;
        entry.error_code = per_partition;
        entry.leader_id = 1;
        entry.leader_epoch = partition.leader_epoch;
        for (const auto& broker : partition.new_isr_with_epochs) entry.isr.push_back(broker.broker_id);
        entry.partition_epoch = partition.partition_epoch + 1;
      }
    }
    channel.waiting.back()(std::move(response));
    disk.runtime.run_until_idle();
  };
  answer_last(0, 0);
  EXPECT_EQ(manager.find("t", 0)->isr(), ids({1, 2}));
  EXPECT_EQ(manager.find("t", 0)->partition_epoch(), 1);
  // The other two went together.
  ASSERT_EQ(channel.requests.size(), 2u);
  EXPECT_EQ(channel.requests[1].topics.at(0).partitions.size(), 2u);
  // Not the controller any more: again, later.
  answer_last(static_cast<int16_t>(ErrorCode::kNotController), 0);
  EXPECT_EQ(channel.requests.size(), 2u);
  disk.runtime.advance(100);
  ASSERT_EQ(channel.requests.size(), 3u);
  answer_last(0, static_cast<int16_t>(ErrorCode::kIneligibleReplica));
  EXPECT_EQ(manager.find("t", 1)->isr(), ids({1}));
  disk.runtime.advance(1000);
  EXPECT_EQ(channel.requests.size(), 3u);
}

// As in a cluster whose inter.broker.protocol.version is from before there were topic ids.
TEST_F(ReplicaManagerTest, IsrChangesOfTopicsWithoutIdsGoUnderTheirNames) {
  for (const char* topic : {"s", "t", "u"}) ASSERT_EQ(apply(make_request(topic, 0, make_state(1, 0, {1}, {1, 2}), Uuid{})), ErrorCode::kNone);
  auto fetch_of = [&](const char* topic) {
    FetchParams params = consumer(1, 0);
    params.replica_id = {2};
    FetchPartition asked = at(0, 0);
    asked.partition = manager.find(topic, 0);
    asked.log_start_offset = {0};
    (void)manager.read(params, {&asked, 1}, true);
  };
  auto answer_last = [&] {
    protocol::AlterPartitionResponse response;
    for (const auto& topic : channel.requests.back().topics) {
      auto& entry = response.topics.emplace_back();
      entry.topic_name = topic.topic_name;
      auto& partition = entry.partitions.emplace_back();
      partition.isr = topic.partitions.at(0).new_isr;
      partition.partition_epoch = 1;
    }
    channel.waiting.back()(std::move(response));
    disk.runtime.run_until_idle();
  };
  for (const char* topic : {"t", "u", "s"}) fetch_of(topic);
  ASSERT_EQ(channel.requests.size(), 1u);
  answer_last();
  EXPECT_EQ(manager.find("t", 0)->isr(), ids({1, 2}));
  ASSERT_EQ(channel.requests.size(), 2u);
  ASSERT_EQ(channel.requests[1].topics.size(), 2u);
  EXPECT_EQ(channel.requests[1].topics[0].topic_name, "u");
  EXPECT_EQ(channel.requests[1].topics[1].topic_name, "s");
  EXPECT_EQ(alter_partition_version(channel.requests[1]), 1);
  answer_last();
  for (const char* topic : {"s", "u"}) EXPECT_EQ(manager.find(topic, 0)->isr(), ids({1, 2})) << topic;
}

TEST_F(ReplicaManagerTest, AFollowerThatCaughtUpWhileAChangeWasInFlightJoinsWithoutAnotherFetch) {
  ASSERT_EQ(lead(0, 0, {1}, {1, 2, 3}), ErrorCode::kNone);
  follower_fetch(2, 0, 0);
  ASSERT_EQ(channel.requests.size(), 1u);
  follower_fetch(3, 0, 0);
  ASSERT_EQ(channel.requests.size(), 1u);
  protocol::AlterPartitionResponse response;
  auto& topic = response.topics.emplace_back();
  topic.topic_id = channel.requests[0].topics.at(0).topic_id;
  auto& entry = topic.partitions.emplace_back();
  entry.leader_id = 1;
  entry.isr = {1, 2};
  entry.partition_epoch = 1;
  channel.waiting.back()(std::move(response));
  disk.runtime.run_until_idle();
  ASSERT_EQ(channel.requests.size(), 2u);
  std::vector<int32_t> isr;
  for (const auto& broker : channel.requests[1].topics.at(0).partitions.at(0).new_isr_with_epochs) isr.push_back(broker.broker_id);
  EXPECT_EQ(isr, (std::vector<int32_t>{1, 2, 3}));
}

TEST_F(ReplicaManagerTest, AFollowerThatFallsBehindIsReportedByTheTimer) {
  ASSERT_EQ(lead(0, 0, {1, 2}, {1, 2}), ErrorCode::kNone);
  { auto outcome = produce(0, 1); }
  disk.runtime.advance(4'000);
  EXPECT_TRUE(channel.requests.empty());
  disk.runtime.advance(12'000);
  ASSERT_EQ(channel.requests.size(), 1u);
  EXPECT_EQ(channel.requests[0].topics.at(0).partitions.at(0).new_isr, std::vector<int32_t>{1});
}

TEST_F(ReplicaManagerTest, AFailedLogDirTakesItsPartitionsOffline) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  fetch(consumer(1, 60'000), {at(0, 0)});
  disk.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kWrite ? EIO : 0; });
  { auto outcome = produce(0, 1); EXPECT_EQ(outcome.results[0].error, ErrorCode::kKafkaStorageError); }
  disk.runtime.run_until_idle();
  EXPECT_EQ(manager.find("t", 0)->role(), Role::kOffline);
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(results[0].error, ErrorCode::kKafkaStorageError);
  EXPECT_EQ(heard.log.back(), "stopped t-0");
  EXPECT_EQ(lead(0, 1), ErrorCode::kKafkaStorageError);
  disk.files.set_fault(nullptr);
}

// Its dir failed before the controller said anything of it: no partition knows that it is offline.
TEST_F(ReplicaManagerTest, ADeletionIsNotDoneWhileTheLogIsInAFailedDir) {
  const TopicPartition tp{"t", 0};
  auto log = disk.logs->get_or_create(tp, topic_uuid(1), std::make_shared<const storage::LogConfig>(config), true);
  ASSERT_TRUE(log);
  (*log)->dir().fail({ErrorCode::kKafkaStorageError, "gone", EIO});
  disk.runtime.run_until_idle();
  ASSERT_EQ(manager.find(tp), nullptr);
  EXPECT_EQ(stop(0, -2, true), ErrorCode::kKafkaStorageError);
  EXPECT_EQ(stop(1, -2, true), ErrorCode::kNone);
}

TEST_F(ReplicaManagerTest, StoppingAnswersWhatIsParked) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  fetch(consumer(1, 60'000), {at(0, 0)});
  manager.stop();
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(results[0].error, ErrorCode::kNotLeaderOrFollower);
  fetch(consumer(1, 60'000), {at(0, 0)});
  EXPECT_EQ(answers, 2);
}

TEST_F(ReplicaManagerTest, ATopicsCountersGoWithItsLastPartition) {
  ASSERT_EQ(lead(0), ErrorCode::kNone);
  { auto outcome = produce(0, 3); }
  EXPECT_NE(disk.metrics.prometheus_text().find("kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"} 3"), std::string::npos);
  ASSERT_EQ(stop(0, -2, true), ErrorCode::kNone);
  EXPECT_EQ(disk.metrics.prometheus_text().find("topic=\"t\""), std::string::npos);
}

// Producers and consumers on real threads; each consumer must see every record without ever waiting for a time-out.
TEST(ReplicaManagerRace, NoConsumerMissesTheAppendThatItWaitsFor) {
  base::MemoryFiles files;
  auto real = base::make_system_runtime();
  struct Mixed : base::Runtime {
    base::Runtime& real;
    base::FileSystem& fs;
    Mixed(base::Runtime& r, base::FileSystem& f) : real(r), fs(f) {}
    base::Clock& clock() override { return real.clock(); }
    base::Random& random() override { return real.random(); }
    base::FileSystem& files() override { return fs; }
    base::Timers& timers() override { return real.timers(); }
    std::unique_ptr<base::Executor> make_executor(const std::string& name, int threads) override { return real.make_executor(name, threads); }
  } runtime(*real, files);
  metrics::Registry metrics(runtime.clock());
  storage::LogManagerOptions log_options;
  log_options.dirs = {"/data"};
  storage::LogManager logs(runtime, log_options, metrics);
  ASSERT_TRUE(logs.start([](const std::string&) { return std::make_shared<const storage::LogConfig>(); }));
  metadata::ImageHolder image;
  ReplicaManager manager(runtime, logs, image,
                         {.self = {1}, .log_config = [](const std::string&) { return std::make_shared<const storage::LogConfig>(); }}, metrics);
  manager.start();
  constexpr int kPartitions = 3, kRecords = 400;
  LeaderAndIsrRequest request;
  auto& topic = request.topic_states.emplace_back();
  topic.topic_name = "t";
  for (int32_t i = 0; i < kPartitions; ++i) {
    auto& state = topic.partition_states.emplace_back();
    state.partition_index = i;
    state.leader = 1;
    state.isr = state.replicas = {1};
    state.is_new = true;
  }
  manager.apply(request);

  std::atomic<int> late{0};
  std::vector<std::thread> threads;
  for (int c = 0; c < 2; ++c) {
    threads.emplace_back([&] {
      std::vector<int64_t> positions(kPartitions, 0);
      while (std::any_of(positions.begin(), positions.end(), [](int64_t p) { return p < kRecords; })) {
        std::vector<FetchPartition> partitions(kPartitions);
        for (int32_t i = 0; i < kPartitions; ++i) {
          auto& asked = partitions[static_cast<size_t>(i)];
          asked.partition = manager.find("t", i);
          asked.fetch_offset = {positions[static_cast<size_t>(i)]};
          asked.max_bytes = 1 << 20;
        }
        FetchParams params{.max_wait_ms = 20'000, .min_bytes = 1, .max_bytes = 1 << 20};
        std::atomic<bool> done{false};
        std::vector<ReadResult> results;
        const int64_t began = runtime.clock().monotonic_ms();
        FetchOutcome outcome = manager.read(params, partitions, true);
        if (outcome.satisfied) {
          results = std::move(outcome.results);
        } else {
          manager.wait_for_data(params, std::move(partitions), [&](std::vector<ReadResult> read) {
            results = std::move(read);
            done = true;
            done.notify_one();
          });
          done.wait(false);
        }
        if (runtime.clock().monotonic_ms() - began > 15'000) ++late;
        for (size_t i = 0; i < results.size(); ++i) {
          if (results[i].records.size > 0) positions[i] = results[i].next_offset.value;
        }
      }
    });
  }
  for (int32_t p = 0; p < kPartitions; ++p) {
    threads.emplace_back([&, p] {
      for (int i = 0; i < kRecords; ++i) {
        Bytes batch = make_batch(1);
        ProducePartition to{manager.find("t", p), ErrorCode::kNone, batch};
        ProduceOutcome outcome = manager.append({.acks = -1, .timeout_ms = 1000}, {&to, 1});
        ASSERT_EQ(outcome.results[0].error, ErrorCode::kNone);
        if (i % 16 == 0) std::this_thread::yield();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(late, 0);
  EXPECT_EQ(manager.parked_fetches(), 0u);
  manager.stop();
  logs.stop();
}

}  // namespace
}  // namespace odradek::replication
