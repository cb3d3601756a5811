// Where a log begins and ends: retention, log start, truncation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kNow = base::ManualRuntime::kStartMs;

TEST(Log, DropsSegmentsByTimeButNeverAboveTheHighWatermark) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 300;
  config.retention_ms = 10'000;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(append(*log, {.timestamp = kNow + i * 1000, .value_size = 200}));
  ASSERT_EQ(log->segment_count(), 5u);
  disk.runtime.advance(12'500);  // the first three are older than 10 s
  EXPECT_EQ(*log->delete_old_segments(), 0);
  log->update_high_watermark({2});
  EXPECT_EQ(*log->delete_old_segments(), 2);
  EXPECT_EQ(log->log_start_offset().value, 2);
  log->update_high_watermark({5});
  EXPECT_EQ(*log->delete_old_segments(), 1);
  EXPECT_EQ(log->log_start_offset().value, 3);
  EXPECT_EQ(log->read({2}, 1, {5}, true).error().code, ErrorCode::kOffsetOutOfRange);
  disk.runtime.advance(10'000);  // the active one too: a new one is rolled first
  EXPECT_EQ(*log->delete_old_segments(), 2);
  EXPECT_EQ(log->log_start_offset().value, 5);
  EXPECT_EQ(log->segment_count(), 1u);
  ASSERT_TRUE(append(*log));
  EXPECT_EQ(log->log_end_offset().value, 6);
}

TEST(Log, DropsSegmentsBySizeAndRemovesTheirFilesLater) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 300;
  config.retention_bytes = 600;
  config.file_delete_delay_ms = 1000;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(append(*log, {.value_size = 200}));
  log->update_high_watermark({5});
  auto slice = log->read({0}, 1 << 20, {5}, true)->slice;
  disk.manager->run_retention();
  EXPECT_EQ(log->segment_count(), 3u);
  EXPECT_EQ(log->log_start_offset().value, 2);
  EXPECT_TRUE(disk.files.exists("/data/t-0/00000000000000000000.log.deleted"));
  EXPECT_TRUE(disk.files.exists("/data/t-0/00000000000000000001.timeindex.deleted"));
  EXPECT_FALSE(disk.files.exists("/data/t-0/00000000000000000001.snapshot"));
  disk.runtime.advance(1001);
  EXPECT_FALSE(disk.files.exists("/data/t-0/00000000000000000000.log.deleted"));
  Bytes still_open = bytes_of(slice);  // a response that is being sent
  EXPECT_EQ(batches_of(still_open).size(), 1u);
}

TEST(Log, MovesItsStartForReadersAtOnceAndDropsTheSegmentsLater) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 300;
  config.delete_policy = false;
  config.compact_policy = true;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(append(*log, {.records = 2, .value_size = 100}));
  EXPECT_EQ(log->maybe_advance_start_offset({3}).error().code, ErrorCode::kOffsetOutOfRange);
  log->update_high_watermark({8});
  ASSERT_TRUE(log->maybe_advance_start_offset({5}));
  EXPECT_EQ(log->read({4}, 1, {8}, true).error().code, ErrorCode::kOffsetOutOfRange);
  EXPECT_EQ(*log->delete_old_segments(), 2);
  EXPECT_EQ(log->log_start_offset().value, 5);
  disk.stop_and_start();
  EXPECT_EQ(disk.log()->log_start_offset().value, 5);
  EXPECT_EQ(disk.text("/data/log-start-offset-checkpoint"), "0\n1\nt 0 5\n");
}

TEST(Log, CutsOffWholeBatchesFromAnOffsetOn) {
  for (int64_t target : {0, 1, 9, 10, 11, 12, 20, 29, 30, 31}) {
    Disk disk;
    LogConfig config;
    config.segment_bytes = 1200;
    disk.configure(config);
    auto log = disk.log();
    for (int i = 0; i < 30; ++i) ASSERT_TRUE(append(*log, {.value_size = 200}, {i / 7}));
    log->update_high_watermark({25});
    ASSERT_TRUE(log->truncate_to({target}));
    int64_t end = std::min<int64_t>(target, 30);
    EXPECT_EQ(log->log_end_offset().value, end);
    EXPECT_EQ(log->high_watermark().value, std::min<int64_t>(25, end));
    EXPECT_EQ(static_cast<int64_t>(base_offsets(*log).size()), end);
    ASSERT_TRUE(append(*log, {}, {9}));
    EXPECT_EQ(log->log_end_offset().value, end + 1);
    auto epochs = log->epochs();
    disk.stop_and_start();
    EXPECT_EQ(static_cast<int64_t>(base_offsets(*disk.log()).size()), end + 1);
  }
}

