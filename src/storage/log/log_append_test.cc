// Appends of leaders and followers, rolls, and the files that they make.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using ::testing::ElementsAre;

constexpr int64_t kNow = base::ManualRuntime::kStartMs;

TEST(Log, GivesBackWhatWasAppendedUnderRisingOffsets) {
  Disk disk;
  auto log = disk.log();
  log->assign_epoch_start({3}, {0});
  auto first = append(*log, {.records = 3}, {3});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->first_offset.value, 0);
  EXPECT_EQ(first->last_offset.value, 2);
  auto second = append(*log, {.records = 2}, {3});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->first_offset.value, 3);
  EXPECT_EQ(log->log_end_offset().value, 5);

  auto read = log->read({1}, 1 << 20, log->log_end_offset(), true);
  ASSERT_TRUE(read);
  Bytes bytes = bytes_of(read->slice);
  auto batches = batches_of(bytes);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].base_offset().value, 0);
  EXPECT_EQ(batches[1].base_offset().value, 3);
  EXPECT_EQ(batches[1].leader_epoch().value, 3);
  EXPECT_EQ(read->next_offset.value, 5);
}

TEST(Log, RefusesAnAppendLargerThanASegment) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 1000;
  disk.configure(config);
  auto log = disk.log();
  auto appended = append(*log, {.value_size = 2000});
  ASSERT_FALSE(appended);
  EXPECT_EQ(appended.error().error.code, ErrorCode::kRecordListTooLarge);
  EXPECT_EQ(log->log_end_offset().value, 0);
}

TEST(Log, TakesFromALeaderWhatItSentByteForByte) {
  Disk disk;
  auto leader = disk.log("leader");
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(append(*leader, {.records = 2}, {i / 2}));
  auto sent = leader->read({0}, 1 << 20, {12}, true);
  Bytes bytes = bytes_of(sent->slice);
  Bytes cut = bytes;
  cut.resize(cut.size() - 5);

  auto follower = disk.log("follower");
  auto taken = follower->append_as_follower(cut);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->last_offset.value, 9);
  EXPECT_EQ(follower->log_end_offset().value, 10);
  EXPECT_THAT(follower->epochs(), ElementsAre(EpochEntry{{0}, {0}}, EpochEntry{{1}, {4}}, EpochEntry{{2}, {8}}));

  auto again = follower->append_as_follower(cut);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().error.code, ErrorCode::kOffsetOutOfRange);
  ByteView last = ByteView(bytes).last(bytes.size() / 6);
  ASSERT_TRUE(follower->append_as_follower(last));
  Bytes copied = bytes_of(follower->read({0}, 1 << 20, {12}, true)->slice);
  EXPECT_EQ(copied, bytes);

  Bytes flipped = bytes;
  flipped.back() ^= 1;
  auto third = disk.log("third");
  EXPECT_EQ(third->append_as_follower(flipped).error().error.code, ErrorCode::kCorruptMessage);
  EXPECT_EQ(third->log_end_offset().value, 0);
}

TEST(Log, SpreadsWhatALeaderSentOverSegments) {
  Disk disk;
  auto leader = disk.log("leader");
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(append(*leader, {.records = 5, .value_size = 100}));
  Bytes bytes = bytes_of(leader->read({0}, 1 << 20, {100}, true)->slice);
  LogConfig config;
  config.segment_bytes = 2000;
  disk.configure(config);
  auto follower = disk.log("follower");
  ASSERT_TRUE(follower->append_as_follower(bytes));
  EXPECT_GT(follower->segment_count(), 5u);
  EXPECT_EQ(base_offsets(*follower), base_offsets(*leader));
}

TEST(Log, WritesIndexEntriesAsKafkaDoes) {
  Disk disk;
  auto log = disk.log();
  const auto size = static_cast<int32_t>(make_batch({.records = 1, .value_size = 1000}).size());
  // An entry when more than 4096 bytes were appended since the last one: before the fifth and the ninth batch.
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log, {.timestamp = kNow + i, .value_size = 1000}));
  EXPECT_EQ(disk.content("/data/t-0/00000000000000000000.index").size(), 10u << 20);
  EXPECT_EQ(disk.content("/data/t-0/00000000000000000000.timeindex").size(), (10u << 20) / 12 * 12);
  disk.manager->stop();
  Bytes expected;
  base::append_be<int32_t>(expected, 4);
  base::append_be<int32_t>(expected, 4 * size);
  base::append_be<int32_t>(expected, 8);
  base::append_be<int32_t>(expected, 8 * size);
  EXPECT_EQ(disk.content("/data/t-0/00000000000000000000.index"), expected);
  Bytes times;
  for (int offset : {4, 8, 9}) {
    base::append_be<int64_t>(times, kNow + offset);
    base::append_be<int32_t>(times, offset);
  }
  EXPECT_EQ(disk.content("/data/t-0/00000000000000000000.timeindex"), times);
}

