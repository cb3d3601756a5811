// What the cleaner asks of a log: the plan, and the swap of segments.
#include <gmock/gmock.h>

#include "storage/dir/log_dir.h"
#include "storage/test_support.h"

namespace odradek::storage::testing {
namespace {

using ::testing::ElementsAre;

LogConfig compacted() {
  LogConfig config;
  config.compact_policy = true;
  config.delete_policy = false;
  config.segment_index_bytes = 1000;
  return config;
}

// `count` closed segments of one batch each, and the active one with another.
std::shared_ptr<Log> segments_of_one(Disk& disk, int count, const LogConfig& config = compacted()) {
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE(append(*log, {.timestamp = disk.runtime.clock().wall_ms()}));
    EXPECT_TRUE(log->roll());
  }
  EXPECT_TRUE(append(*log, {.timestamp = disk.runtime.clock().wall_ms()}));
  log->update_high_watermark(log->log_end_offset());
  return log;
}

CleanPlan plan_of(Disk& disk) {
  auto plan = disk.log()->plan_cleaning(disk.runtime.clock().wall_ms());
  EXPECT_TRUE(plan) << plan.error().what;
  return *plan;
}

// The batches of all `old` as one segment, without those at the offsets `without`.
std::shared_ptr<Segment> merged(Log& log, const std::vector<std::shared_ptr<Segment>>& old, const std::set<int64_t>& without) {
  auto cleaned = log.create_cleaned(old.front()->base_offset());
  EXPECT_TRUE(cleaned) << cleaned.error().what;
  for (const auto& segment : old) {
    auto file = segment->file();
    EXPECT_TRUE(file);
    Bytes bytes(static_cast<size_t>(segment->size()));
    EXPECT_TRUE((*file)->file().pread(0, bytes));
    for (const auto& batch : batches_of(bytes)) {
      if (without.contains(batch.base_offset().value)) continue;
      EXPECT_TRUE((*cleaned)->write(batch.bytes(), *log.config()));
      EXPECT_TRUE((*cleaned)->note_batch(batch.last_offset(), static_cast<int64_t>(batch.size_in_bytes()), batch.max_timestamp(), *log.config(), 0));
    }
  }
  EXPECT_TRUE((*cleaned)->become_inactive(*log.config()));
  EXPECT_TRUE((*cleaned)->sync_log());
  EXPECT_TRUE((*cleaned)->sync_indexes());
  return *cleaned;
}

TEST(CleanPlan, EndsAtTheActiveSegmentAtTheHighWatermarkAndAtOpenTransactions) {
  Disk disk;
  auto log = segments_of_one(disk, 4);
  CleanPlan plan = plan_of(disk);
  EXPECT_EQ(plan.first_dirty.value, 0);
  EXPECT_EQ(plan.end.value, 4);
  EXPECT_EQ(plan.segments.size(), 4u);
  EXPECT_EQ(plan.clean_bytes, 0);
  EXPECT_EQ(plan.dirty_bytes, log->size_bytes() / 5 * 4);
  EXPECT_EQ(plan.dirty_ratio(), 1.0);

  // An open transaction in the segment of offset 5.
  ASSERT_TRUE(log->roll());
  ASSERT_TRUE(append(*log, {.producer = {7}, .epoch = 0, .sequence = 0, .transactional = true}));
  ASSERT_TRUE(log->roll());
  EXPECT_EQ(plan_of(disk).end.value, 5) << "records 5.. are not replicated";
  log->update_high_watermark(log->log_end_offset());
  EXPECT_EQ(plan_of(disk).end.value, 5);
}

TEST(CleanPlan, LeavesAloneWhatIsYoungerThanTheLeastLagAndSaysWhatIsOverdue) {
  Disk disk;
  LogConfig config = compacted();
  config.min_compaction_lag_ms = 1000;
  config.max_compaction_lag_ms = 3000;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(append(*log, {.timestamp = disk.runtime.clock().wall_ms()}));
    ASSERT_TRUE(log->roll());
    disk.runtime.advance(500);
  }
  log->update_high_watermark(log->log_end_offset());
  CleanPlan plan = plan_of(disk);
  EXPECT_EQ(plan.end.value, 3) << "the one of 500 ms ago is too young";
  EXPECT_EQ(plan.overdue_ms, 0);
  disk.runtime.advance(1500);
  EXPECT_EQ(plan_of(disk).overdue_ms, 500);
}

TEST(CleanPlan, GoesOnWhereTheLastCleaningEnded) {
  Disk disk;
  auto log = segments_of_one(disk, 4);
  ASSERT_TRUE(log->set_cleaned_offset({2}, plan_of(disk).truncations));
  EXPECT_EQ(disk.text("/data/cleaner-offset-checkpoint"), "0\n1\nt 0 2\n");
  disk.stop_and_start();
  EXPECT_EQ(disk.log()->cleaned_offset().value, 2);
  CleanPlan plan = plan_of(disk);
  EXPECT_EQ(plan.first_dirty.value, 2);
  EXPECT_EQ(plan.clean_bytes, plan.dirty_bytes);
  EXPECT_EQ(plan.segments.size(), 4u);
}

TEST(CleanPlan, ForgetsWhatWasCleanedWhereTheLogIsCut) {
  Disk disk;
  auto log = segments_of_one(disk, 4);
  const uint64_t truncations = plan_of(disk).truncations;
  ASSERT_TRUE(log->set_cleaned_offset({4}, truncations));
  ASSERT_TRUE(log->truncate_to({1}));
  EXPECT_EQ(log->cleaned_offset().value, 1);
  EXPECT_EQ(disk.text("/data/cleaner-offset-checkpoint"), "0\n1\nt 0 1\n");
  ASSERT_TRUE(log->set_cleaned_offset({4}, truncations)) << "of a cleaning that began before";
  EXPECT_EQ(log->cleaned_offset().value, 1);
  ASSERT_TRUE(log->truncate_fully_and_start_at({0}));
  EXPECT_EQ(log->cleaned_offset().value, -1);
  EXPECT_EQ(disk.text("/data/cleaner-offset-checkpoint"), "0\n0\n");
}