// It would take the old end as what it makes durable: nobody flushes what comes in its place, and a start believes it unseen.
TEST(Log, AFlushDuringATruncationRaisesNothing) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->flush());
  ASSERT_TRUE(append(*log));
  std::thread flush;
  disk.files.set_fault([&](base::FileCall, const std::string& path) {
    if (path.find("recovery-point") == std::string::npos || flush.joinable()) return 0;
    flush = std::thread([&] { (void)log->flush(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it has looked where the log ends, if nothing keeps it from that
    return 0;
  });
  ASSERT_TRUE(log->truncate_to({2}));
  flush.join();
  disk.files.set_fault(nullptr);
  EXPECT_EQ(log->log_end_offset(), Offset{2});
  EXPECT_LE(log->flushed_offset(), Offset{2});
  EXPECT_LE(log->recovery_point(), Offset{2});
}

TEST(Log, EndsWhereTheBatchBeganThatATruncationWouldSplit) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(append(*log, {.records = 10}));
  ASSERT_TRUE(log->truncate_to({15}));
  EXPECT_EQ(log->log_end_offset().value, 10);
  EXPECT_THAT(base_offsets(*log), ElementsAre(0));
}

TEST(Log, LetsNobodySendWhatWasTruncated) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(append(*log));
  auto before = log->read({0}, 1 << 20, {4}, true)->slice;
  ASSERT_TRUE(before.file->begin_send(before.generation));
  before.file->end_send();
  ASSERT_TRUE(log->truncate_to({2}));
  EXPECT_FALSE(before.file->begin_send(before.generation));
  auto after = log->read({0}, 1 << 20, {2}, true)->slice;
  EXPECT_EQ(after.file, before.file);
  EXPECT_TRUE(after.file->begin_send(after.generation));
  after.file->end_send();
  EXPECT_EQ(after.size, before.size / 2);
}

TEST(Log, StartsEmptyAtAnOffset) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->truncate_fully_and_start_at({100}));
  EXPECT_EQ(log->log_start_offset().value, 100);
  EXPECT_EQ(log->log_end_offset().value, 100);
  EXPECT_THAT(log->epochs(), IsEmpty());
  ASSERT_TRUE(append(*log));
  disk.stop_and_start();
  EXPECT_THAT(base_offsets(*disk.log(), {100}), ElementsAre(100));
  EXPECT_EQ(disk.log()->log_start_offset().value, 100);
}

TEST(Log, LowersTheCheckpointBeforeItTruncatesBelowIt) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->flush());
  disk.manager->write_checkpoints();
  EXPECT_EQ(disk.text("/data/recovery-point-offset-checkpoint"), "0\n1\nt 0 10\n");
  ASSERT_TRUE(log->truncate_to({4}));
  EXPECT_EQ(disk.text("/data/recovery-point-offset-checkpoint"), "0\n1\nt 0 4\n");
}

TEST(Log, IsNotClosedAsWholeWhenATruncationFailedHalfWay) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(append(*log));
    ASSERT_TRUE(log->roll());
  }
  disk.files.set_fault([](base::FileCall call, const std::string& path) {
    return call == base::FileCall::kSyncDirectory && path == "/data/t-0" ? EMFILE : 0;
  });
  EXPECT_FALSE(log->truncate_to({1}));
  disk.files.set_fault(nullptr);
  EXPECT_FALSE(disk.manager->has_offline_dir());
  disk.manager->stop();
  EXPECT_FALSE(disk.files.exists("/data/.kafka_cleanshutdown"));
}

}  // namespace
}  // namespace odradek::storage
