// What the tests of Partition share: broker 1, this one, with one replica of a partition. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "replication/partition/partition.h"
#include "replication/partition/test_support.h"

namespace odradek::replication::testing {

inline constexpr BrokerId kSelf{1};
inline constexpr int64_t kLagMs = 10'000;

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

}  // namespace odradek::replication::testing
