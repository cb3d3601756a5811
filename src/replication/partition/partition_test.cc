#include "replication/partition/partition.h"

#include <gtest/gtest.h>

#include <thread>

#include "replication/partition/test_support.h"

namespace odradek::replication {
namespace {

using namespace testing;

constexpr BrokerId kSelf{1};
constexpr int64_t kLagMs = 10'000;

class PartitionTest : public ::testing::Test {
 protected:
  // Broker 1 is this one.
  void lead(int32_t epoch, std::initializer_list<int32_t> isr, std::initializer_list<int32_t> replicas) {
    auto changed = partition.become_leader(make_state(1, epoch, isr, replicas), log, Offset{0}, now_ms);
    ASSERT_TRUE(changed) << changed.error().what;
  }
  void follow(int32_t leader, int32_t epoch) {
    auto changed = partition.become_follower(make_state(leader, epoch, {leader}, {1, leader}), log, Offset{0});
    ASSERT_TRUE(changed) << changed.error().what;
  }
  ErrorCode append(int records, int16_t acks = 1) {
    Bytes batch = make_batch(records);
    auto appended = partition.append_as_leader(batch, acks, kNoLeaderEpoch, {});
    if (!appended) return appended.error().error.code;
    last = *appended;
    return ErrorCode::kNone;
  }
  FollowerFetchEffect fetched(int32_t follower, int64_t offset) {
    return partition.record_follower_fetch({follower}, {.log_end = {offset}, .log_start = {0}}, log->log_end_offset(), now_ms);
  }
  int64_t high_watermark() const { return partition.high_watermark().value; }
  ReadResult read(int64_t from, ReadBound bound = ReadBound::kHighWatermark) {
    return partition.read({.from = {from}, .max_bytes = 1 << 20, .at_least_one_batch = true, .bound = bound});
  }

