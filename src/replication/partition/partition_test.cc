#include "replication/partition/partition.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "replication/partition/partition_fixture.h"

namespace odradek::replication {
namespace {

using namespace testing;

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
