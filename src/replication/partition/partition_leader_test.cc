#include "replication/partition/partition_fixture.h"

namespace odradek::replication {
namespace {

using namespace testing;

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

// A leader that stops answers what is waited for once more: what the followers had not flushed was lost with the power of all (cluster
// simulation, seed 1865).
TEST_F(PartitionTest, WithFlushBeforeAckALeaderThatStopsAnswersForTheDisksOfTheOthersToo) {
  storage::LogConfig config;
  config.min_insync_replicas = 2;
  config.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
  log->update_config(std::make_shared<const storage::LogConfig>(config));
  lead(0, {1, 2}, {1, 2});
  auto told = [&](int64_t end, int64_t flushed) {
    return partition.record_follower_fetch({2}, {.log_end = {end}, .log_start = {0}, .flushed = Offset{flushed}}, log->log_end_offset(), now_ms);
  };
  told(0, 0);
  ASSERT_EQ(append(1, -1), ErrorCode::kNone);
  const AckNeed first = last.need;
  ASSERT_EQ(append(1, -1), ErrorCode::kNone);
  const AckNeed second = last.need;
  ASSERT_TRUE(log->flush());
  told(2, 1);
  EXPECT_EQ(high_watermark(), 2);
  partition.close();
  EXPECT_EQ(partition.ack_state(first), ErrorCode::kNone);
  EXPECT_EQ(partition.ack_state(second), ErrorCode::kNotLeaderOrFollower);
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
  EXPECT_EQ(produce(1), ErrorCode::kNotLeaderOrFollower) << "an error after which no client gives up";
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
  EXPECT_EQ(produce(8), ErrorCode::kNotLeaderOrFollower);
  lead(3, {1}, {1, 2});  // it still leads
  EXPECT_EQ(produce(8), ErrorCode::kNotLeaderOrFollower);
  now_ms += 75'000;
  partition.shrink_isr(now_ms);
  EXPECT_EQ(produce(8), ErrorCode::kNone);
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

}  // namespace
}  // namespace odradek::replication