  Disk disk;
  Brokers brokers;
  int64_t now_ms = 1'000'000;
  Partition partition{{"t", 0}, kSelf, brokers, kLagMs};
  std::shared_ptr<storage::Log> log = disk.log({"t", 0}, {.min_insync_replicas = 2});
  LeaderAppend last;
};

TEST_F(PartitionTest, WithOneReplicaTheHighWatermarkIsTheLogEndByTheGeneralRule) {
  lead(0, {1}, {1});
  ASSERT_EQ(append(3, -1), ErrorCode::kNone);
  EXPECT_EQ(high_watermark(), 3);
  EXPECT_TRUE(last.high_watermark_advanced);
  EXPECT_EQ(last.need.required, Offset{3});
  EXPECT_EQ(partition.ack_state(last.need), ErrorCode::kNone);
  EXPECT_EQ(base_offsets(read(0).records), std::vector<int64_t>{0});
}

TEST_F(PartitionTest, TheHighWatermarkIsTheSmallestLogEndOfTheIsr) {
  lead(0, {1, 2, 3}, {1, 2, 3});
  ASSERT_EQ(append(5, -1), ErrorCode::kNone);
  EXPECT_FALSE(last.high_watermark_advanced);
  EXPECT_EQ(high_watermark(), 0);
  EXPECT_EQ(partition.ack_state(last.need), std::nullopt);
  EXPECT_FALSE(fetched(2, 5).high_watermark_advanced);
  EXPECT_FALSE(fetched(3, 0).high_watermark_advanced);
  EXPECT_TRUE(fetched(3, 4).high_watermark_advanced);
  EXPECT_EQ(high_watermark(), 4);
  EXPECT_TRUE(fetched(3, 5).high_watermark_advanced);
  EXPECT_EQ(high_watermark(), 5);
  EXPECT_EQ(partition.ack_state(last.need), ErrorCode::kNone);
  // A follower that was cut back does not pull it down.
  EXPECT_FALSE(fetched(3, 1).high_watermark_advanced);
  EXPECT_EQ(high_watermark(), 5);
}

TEST_F(PartitionTest, AReplicaOutsideTheIsrDoesNotHoldTheHighWatermarkBackUnlessItIsAboutToJoin) {
  lead(0, {1, 2}, {1, 2, 3});
  ASSERT_EQ(append(5), ErrorCode::kNone);
  fetched(2, 5);
  EXPECT_EQ(high_watermark(), 5);
  // 3 catches up: from now on it counts although it is not in the ISR.
  FollowerFetchEffect joins = fetched(3, 5);
  ASSERT_TRUE(joins.change);
  EXPECT_EQ(joins.change->isr, ids({1, 2, 3}));
  ASSERT_EQ(append(1), ErrorCode::kNone);
  fetched(2, 6);
  EXPECT_EQ(high_watermark(), 5);
  fetched(3, 6);
  EXPECT_EQ(high_watermark(), 6);
}

TEST_F(PartitionTest, ADeadReplicaThatLooksCaughtUpDoesNotHoldTheHighWatermarkBack) {
  lead(0, {1, 2}, {1, 2, 3});
  fetched(3, 0);
  partition.on_isr_refused({0}, false);
  brokers.dead.insert({3});
  ASSERT_EQ(append(2), ErrorCode::kNone);
  fetched(2, 2);
  EXPECT_EQ(high_watermark(), 2);
}

TEST_F(PartitionTest, BelowMinIsrAcksAllIsRefusedAndTheHighWatermarkStands) {
  lead(0, {1}, {1, 2});
  EXPECT_EQ(append(1, -1), ErrorCode::kNotEnoughReplicas);
  EXPECT_EQ(log->log_end_offset(), Offset{0});
  EXPECT_EQ(append(1, 1), ErrorCode::kNone);
  EXPECT_EQ(high_watermark(), 0);
  EXPECT_TRUE(partition.is_under_min_isr());
  FollowerFetchEffect joins = fetched(2, 1);
  ASSERT_TRUE(joins.change);
  EXPECT_TRUE(partition.on_isr_changed({0}, ids({1, 2}), 1));
  EXPECT_EQ(high_watermark(), 1);
  EXPECT_EQ(append(1, -1), ErrorCode::kNone);
}

TEST_F(PartitionTest, MinIsrIsNotMoreThanThereAreReplicas) {
  lead(0, {1}, {1});
  EXPECT_FALSE(partition.is_under_min_isr());
  EXPECT_EQ(append(1, -1), ErrorCode::kNone);
  EXPECT_EQ(high_watermark(), 1);
}

TEST_F(PartitionTest, AnAckAfterTheIsrFellBelowMinIsrSaysSo) {
  lead(0, {1, 2}, {1, 2});
  ASSERT_EQ(append(1, -1), ErrorCode::kNone);
  fetched(2, 1);
  partition.on_isr_changed({0}, ids({1}), 1);
  EXPECT_EQ(partition.ack_state(last.need), ErrorCode::kNotEnoughReplicasAfterAppend);
}

TEST_F(PartitionTest, AcksAllWithFlushBeforeAckCountsTheReplicasThatTellWhatTheyHaveFlushed) {
  storage::LogConfig config;
  config.min_insync_replicas = 2;
  config.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
  log->update_config(std::make_shared<const storage::LogConfig>(config));
  lead(0, {1, 2, 3}, {1, 2, 3});
  // Nobody has told yet; an Apache broker never does.
  EXPECT_EQ(append(1, -1), ErrorCode::kNotEnoughReplicas);
  EXPECT_EQ(log->log_end_offset(), Offset{0});
  EXPECT_EQ(append(1, 1), ErrorCode::kNone);
  auto told = [&](int32_t follower, int64_t end, std::optional<int64_t> flushed) {
    return partition.record_follower_fetch({follower}, {.log_end = {end}, .log_start = {0}, .flushed = flushed ? std::optional<Offset>(Offset{*flushed}) : std::nullopt},
                                           log->log_end_offset(), now_ms);
  };
  told(2, 1, std::nullopt);
  EXPECT_EQ(append(1, -1), ErrorCode::kNotEnoughReplicas);
  EXPECT_TRUE(told(3, 1, 0).flushed_moved);
  ASSERT_EQ(append(1, -1), ErrorCode::kNone);
  const AckNeed need = last.need;
  told(2, 2, std::nullopt);
  told(3, 2, 1);
  EXPECT_EQ(high_watermark(), 2) << "Kafka's rule";
  EXPECT_EQ(partition.ack_state(need), std::nullopt);
  ASSERT_TRUE(log->flush());
  EXPECT_EQ(partition.ack_state(need), std::nullopt) << "3 has not flushed it";
  lead(1, {1, 2, 3}, {1, 2, 3});
  EXPECT_EQ(partition.ack_state(need), std::nullopt) << "nor has another epoch of the same leader done so";
  told(3, 2, 2);
  EXPECT_EQ(partition.ack_state(need), ErrorCode::kNone);
  lead(2, {1, 2, 3}, {1, 2, 3});
  EXPECT_EQ(partition.ack_state(need), ErrorCode::kNone);
  // Who told leaves the ISR: too few copies are on a disk.
  partition.on_isr_changed({2}, ids({1, 2}), 2);
  EXPECT_EQ(partition.ack_state(need), ErrorCode::kNotEnoughReplicasAfterAppend);
}

// Who joins may lead a moment later: records that were acknowledged as flushed were lost when all lost their power (cluster simulation, seed 44).
TEST_F(PartitionTest, WithFlushBeforeAckAFollowerJoinsWhenItHasFlushedWhatWasAcknowledged) {
  storage::LogConfig config;
  config.min_insync_replicas = 1;
  config.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
  log->update_config(std::make_shared<const storage::LogConfig>(config));
  lead(0, {1}, {1, 2});
  ASSERT_EQ(append(1, -1), ErrorCode::kNone);
  auto told = [&](int64_t end, std::optional<int64_t> flushed, bool to_come = false) {
    FollowerState state{.log_end = {end}, .log_start = {0}, .flushed_is_to_come = to_come};
    if (flushed) state.flushed = Offset{*flushed};
    return partition.record_follower_fetch({2}, state, log->log_end_offset(), now_ms);
  };
  EXPECT_EQ(high_watermark(), 1);
  EXPECT_FALSE(told(1, {}, true).change) << "it opens its session";
  EXPECT_FALSE(told(1, 0).change);
  EXPECT_FALSE(partition.expand_isr());
  ASSERT_TRUE(told(1, 1).change);
  // It may be in the ISR already: what is acknowledged now has to be on its disk, too.
  ASSERT_EQ(append(1, -1), ErrorCode::kNone);
  const AckNeed need = last.need;
  ASSERT_TRUE(log->flush());
  told(2, 1);
  EXPECT_EQ(high_watermark(), 2);
  EXPECT_EQ(partition.ack_state(need), std::nullopt);
  told(2, 2);
  EXPECT_EQ(partition.ack_state(need), ErrorCode::kNone);
}

TEST_F(PartitionTest, AFollowerThatNeverTellsWhatItHasFlushedJoinsWhenItCouldHaveToldIt) {
  storage::LogConfig config;
  config.min_insync_replicas = 1;
  config.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
  log->update_config(std::make_shared<const storage::LogConfig>(config));
  lead(0, {1}, {1, 2});
  EXPECT_FALSE(partition.record_follower_fetch({2}, {.log_end = {0}, .log_start = {0}, .flushed_is_to_come = true}, log->log_end_offset(), now_ms).change);
  EXPECT_FALSE(partition.shrink_isr(now_ms));
  EXPECT_FALSE(partition.expand_isr());
  now_ms += 2'000;
  EXPECT_FALSE(partition.shrink_isr(now_ms));
  EXPECT_TRUE(partition.expand_isr());
}

TEST_F(PartitionTest, WhileAChangeIsInFlightTheLargerIsrCounts) {
  lead(0, {1, 2}, {1, 2, 3});
  ASSERT_EQ(append(1), ErrorCode::kNone);
  fetched(2, 1);
  ASSERT_TRUE(fetched(3, 1).change);
  now_ms += 2 * kLagMs;  // 3 does not look caught up any more, but it may be in the ISR already
  ASSERT_EQ(append(1), ErrorCode::kNone);
  fetched(2, 2);
  EXPECT_EQ(high_watermark(), 1);
  // Only one change at a time.
  EXPECT_FALSE(partition.shrink_isr(now_ms));
  partition.on_isr_refused({0}, false);
  fetched(2, 1);
  fetched(2, 2);
  EXPECT_EQ(high_watermark(), 2);
}

TEST_F(PartitionTest, AFollowerJoinsOnlyFromTheHighWatermarkAndTheEpochsStartOnAndAlive) {
  lead(0, {1, 2}, {1, 2, 3});
  ASSERT_EQ(append(5), ErrorCode::kNone);
  fetched(2, 5);
  EXPECT_FALSE(fetched(3, 4).change);
  brokers.dead.insert({3});
  EXPECT_FALSE(fetched(3, 5).change);
  brokers.dead.clear();
  EXPECT_TRUE(fetched(3, 5).change);
  lead(1, {1, 2}, {1, 2, 3});  // epoch 1 starts at 5
  EXPECT_FALSE(fetched(3, 4).change);
  EXPECT_TRUE(fetched(3, 5).change);
}

// All lost their power; one that had lost more than the leader was still in the ISR, and was made the leader (cluster simulation, seed 264).
TEST_F(PartitionTest, WhoLostRecordsBelowTheHighWatermarkLeavesTheIsrAtOnce) {
  lead(0, {1, 2, 3}, {1, 2, 3});
  ASSERT_EQ(append(5), ErrorCode::kNone);
  fetched(2, 5);
  fetched(3, 5);
  EXPECT_FALSE(fetched(3, 4).change) << "a fetch of before that came late";
  fetched(3, 5);
  lead(1, {1, 2, 3}, {1, 2, 3});
  auto change = fetched(2, 3).change;
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1, 3}));
  EXPECT_FALSE(fetched(3, 4).change) << "one change at a time";
  partition.on_isr_changed({1}, change->isr, 1);
  change = partition.shrink_isr(now_ms);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1}));
  partition.on_isr_changed({1}, change->isr, 2);
  EXPECT_FALSE(fetched(2, 4).change);
  EXPECT_TRUE(fetched(2, 5).change) << "it has them again";
}

