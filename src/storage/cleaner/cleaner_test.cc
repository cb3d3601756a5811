// Which log is cleaned when, at what rate, and what failures do.
#include "storage/cleaner/cleaner.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "storage/cleaner/cleaner_fixture.h"
#include "storage/dir/log_dir.h"

namespace odradek::storage::testing {
namespace {

using ::testing::ElementsAre;

TEST_F(CleanerTest, TakesTheDirtiestLogFirstAndNoneBelowItsRatio) {
  config.min_cleanable_dirty_ratio = 0.6;
  configure();
  for (int partition : {0, 1}) {
    append("a", "1", partition);
    roll(partition);
  }
  clean();
  EXPECT_EQ(log(0)->cleaned_offset().value, 1);
  // Half dirty; two thirds dirty.
  append("a", "2", 0);
  roll(0);
  append("a", "2", 1);
  append("a", "3", 1);
  roll(1);
  clean();
  EXPECT_EQ(log(0)->cleaned_offset().value, 1);
  EXPECT_EQ(log(1)->cleaned_offset().value, 3);
  EXPECT_EQ(metric("kafka_log_logcleanermanager_max_dirty_percent"), 50);
}

TEST_F(CleanerTest, CompactsALogThatIsOverdueThoughItIsHardlyDirty) {
  config.min_cleanable_dirty_ratio = 1;
  config.max_compaction_lag_ms = 10'000;
  configure();
  append("a", "1");
  roll();
  append("a", "2");
  roll();
  clean(5000);
  EXPECT_EQ(log()->cleaned_offset().value, -1);
  clean(6000);
  EXPECT_EQ(log()->cleaned_offset().value, 2);
}

TEST_F(CleanerTest, LeavesLogsThatAreNotCompactedAlone) {
  config.compact_policy = false;
  configure();
  append("a", "1");
  roll();
  append("a", "2");
  roll();
  clean(10'000);
  EXPECT_EQ(records(*log()).size(), 2u);
  EXPECT_EQ(disk.text("/data/cleaner-offset-checkpoint"), "");
}

TEST_F(CleanerTest, CompactsAndDeletesWhereBothIsAsked) {
  config.delete_policy = true;
  config.retention_ms = 60'000;
  configure();
  const int64_t start = base::ManualRuntime::kStartMs;
  append({{"a", "1", start}});
  append({{"a", "2", start}});
  roll();
  append({{"b", "1", start + 100'000}});
  roll();
  clean();
  EXPECT_THAT(records(*log()), ElementsAre("1 a=2", "2 b=1"));
  EXPECT_EQ(log()->segment_count(), 2u) << "one closed segment after compaction, and the active one";
  append({{"b", "2", start + 100'000}});
  disk.runtime.advance(61'000);
  disk.manager->run_retention();
  EXPECT_EQ(log()->log_start_offset().value, 0) << "b=1 stands in the same segment and is not old";
  disk.runtime.advance(100'000);
  disk.manager->run_retention();
  EXPECT_EQ(log()->log_start_offset().value, 4);
}

TEST_F(CleanerTest, KeepsToItsRate) {
  options.io_buffer_bytes = 2048;
  options.max_bytes_per_second = 10'000;
  for (int i = 0; i < 100; ++i) append("k" + std::to_string(i), std::string(900, 'v'));
  append("k0", "last");
  roll();
  const int64_t size = log()->size_bytes();
  start();
  int64_t waited = 0;
  while (log()->cleaned_offset().value < 0 && waited < 120'000) {
    disk.runtime.advance(100);
    waited += 100;
  }
  // Read for the map, read again, written.
  const int64_t expected = size * 3 / 10;
  EXPECT_GT(waited, expected * 8 / 10);
  EXPECT_LT(waited, expected * 12 / 10);
}

TEST_F(CleanerTest, FollowsChangedSettingsInTheMiddleOfACleaning) {
  options.io_buffer_bytes = 2048;
  options.max_bytes_per_second = 1;
  for (int i = 0; i < 100; ++i) append("k", std::string(900, 'v'));
  roll();
  start();
  disk.runtime.advance(5000);
  EXPECT_EQ(log()->cleaned_offset().value, -1);
  options.threads = 0;
  cleaner->reconfigure(options);
  options.max_bytes_per_second = 1e9;
  disk.runtime.advance(5000);
  cleaner->reconfigure(options);
  disk.runtime.advance(100'000'000);
  EXPECT_EQ(log()->cleaned_offset().value, -1) << "no worker";
  options.threads = 3;
  cleaner->reconfigure(options);
  disk.runtime.advance(5000);
  EXPECT_EQ(log()->cleaned_offset().value, 100);
}

TEST_F(CleanerTest, StopsInTheMiddleAndLeavesNothingBehind) {
  options.io_buffer_bytes = 64;
  options.max_bytes_per_second = 30'000;
  for (int i = 0; i < 100; ++i) append("k" + std::to_string(i % 60), std::string(900, 'v'));
  roll();
  start();
  auto unfinished = [&] {
    for (const auto& name : disk.names("/data/t-0")) {
      if (name.ends_with(".cleaned")) return true;
    }
    return false;
  };
  for (int i = 0; i < 1000 && !unfinished(); ++i) disk.runtime.advance(100);
  ASSERT_TRUE(unfinished());
  cleaner->stop();
  EXPECT_FALSE(unfinished());
  EXPECT_EQ(records(*log()).size(), 100u);
}

TEST_F(CleanerTest, GivesUpALogThatIsCutOrDeletedMeanwhile) {
  for (bool deleted : {false, true}) {
    SCOPED_TRACE(deleted);
    options.io_buffer_bytes = 64;
    options.max_bytes_per_second = 30'000;
    for (int i = 0; i < 100; ++i) append("k" + std::to_string(i % 60), std::string(900, 'v'));
    roll();
    start();
    disk.runtime.advance(4000);
    if (deleted) {
      ASSERT_TRUE(disk.manager->remove_async({"t", 0}));
      disk.runtime.advance(100'000);
      EXPECT_EQ(disk.manager->find({"t", 0}), nullptr);
    } else {
      ASSERT_TRUE(log()->truncate_to({50}));
      options.max_bytes_per_second = 1e9;
      cleaner->reconfigure(options);
      disk.runtime.advance(100'000);
      EXPECT_EQ(records(*log()).size(), 50u);
      EXPECT_EQ(log()->log_end_offset().value, 50);
    }
    EXPECT_EQ(metric("odradek_log_cleaner_failures_total"), 0);
    EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 0);
    cleaner.reset();
  }
}

TEST_F(CleanerTest, GoesOnWithOtherLogsWhenABatchIsBroken) {
  for (int partition : {0, 1}) {
    append("a", "1", partition);
    append("a", "2", partition);
    roll(partition);
    append("x", "1", partition);
  }
  disk.runtime.run_until_idle();
  {
    auto file = disk.files.open("/data/t-0/00000000000000000000.log", base::OpenMode::kReadWrite);
    uint8_t byte = 0xff;
    ASSERT_TRUE((*file)->pwrite(66, {&byte, 1}));
  }
  clean();
  EXPECT_EQ(log(0)->cleaned_offset().value, -1);
  EXPECT_EQ(log(1)->cleaned_offset().value, 2);
  EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 1);
  EXPECT_GT(metric("kafka_log_logcleanermanager_uncleanable_bytes"), 0);
  EXPECT_EQ(metric("odradek_log_cleaner_failures_total"), 1);
  EXPECT_EQ(metric("kafka_log_logcleaner_deadthreadcount"), 0);
  EXPECT_TRUE(log(0)->dir().online());
  disk.runtime.advance(10'000);
  EXPECT_EQ(metric("odradek_log_cleaner_failures_total"), 1) << "not tried all the time";
  disk.runtime.advance(80'000);
  EXPECT_EQ(metric("odradek_log_cleaner_failures_total"), 3) << "after 15 s, 30 s, then a minute";
  // Somebody repairs it.
  ASSERT_TRUE(log(0)->truncate_fully_and_start_at({0}));
  append("a", "1");
  append("a", "2");
  roll();
  append("x", "1");
  disk.runtime.advance(3'600'000);
  EXPECT_EQ(log(0)->cleaned_offset().value, 2);
  EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 0);
}

TEST_F(CleanerTest, TriesAgainAfterAReadThatFailedAndWhenThereIsRoomOnTheDisk) {
  for (bool full : {false, true}) {
    SCOPED_TRACE(full);
    const int partition = full;
    append("a", "1", partition);
    append("a", "2", partition);
    roll(partition);
    append("x", "1", partition);
    disk.runtime.run_until_idle();
    disk.files.set_fault([full](base::FileCall call, const std::string& path) {
      if (full) return call == base::FileCall::kWrite && path.ends_with(".cleaned") ? ENOSPC : 0;
      return call == base::FileCall::kRead && path.ends_with(".log") ? EIO : 0;
    });
    clean();
    EXPECT_EQ(log(partition)->cleaned_offset().value, -1);
    EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 1);
    EXPECT_TRUE(log(partition)->dir().online());
    EXPECT_THAT(disk.names("/data/t-" + std::to_string(partition)), ::testing::Not(::testing::Contains(::testing::HasSubstr("cleaned"))));
    disk.files.set_fault(nullptr);
    disk.runtime.advance(16'000);
    EXPECT_EQ(log(partition)->cleaned_offset().value, 2);
    EXPECT_EQ(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 0);
  }
}

}  // namespace
}  // namespace odradek::storage::testing