TEST(CleanPlan, IsForgottenWithThePartition) {
  Disk disk;
  auto log = segments_of_one(disk, 4);
  ASSERT_TRUE(log->set_cleaned_offset({4}, 0));
  ASSERT_TRUE(disk.manager->remove_async({"t", 0}));
  disk.runtime.run_until_idle();
  EXPECT_EQ(disk.text("/data/cleaner-offset-checkpoint"), "0\n0\n");
  EXPECT_EQ(disk.log()->cleaned_offset().value, -1);
}

TEST(SegmentSwap, ReadersOfTheOldSegmentsGoOnAndNewOnesSeeTheNew) {
  Disk disk;
  auto log = segments_of_one(disk, 4);
  CleanPlan plan = plan_of(disk);
  auto before = log->read({1}, 1 << 20, log->log_end_offset(), true);
  ASSERT_TRUE(before);
  auto cleaned = merged(*log, plan.segments, {0, 1, 3});
  auto swapped = log->replace_segments(plan.segments, cleaned, plan.truncations);
  ASSERT_TRUE(swapped) << swapped.error().what;
  EXPECT_TRUE(*swapped);
  EXPECT_THAT(base_offsets(*log), ElementsAre(2, 4));
  EXPECT_THAT(base_offsets(*log, {3}), ElementsAre(4));
  disk.runtime.advance(70'000);
  EXPECT_TRUE(before->slice.file->begin_send(before->slice.generation)) << "a swap does not end what is being sent";
  before->slice.file->end_send();
  Bytes bytes = bytes_of(before->slice);
  EXPECT_EQ(batches_of(bytes)[0].base_offset().value, 1);
  for (const auto& name : disk.names("/data/t-0")) EXPECT_THAT(name, ::testing::Not(::testing::HasSubstr("deleted")));
  disk.stop_and_start();
  EXPECT_THAT(base_offsets(*disk.log()), ElementsAre(2, 4));
  disk.kill_and_start();
  EXPECT_THAT(base_offsets(*disk.log()), ElementsAre(2, 4));
}

TEST(SegmentSwap, IsRefusedWhereTheLogWasCutOrDroppedMeanwhile) {
  for (bool cut : {true, false}) {
    Disk disk;
    auto log = segments_of_one(disk, 4);
    CleanPlan plan = plan_of(disk);
    auto cleaned = merged(*log, plan.segments, {0});
    if (cut) {
      ASSERT_TRUE(log->truncate_to({3}));
    } else {
      ASSERT_TRUE(log->maybe_advance_start_offset({2}));
      disk.manager->run_retention();
    }
    auto swapped = log->replace_segments(plan.segments, cleaned, plan.truncations);
    ASSERT_TRUE(swapped);
    EXPECT_FALSE(*swapped);
    EXPECT_EQ(base_offsets(*log, log->log_start_offset()).size(), 3u);
  }
}

// The process dies, or the power goes, in each call of a swap in turn.
TEST(SegmentSwap, LeavesTheOldOrTheNewSegmentsWhereverItIsInterrupted) {
  int old_ones = 0, new_ones = 0, partly = 0;
  for (int call = 1;; ++call) {
    bool reached = false;
    for (int how : {0, 1, 2}) {
      SCOPED_TRACE("call " + std::to_string(call) + (how == 0 ? " process" : " power"));
      Disk disk(static_cast<uint64_t>(call * 3 + how));
      auto log = segments_of_one(disk, 4);
      ASSERT_TRUE(log->flush());
      CleanPlan plan = plan_of(disk);
      auto cleaned = merged(*log, plan.segments, {0, 1, 3});
      disk.manager->write_checkpoints();
      int calls = 0;
      disk.files.set_fault([&](base::FileCall, const std::string&) { return ++calls >= call ? EIO : 0; });
      (void)log->replace_segments(plan.segments, cleaned, plan.truncations);
      reached |= calls >= call;
      disk.files.set_fault(nullptr);
      if (how == 0) {
        disk.kill_and_start();
      } else {
        disk.cut_power_and_start(how == 1 ? nullptr : &disk.runtime.random());
      }
      log = disk.log();
      EXPECT_EQ(log->log_end_offset().value, 5);
      auto offsets = base_offsets(*log);
      if (offsets == std::vector<int64_t>{2, 4}) {
        ++new_ones;
      } else if (offsets == std::vector<int64_t>{2, 3, 4}) {
        // Of the old segments those beyond the new one's last record may be left: they are cleaned again.
        ++partly;
      } else {
        EXPECT_THAT(offsets, ElementsAre(0, 1, 2, 3, 4));
        ++old_ones;
      }
      for (const auto& name : disk.names("/data/t-0")) {
        EXPECT_FALSE(name.ends_with(".cleaned") || name.ends_with(".swap") || name.ends_with(".deleted")) << name;
      }
      ASSERT_TRUE(append(*log));
      EXPECT_EQ(log->log_end_offset().value, 6);
    }
    if (!reached) break;
  }
  EXPECT_GT(old_ones, 3);
  EXPECT_GT(partly, 10);
  EXPECT_GT(new_ones, 10);
}

}  // namespace
}  // namespace odradek::storage::testing