TEST_F(PartitionTest, WhoStartedAgainWithFewerRecordsLeavesTheIsrAtOnce) {
  lead(0, {1, 2}, {1, 2});
  ASSERT_EQ(append(5), ErrorCode::kNone);
  auto fetched_in = [&](int64_t broker_epoch, int64_t end) {
    return partition.record_follower_fetch({2}, {.log_end = {end}, .log_start = {0}, .broker_epoch = broker_epoch}, log->log_end_offset(), now_ms);
  };
  EXPECT_FALSE(fetched_in(7, 0).change);
  EXPECT_FALSE(fetched_in(7, 5).change);
  EXPECT_FALSE(fetched_in(8, 5).change);
  auto change = fetched_in(9, 2).change;
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1}));
}

TEST_F(PartitionTest, OnlyAFollowerThatLagsBehindLeavesTheIsr) {
  lead(0, {1, 2, 3}, {1, 2, 3});
  ASSERT_EQ(append(5), ErrorCode::kNone);
  fetched(2, 5);
  fetched(3, 5);
  now_ms += 10 * kLagMs;
  // Silent, but with the leader's log end: stays.
  EXPECT_FALSE(partition.shrink_isr(now_ms));
  ASSERT_EQ(append(1), ErrorCode::kNone);
  fetched(3, 6);
  auto change = partition.shrink_isr(now_ms);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1, 3}));
  EXPECT_EQ(change->partition_epoch, 0);
  EXPECT_EQ(high_watermark(), 5);
  EXPECT_TRUE(partition.on_isr_changed({0}, ids({1, 3}), 1));
  EXPECT_EQ(high_watermark(), 6);
  EXPECT_TRUE(partition.is_under_replicated());
}