TEST(Log, RollsBySizeTimeAndFullIndex) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 1000;
  disk.configure(config);
  auto by_size = disk.log("size");
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(append(*by_size, {.value_size = 200}));
  EXPECT_EQ(by_size->segment_count(), 3u);

  config = {};
  config.segment_ms = 1000;
  disk.configure(config);
  auto by_time = disk.log("time");
  ASSERT_TRUE(append(*by_time, {.timestamp = kNow}));
  ASSERT_TRUE(append(*by_time, {.timestamp = kNow + 1000}));
  EXPECT_EQ(by_time->segment_count(), 1u);
  ASSERT_TRUE(append(*by_time, {.timestamp = kNow + 1001}));
  EXPECT_EQ(by_time->segment_count(), 2u);

  config = {};
  config.segment_index_bytes = 24;  // three offsets, one time (a place is kept free)
  config.index_interval_bytes = 0;
  disk.configure(config);
  auto by_index = disk.log("index");
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*by_index, {.timestamp = kNow + i}));
  EXPECT_GT(by_index->segment_count(), 2u);
  EXPECT_EQ(base_offsets(*by_index).size(), 10u);
  disk.stop_and_start();
  EXPECT_EQ(base_offsets(*disk.log("index")).size(), 10u);
}

TEST(Log, NamesFilesOfANewSegmentAfterItsBaseOffset) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 300;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(append(*log, {.records = 7}));
  EXPECT_THAT(disk.names("/data/t-0"),
              ElementsAre("00000000000000000000.index", "00000000000000000000.log", "00000000000000000000.timeindex",
                          "00000000000000000007.index", "00000000000000000007.log", "00000000000000000007.snapshot", "00000000000000000007.timeindex",
                          "00000000000000000014.index", "00000000000000000014.log", "00000000000000000014.snapshot", "00000000000000000014.timeindex"));
}

TEST(Log, PreallocatesSegmentsAndCutsThemWhenTheyClose) {
  Disk disk;
  LogConfig config;
  config.preallocate = true;
  config.segment_bytes = 10'000;
  disk.configure(config);
  auto log = disk.log();
  ASSERT_TRUE(append(*log, {.records = 3}));
  EXPECT_EQ(disk.content("/data/t-0/00000000000000000000.log").size(), 10'000u);
  disk.kill_and_start();
  log = disk.log();
  EXPECT_EQ(log->log_end_offset().value, 3);
  ASSERT_TRUE(append(*log, {.records = 3}));
  disk.stop_and_start();
  EXPECT_EQ(disk.content("/data/t-0/00000000000000000000.log").size(), static_cast<size_t>(disk.log()->size_bytes()));
  EXPECT_THAT(base_offsets(*disk.log()), ElementsAre(0, 3));
}

// A batch is judged before it has its place: who took its time first may come second.
TEST(Log, GivesAppendTimesThatRiseWithTheOffsets) {
  Disk disk;
  LogConfig config;
  config.timestamp_type = record::TimestampType::kLogAppendTime;
  disk.configure(config);
  auto log = disk.log();
  std::atomic<int> left{3};
  std::vector<std::thread> producers;
  for (int t = 0; t < 3; ++t) {
    producers.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        auto appended = append(*log, {.value_size = i % 2 == 0 ? 20'000u : 20u});
        EXPECT_TRUE(appended);
        auto read = log->read(appended->first_offset, 1, log->log_end_offset(), true);
        EXPECT_TRUE(read);
        Bytes bytes = bytes_of(read->slice);
        EXPECT_EQ(batches_of(bytes).at(0).max_timestamp(), appended->log_append_time_ms);
      }
      --left;
    });
  }
  while (left > 0) disk.runtime.advance(1);
  for (std::thread& producer : producers) producer.join();
  auto read = log->read({0}, 100 << 20, log->log_end_offset(), true);
  ASSERT_TRUE(read);
  Bytes bytes = bytes_of(read->slice);
  int64_t last = 0;
  for (const auto& batch : batches_of(bytes)) {
    EXPECT_GE(batch.max_timestamp(), last) << batch.base_offset().value;
    last = batch.max_timestamp();
  }
}

TEST(Log, LeavesNothingBehindAWriteThatFailsAndGoesOffline) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log, {.records = 4}));
  const int64_t size = log->size_bytes();
  std::vector<TopicPartition> lost;
  bool any_left = true;
  disk.manager->on_dir_offline([&](const std::string& path, const std::vector<TopicPartition>& partitions, bool left) {
    EXPECT_EQ(path, "/data");
    lost = partitions;
    any_left = left;
  });
  disk.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kWrite ? EIO : 0; });
  auto failed = append(*log);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().error.code, ErrorCode::kKafkaStorageError);
  disk.files.set_fault(nullptr);
  EXPECT_EQ(disk.content("/data/t-0/00000000000000000000.log").size(), static_cast<size_t>(size));
  EXPECT_FALSE(append(*log));
  EXPECT_EQ(log->read({0}, 1, {4}, true).error().code, ErrorCode::kKafkaStorageError);
  disk.runtime.run_until_idle();
  EXPECT_THAT(lost, ElementsAre(TopicPartition{"t", 0}));
  EXPECT_FALSE(any_left);
  EXPECT_EQ(disk.manager->find({"t", 0}), nullptr);
  EXPECT_FALSE(disk.manager->get_or_create({"t", 0}, {}, disk.config, true));
}

}  // namespace
}  // namespace odradek::storage
