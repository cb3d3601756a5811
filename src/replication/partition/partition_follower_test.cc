#include "replication/partition/partition_fixture.h"

namespace odradek::replication {
namespace {

using namespace testing;

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

}  // namespace
}  // namespace odradek::replication