// Its first requests went to the former leader, which refuses them only when it hears that it leads no more; Kafka takes the later ones first.
TEST_F(PartitionTest, ALeaderThatTookOverTakesNoLaterBatchOfAProducerBeforeItsFirst) {
  auto produce = [&](int32_t sequence) {
    Bytes batch = make_batch(1, 10, {.producer_id = {7}, .producer_epoch = 0, .base_sequence = sequence});
    auto appended = partition.append_as_leader(batch, 1, kNoLeaderEpoch, {});
    return appended ? ErrorCode::kNone : appended.error().error.code;
  };
  follow(2, 0);
  lead(1, {1}, {1, 2});
  EXPECT_EQ(produce(1), ErrorCode::kOutOfOrderSequenceNumber);
  EXPECT_EQ(produce(0), ErrorCode::kNone);
  EXPECT_EQ(produce(1), ErrorCode::kNone);
}

TEST_F(PartitionTest, AnUnknownProducerMayBeginAnywhereWhereNoOtherLedOrLongAfter) {
  auto produce = [&](int64_t producer) {
    Bytes batch = make_batch(1, 10, {.producer_id = {producer}, .producer_epoch = 0, .base_sequence = 5});
    auto appended = partition.append_as_leader(batch, 1, kNoLeaderEpoch, {});
    return appended ? ErrorCode::kNone : appended.error().error.code;
  };
  lead(0, {1}, {1, 2});
  EXPECT_EQ(produce(7), ErrorCode::kNone);
  follow(2, 1);
  lead(2, {1}, {1, 2});
  EXPECT_EQ(produce(8), ErrorCode::kOutOfOrderSequenceNumber);
  lead(3, {1}, {1, 2});  // it still leads
  EXPECT_EQ(produce(8), ErrorCode::kOutOfOrderSequenceNumber);
  now_ms += 120'000;
  partition.shrink_isr(now_ms);
  EXPECT_EQ(produce(8), ErrorCode::kNone);
}

// A pipelined follower with nothing new to say does not fetch again, and below min.insync.replicas nothing new comes.
TEST_F(PartitionTest, AFollowerThatCatchesUpWhileItIsPutOutOfTheIsrComesBackWithoutAnotherFetch) {
  lead(0, {1, 2, 3}, {1, 2, 3});
  ASSERT_EQ(append(5), ErrorCode::kNone);
  fetched(2, 5);
  fetched(3, 3);
  now_ms += 2 * kLagMs;
  ASSERT_TRUE(partition.shrink_isr(now_ms));
  EXPECT_FALSE(fetched(3, 5).change);  // the change is in flight
  EXPECT_FALSE(partition.expand_isr());
  partition.on_isr_changed({0}, ids({1, 2}), 1);
  auto change = partition.expand_isr();
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1, 2, 3}));
}

TEST_F(PartitionTest, AFollowerWhoseEntryWasRefusedIsProposedAgainWithoutAnotherFetchAtTheNextLook) {
  lead(0, {1, 2}, {1, 2, 3});
  ASSERT_TRUE(fetched(3, 0).change);
  partition.on_isr_refused({0}, false);
  EXPECT_FALSE(partition.expand_isr());  // not at once: the controller would refuse it again
  EXPECT_FALSE(partition.shrink_isr(now_ms));
  auto change = partition.expand_isr();
  ASSERT_TRUE(change);
  EXPECT_EQ(change->isr, ids({1, 2, 3}));
}

