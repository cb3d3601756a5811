#include "replication/partition/partition_fixture.h"

namespace odradek::replication {
namespace {

using namespace testing;

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

}  // namespace
}  // namespace odradek::replication
