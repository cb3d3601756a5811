// Followers whose logs are not those of their leaders.
#include <gtest/gtest.h>

#include "replication/partition/test_support.h"

namespace odradek::replication {
namespace {

using namespace testing;

using Epochs = std::vector<storage::EpochEntry>;

class Diverging : public ::testing::Test {
 protected:
  void follow(int32_t epoch) {
    auto changed = partition.become_follower(make_state(2, epoch, {2}, {1, 2}), log, Offset{0});
    ASSERT_TRUE(changed) << changed.error().what;
  }
  // What the leader of `epoch` answers; the records' epoch is `of`.
  void append(int64_t base, int records, int32_t of, int32_t epoch, int64_t high_watermark, int64_t leader_log_start) {
    Bytes batch = records > 0 ? make_batch(records, 10, {.base_offset = {base}, .leader_epoch = {of}}) : Bytes{};
    auto appended = partition.append_as_follower(batch, {epoch}, {high_watermark}, {leader_log_start});
    ASSERT_TRUE(appended) << appended.error().what;
  }
  FollowerCut cut(int32_t leader_epoch, int64_t leader_end, int64_t leader_log_start, int32_t epoch) {
    auto cut = partition.cut_to_leader({{leader_epoch}, {leader_end}}, {leader_log_start}, {epoch});
    EXPECT_TRUE(cut) << cut.error().what;
    return cut ? *cut : FollowerCut{};
  }
  Disk disk;
  Brokers brokers;
  Partition partition{{"t", 0}, BrokerId{1}, brokers, 10'000};
  std::shared_ptr<storage::Log> log = disk.log({"t", 0});
};

TEST_F(Diverging, WhatBothLogsHaveIsKept) {
  follow(3);
  append(0, 4, 0, 3, 2, 0);
  append(4, 4, 1, 3, 2, 0);
  FollowerCut done = cut(0, 2, 0, 3);
  // Whole batches go.
  EXPECT_EQ(done.from, Offset{8});
  EXPECT_EQ(done.to, Offset{0});
  append(0, 2, 0, 3, 2, 0);
  append(2, 2, 1, 3, 2, 0);
  done = cut(1, 2, 1, 3);
  EXPECT_EQ(done.to, Offset{2});
  EXPECT_TRUE(done.changed);
  EXPECT_FALSE(done.restarted);
  EXPECT_EQ(log->epochs(), (Epochs{{{0}, {0}}}));
  EXPECT_EQ(partition.high_watermark(), Offset{2});
}

TEST_F(Diverging, AnEpochWithoutRecordsGoesAndNothingElse) {
  follow(3);
  append(0, 4, 0, 3, 2, 0);
  log->assign_epoch_start({2}, {4});
  FollowerCut done = cut(0, 4, 4, 3);
  EXPECT_TRUE(done.changed);
  EXPECT_FALSE(done.restarted);
  EXPECT_EQ(done.to, Offset{4});
  EXPECT_EQ(log->epochs(), (Epochs{{{0}, {0}}}));
  EXPECT_FALSE(cut(0, 4, 0, 3).changed);
}

// The leader deleted its records up to 4, where a batch of it and one of this log end. What it had below may have been other records, which
// would stand below the log start here, and come back when a power cut takes the log start's checkpoint back.
TEST_F(Diverging, WhatPartsAtTheLeadersLogStartStartsAgainThere) {
  follow(3);
  append(0, 4, 0, 3, 1, 0);
  append(4, 2, 0, 3, 1, 0);
  const FollowerCut done = cut(0, 4, 4, 3);
  EXPECT_TRUE(done.restarted);
  EXPECT_EQ(done.from, Offset{6});
  EXPECT_EQ(done.to, Offset{4});
  EXPECT_EQ(log->first_segment_base(), Offset{4});
  EXPECT_EQ(log->log_end_offset(), Offset{4});
  EXPECT_EQ(log->epochs(), Epochs{});
  EXPECT_EQ(partition.high_watermark(), Offset{4});
  append(4, 3, 3, 3, 7, 4);
  EXPECT_EQ(log->log_start_offset(), Offset{4});
  EXPECT_EQ(partition.high_watermark(), Offset{7});
}

// Nothing that both have is left: the leader's log is copied from its start, so that what it still has is not missing here.
TEST_F(Diverging, WhatPartsBelowTheOwnLogStartStartsAgainAtTheLeaders) {
  follow(3);
  append(0, 4, 0, 3, 4, 0);
  append(4, 4, 1, 3, 6, 6);
  ASSERT_EQ(log->log_start_offset(), Offset{6});
  const FollowerCut done = cut(0, 5, 2, 3);
  EXPECT_TRUE(done.restarted);
  EXPECT_EQ(done.to, Offset{2});
  EXPECT_EQ(log->first_segment_base(), Offset{2});
  EXPECT_EQ(log->log_start_offset(), Offset{2});
  EXPECT_EQ(partition.high_watermark(), Offset{2});
}

// The leader forgot with its records which epochs they were of, so it finds no difference.
TEST_F(Diverging, WhatTheLeaderHasDeletedAndWasNotCommittedHereIsDropped) {
  follow(3);
  append(0, 2, 0, 3, 2, 0);
  append(2, 2, 0, 3, 2, 0);
  append(4, 3, 3, 3, 7, 4);
  EXPECT_EQ(log->first_segment_base(), Offset{4});
  EXPECT_EQ(log->log_start_offset(), Offset{4});
  EXPECT_EQ(log->log_end_offset(), Offset{7});
  EXPECT_EQ(log->epochs(), (Epochs{{{3}, {4}}}));
}

TEST_F(Diverging, ALeaderWithoutAnyRecordsIsFollowedFromItsLogStartToo) {
  follow(3);
  append(0, 4, 0, 3, 2, 0);
  append(4, 0, 3, 3, 4, 4);
  EXPECT_EQ(log->first_segment_base(), Offset{4});
  EXPECT_EQ(partition.high_watermark(), Offset{4});
}

TEST_F(Diverging, DeletedRecordsThatWereCommittedOrCameFromThisLeaderGoWithRetention) {
  follow(3);
  append(0, 4, 0, 3, 4, 0);
  append(4, 0, 0, 3, 4, 4);
  EXPECT_EQ(log->first_segment_base(), Offset{0});
  EXPECT_EQ(log->log_start_offset(), Offset{4});
  append(4, 2, 3, 3, 4, 4);
  append(6, 0, 3, 3, 6, 6);
  EXPECT_EQ(log->first_segment_base(), Offset{0});
  EXPECT_EQ(log->log_start_offset(), Offset{6});
}

}  // namespace
}  // namespace odradek::replication