TEST_F(PartitionTest, AFollowerThatKeepsReachingTheEndOfItsFormerFetchCountsAsCaughtUp) {
  lead(0, {1, 2}, {1, 2});
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(append(10), ErrorCode::kNone);
    fetched(2, 10 * i);  // always one fetch behind
    now_ms += kLagMs / 2;
    EXPECT_FALSE(partition.shrink_isr(now_ms)) << i;
  }
}

TEST_F(PartitionTest, AnAnswerForAnotherEpochOrAnOlderStateChangesNothing) {
  lead(3, {1, 2}, {1, 2, 3});
  EXPECT_FALSE(partition.on_isr_changed({2}, ids({1}), 9));
  EXPECT_FALSE(partition.on_isr_changed({3}, ids({1}), 2));
  EXPECT_EQ(partition.isr(), ids({1, 2}));
}

// Source: Kafka fences fetches of a former registration by the broker epoch that they name.
TEST_F(PartitionTest, AFetchOfAFormerLifeOfAFollowerIsRefused) {
  lead(0, {1, 2}, {1, 2});
  ASSERT_EQ(append(2), ErrorCode::kNone);
  auto says = [&](int64_t broker_epoch, int64_t end) {
    return partition.record_follower_fetch({2}, {.log_end = {end}, .log_start = {0}, .broker_epoch = broker_epoch}, log->log_end_offset(), now_ms).error;
  };
  EXPECT_EQ(says(7, 0), ErrorCode::kNone);
  EXPECT_EQ(says(9, 1), ErrorCode::kNone);
  EXPECT_EQ(says(7, 2), ErrorCode::kNotLeaderOrFollower);
  EXPECT_EQ(high_watermark(), 1);
  EXPECT_EQ(says(-1, 2), ErrorCode::kNone);
}

TEST_F(PartitionTest, TheTimeThatTheLeaderHeldAFetchIsNotTheFollowers) {
  lead(0, {1, 2}, {1, 2});
  fetched(2, 0);
  ASSERT_EQ(append(2), ErrorCode::kNone);
  now_ms += kLagMs;
  // It came long ago and is looked at only now; then its records have to be read from the disk.
  partition.record_follower_fetch({2}, {.log_end = {0}, .log_start = {0}, .held_ms = kLagMs / 2}, log->log_end_offset(), now_ms);
  partition.hold_follower({2}, now_ms);
  now_ms += kLagMs;
  EXPECT_FALSE(partition.shrink_isr(now_ms));
  fetched(2, 0);  // the hold ends
  now_ms += kLagMs / 2;
  EXPECT_FALSE(partition.shrink_isr(now_ms));
  now_ms += 1;
  std::string why;
  ASSERT_TRUE(partition.shrink_isr(now_ms, &why));
  EXPECT_NE(why.find("2 ends at 0 of 2"), std::string::npos) << why;
}

// A log of before there were epochs is believed up to its high watermark.
TEST_F(PartitionTest, AFollowerWithoutEpochsStartsAtItsHighWatermark) {
  auto changed = partition.become_follower(make_state(2, 3, {2}, {1, 2}), log, Offset{0});
  ASSERT_TRUE(changed);
  Bytes batches;
  for (int64_t i : {0, 1}) {
    Bytes batch = make_batch(2, 10, {.leader_epoch = kNoLeaderEpoch});
    record::set_base_offset(batch, {2 * i});
    batches.insert(batches.end(), batch.begin(), batch.end());
  }
  ASSERT_TRUE(partition.append_as_follower(batches, {3}, {2}, {0}));
  ASSERT_EQ(log->latest_epoch(), kNoLeaderEpoch);
  EXPECT_EQ(partition.start_following({3}).value_or(Offset{-1}), Offset{2});
  EXPECT_EQ(log->log_end_offset(), Offset{2});
  // With epochs nothing is cut before the leader says where both part.
  log->assign_epoch_start({3}, {2});
  Bytes batch = make_batch(2, 10, {.leader_epoch = {3}});
  record::set_base_offset(batch, {2});
  ASSERT_TRUE(partition.append_as_follower(batch, {3}, {2}, {0}));
  EXPECT_EQ(partition.start_following({3}).value_or(Offset{-1}), Offset{4});
  EXPECT_EQ(partition.start_following({2}).error().code, ErrorCode::kNotLeaderOrFollower);
}

TEST_F(PartitionTest, ALeaderAndIsrThatIsNotNewerIsRefused) {
  lead(4, {1}, {1});
  EXPECT_EQ(partition.become_leader(make_state(1, 4, {1}, {1}), log, {0}, now_ms).error().code, ErrorCode::kStaleControllerEpoch);
  EXPECT_EQ(partition.become_follower(make_state(2, 3, {2}, {1, 2}), log, {0}).error().code, ErrorCode::kStaleControllerEpoch);
  EXPECT_EQ(partition.become_leader(make_state(1, 5, {2}, {2}), log, {0}, now_ms).error().code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_TRUE(partition.is_leader());
  EXPECT_EQ(partition.leader_epoch(), LeaderEpoch{4});
}

TEST_F(PartitionTest, EpochsFenceReadersAndWriters) {
  EXPECT_EQ(read(0).error, ErrorCode::kNotLeaderOrFollower);
  lead(4, {1}, {1});
  EXPECT_EQ(partition.check_leader({3}), ErrorCode::kFencedLeaderEpoch);
  EXPECT_EQ(partition.check_leader({5}), ErrorCode::kUnknownLeaderEpoch);
  EXPECT_EQ(partition.check_leader({4}), ErrorCode::kNone);
  EXPECT_EQ(partition.check_leader(kNoLeaderEpoch), ErrorCode::kNone);
  follow(2, 5);
  EXPECT_EQ(partition.check_leader({5}), ErrorCode::kNotLeaderOrFollower);
  EXPECT_EQ(append(1), ErrorCode::kNotLeaderOrFollower);
  EXPECT_EQ(read(0).error, ErrorCode::kNotLeaderOrFollower);
  partition.stop(true);
  EXPECT_EQ(append(1), ErrorCode::kKafkaStorageError);
  EXPECT_EQ(read(0).error, ErrorCode::kKafkaStorageError);
}

TEST_F(PartitionTest, AcksGoOnOverANewEpochOfTheSameLeaderButNotOverAnotherLeader) {
  lead(0, {1, 2}, {1, 2});
  ASSERT_EQ(append(2, -1), ErrorCode::kNone);
  const LeaderAppend waiting = last;
  lead(1, {1, 2}, {1, 2});
  EXPECT_EQ(partition.ack_state(waiting.need), std::nullopt);
  fetched(2, 2);
  EXPECT_EQ(partition.ack_state(waiting.need), ErrorCode::kNone);
  ASSERT_EQ(append(1, -1), ErrorCode::kNone);
  const LeaderAppend lost = last;
  follow(2, 2);
  EXPECT_EQ(partition.ack_state(lost.need), ErrorCode::kNotLeaderOrFollower);
  lead(3, {1}, {1, 2});
  EXPECT_EQ(partition.ack_state(lost.need), ErrorCode::kNotLeaderOrFollower);
  // A coordinator that worked in the old leadership is fenced too.
  Bytes batch = make_batch(1);
  auto refused = partition.append_as_leader(batch, 1, {1}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error.code, ErrorCode::kNotLeaderOrFollower);
}

TEST_F(PartitionTest, ConsumersReadBelowTheHighWatermarkAndFollowersToTheLogEnd) {
  lead(0, {1, 2}, {1, 2});
  ASSERT_EQ(append(2), ErrorCode::kNone);
  fetched(2, 2);
  ASSERT_EQ(append(3), ErrorCode::kNone);
  ReadResult consumer = read(0);
  EXPECT_EQ(base_offsets(consumer.records), std::vector<int64_t>{0});
  EXPECT_EQ(consumer.high_watermark, Offset{2});
  EXPECT_EQ(consumer.next_offset, Offset{2});
  EXPECT_EQ(base_offsets(read(0, ReadBound::kLogEnd).records), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(read(2).records.size, 0);
  EXPECT_EQ(read(4).error, ErrorCode::kNone);  // above the high watermark, but there
  EXPECT_EQ(read(6).error, ErrorCode::kOffsetOutOfRange);
  EXPECT_EQ(read(6).high_watermark, Offset{-1});
}

TEST_F(PartitionTest, AReaderWhoseLogDepartedIsToldWhere) {
  lead(0, {1}, {1});
  ASSERT_EQ(append(3), ErrorCode::kNone);
  lead(2, {1}, {1});
  ASSERT_EQ(append(2), ErrorCode::kNone);
  auto ask = [&](int64_t from, int32_t last_epoch) {
    return partition.read({.from = {from}, .max_bytes = 1000, .bound = ReadBound::kLogEnd, .last_fetched_epoch = {last_epoch}});
  };
  EXPECT_FALSE(ask(5, 2).diverging);
  EXPECT_FALSE(ask(2, 0).diverging);
  ReadResult too_long = ask(4, 0);
  ASSERT_TRUE(too_long.diverging);
  EXPECT_EQ(too_long.diverging->epoch, LeaderEpoch{0});
  EXPECT_EQ(too_long.diverging->end, Offset{3});
  EXPECT_EQ(too_long.records.size, 0);
  ReadResult other_epoch = ask(3, 1);
  ASSERT_TRUE(other_epoch.diverging);
  EXPECT_EQ(other_epoch.diverging->epoch, LeaderEpoch{0});
  EXPECT_EQ(ask(3, 7).error, ErrorCode::kOffsetOutOfRange);
  ReadResult beyond_the_end = ask(9, 2);  // its leader lost records: it must learn so, not start anew
  EXPECT_EQ(beyond_the_end.error, ErrorCode::kNone);
  ASSERT_TRUE(beyond_the_end.diverging);
  EXPECT_EQ(beyond_the_end.diverging->epoch, LeaderEpoch{2});
  EXPECT_EQ(beyond_the_end.diverging->end, Offset{5});
  // Beyond the end too: the end is not where both part.
  ReadResult beyond = ask(9, 0);
  ASSERT_TRUE(beyond.diverging);
  EXPECT_EQ(beyond.diverging->end, Offset{3});
  EXPECT_EQ(ask(9, -1).error, ErrorCode::kOffsetOutOfRange);
}

TEST_F(PartitionTest, OffsetsAreListedUpToWhatTheReaderMaySee) {
  lead(0, {1, 2}, {1, 2});
  ASSERT_EQ(append(4), ErrorCode::kNone);
  fetched(2, 4);
  ASSERT_EQ(append(4), ErrorCode::kNone);
  EXPECT_EQ(partition.list_offset(-1, ReadBound::kHighWatermark, kNoLeaderEpoch)->offset, Offset{4});
  EXPECT_EQ(partition.list_offset(-1, ReadBound::kLogEnd, kNoLeaderEpoch)->offset, Offset{8});
  EXPECT_EQ(partition.list_offset(-2, ReadBound::kHighWatermark, kNoLeaderEpoch)->offset, Offset{0});
  auto by_time = partition.list_offset(base::ManualRuntime::kStartMs + 2, ReadBound::kHighWatermark, kNoLeaderEpoch);
  ASSERT_TRUE(by_time);
  EXPECT_EQ(by_time->offset, Offset{2});
  EXPECT_EQ(by_time->timestamp, base::ManualRuntime::kStartMs + 2);
  EXPECT_EQ(by_time->epoch, LeaderEpoch{0});
  EXPECT_EQ(partition.list_offset(base::ManualRuntime::kStartMs + 60'000, ReadBound::kHighWatermark, kNoLeaderEpoch)->offset, Offset{-1});
}

TEST_F(PartitionTest, RightAfterAnElectionTheLatestOffsetIsNotAvailableRatherThanGoingBack) {
  lead(0, {1, 2}, {1, 2});
  ASSERT_EQ(append(4), ErrorCode::kNone);
  lead(1, {1, 2}, {1, 2});
  EXPECT_EQ(partition.list_offset(-1, ReadBound::kHighWatermark, kNoLeaderEpoch).error().code, ErrorCode::kOffsetNotAvailable);
  EXPECT_EQ(partition.list_offset(-2, ReadBound::kHighWatermark, kNoLeaderEpoch)->offset, Offset{0});
  EXPECT_EQ(partition.list_offset(-1, ReadBound::kLogEnd, kNoLeaderEpoch)->offset, Offset{4});
  fetched(2, 4);
  EXPECT_EQ(partition.list_offset(-1, ReadBound::kHighWatermark, kNoLeaderEpoch)->offset, Offset{4});
}

TEST_F(PartitionTest, ATransactionThatIsOpenSinceBeforeTheElectionHidesNoOffset) {
  lead(0, {1}, {1});
  ASSERT_EQ(append(4), ErrorCode::kNone);
  Bytes batch = make_batch(1, 10, {.producer_id = {5}, .producer_epoch = 0, .base_sequence = 0, .transactional = true});
  ASSERT_TRUE(partition.append_as_leader(batch, 1, kNoLeaderEpoch, {}));
  lead(1, {1}, {1});
  auto latest = partition.list_offset(-1, ReadBound::kLastStable, kNoLeaderEpoch);
  ASSERT_TRUE(latest) << latest.error().what;
  EXPECT_EQ(latest->offset, Offset{4});
}

TEST_F(PartitionTest, DeletingRecordsMovesTheStartUpToTheHighWatermark) {
  lead(0, {1, 2}, {1, 2});
  ASSERT_EQ(append(4), ErrorCode::kNone);
  fetched(2, 3);
  EXPECT_EQ(partition.delete_records({4}).error().code, ErrorCode::kOffsetOutOfRange);
  EXPECT_EQ(partition.delete_records({-2}).error().code, ErrorCode::kOffsetOutOfRange);
  EXPECT_EQ(partition.delete_records({-1}).value(), Offset{3});
  EXPECT_EQ(log->log_start_offset(), Offset{3});
  EXPECT_EQ(partition.low_watermark(), Offset{0});  // 2 has not followed
  EXPECT_TRUE(partition.record_follower_fetch({2}, {.log_end = {4}, .log_start = {3}}, {4}, now_ms).low_watermark_moved);
  EXPECT_EQ(partition.low_watermark(), Offset{3});
  EXPECT_EQ(read(0).error, ErrorCode::kOffsetOutOfRange);
}

TEST_F(PartitionTest, RecordsOfACompactedTopicAreNotDeleted) {
  log->update_config(std::make_shared<const storage::LogConfig>(storage::LogConfig{.delete_policy = false, .compact_policy = true}));
  lead(0, {1}, {1});
  EXPECT_EQ(partition.delete_records({-1}).error().code, ErrorCode::kPolicyViolation);
}

TEST_F(PartitionTest, AFollowersHighWatermarkIsTheLeadersUpToItsOwnEnd) {
  follow(2, 3);
  Bytes batch = make_batch(4, 10, {.leader_epoch = {3}});
  ASSERT_TRUE(partition.append_as_follower(batch, {3}, {0}, {0}));
  EXPECT_EQ(high_watermark(), 0);
  ASSERT_TRUE(partition.append_as_follower({}, {3}, {9}, {0}));
  EXPECT_EQ(high_watermark(), 4);
  ASSERT_TRUE(partition.append_as_follower({}, {3}, {9}, {2}));
  EXPECT_EQ(log->log_start_offset(), Offset{2});
  EXPECT_EQ(partition.append_as_follower({}, {2}, {9}, {0}).error().code, ErrorCode::kNotLeaderOrFollower);
}

// The leader's records were deleted up to the middle of a batch, so that its oldest epoch begins there, and a follower of an older epoch is
// told to cut its log there. Its end may be one of its own batches' ends, but is none of the leader's (seeds 6031 and 5376 of the cluster
// simulation: it could never append again).
TEST_F(PartitionTest, AFollowerThatEndsAtTheLeadersLogStartInsideABatchStartsAgain) {
  follow(2, 3);
  Bytes own = make_batch(4, 10, {.leader_epoch = {0}});
  ASSERT_TRUE(partition.append_as_follower(own, {3}, {1}, {0}));
  Bytes batch = make_batch(5, 10, {.base_offset = {2}, .leader_epoch = {3}});
  // The leader still has records that are here: neither log is to be trusted.
  EXPECT_EQ(partition.append_as_follower(batch, {3}, {7}, {3}).error().code, ErrorCode::kOffsetOutOfRange);
  EXPECT_EQ(log->log_end_offset(), Offset{4});
  EXPECT_EQ(log->log_start_offset(), Offset{0});
  EXPECT_EQ(high_watermark(), 1);
  // It has none of them.
  auto appended = partition.append_as_follower(batch, {3}, {7}, {4});
  ASSERT_TRUE(appended) << appended.error().what;
  EXPECT_EQ(log->log_end_offset(), Offset{7});
  EXPECT_EQ(log->log_start_offset(), Offset{4});
  EXPECT_EQ(high_watermark(), 7);
  EXPECT_EQ(log->epochs(), (std::vector<storage::EpochEntry>{{{3}, {4}}}));
}

TEST_F(PartitionTest, TheCheckpointedHighWatermarkIsCappedToTheLog) {
  Partition restarted{{"t", 0}, kSelf, brokers, kLagMs};
  lead(0, {1}, {1});
  ASSERT_EQ(append(4), ErrorCode::kNone);
  ASSERT_TRUE(restarted.become_follower(make_state(2, 1, {2}, {1, 2}), log, Offset{99}));
  EXPECT_EQ(restarted.high_watermark(), Offset{4});
}

// Appends run while the partition becomes follower and leader again: none of them lands in a log that is not led.
TEST_F(PartitionTest, NoAppendPassesTheGateWhileTheRoleChanges) {
  lead(0, {1}, {1});
  std::atomic<bool> stop{false};
  std::atomic<int64_t> appended{0};
  std::vector<std::thread> writers;
  for (int t = 0; t < 2; ++t) {
    writers.emplace_back([&] {
      Bytes batch = make_batch(1);
      while (!stop) {
        Bytes copy = batch;
        if (partition.append_as_leader(copy, 1, kNoLeaderEpoch, {})) ++appended;
      }
    });
  }
  std::thread reader([&] {
    while (!stop) {
      ReadResult result = partition.read({.from = {0}, .max_bytes = 1 << 16, .at_least_one_batch = true});
      if (result.error != ErrorCode::kNone) continue;
      EXPECT_LE(result.next_offset, log->log_end_offset());
    }
  });
  for (int32_t epoch = 1; epoch < 200; ++epoch) {
    if (epoch % 2 == 1) {
      follow(2, epoch);
      const Offset end = log->log_end_offset();
      std::this_thread::yield();
      ASSERT_EQ(log->log_end_offset(), end) << "epoch " << epoch;
    } else {
      lead(epoch, {1}, {1});
      while (log->log_end_offset().value == 0) std::this_thread::yield();
    }
  }
  stop = true;
  for (auto& writer : writers) writer.join();
  reader.join();
  EXPECT_EQ(log->log_end_offset().value, appended.load());
}

}  // namespace
}  // namespace odradek::replication
