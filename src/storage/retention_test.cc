// Retention at scale: what a pass costs where nothing is due, and what is dropped where something is.
#include <gmock/gmock.h>

#include "storage/test_support.h"

namespace odradek::storage::testing {
namespace {

using base::FileCall;
using ::testing::ElementsAre;

int64_t file_calls(const Disk& disk) {
  int64_t calls = 0;
  for (FileCall call : {FileCall::kOpen, FileCall::kRead, FileCall::kWrite, FileCall::kSync, FileCall::kTruncate, FileCall::kRename, FileCall::kRemove,
                        FileCall::kList, FileCall::kSyncDirectory, FileCall::kStatus}) {
    calls += disk.files.calls(call);
  }
  return calls;
}

// `count` logs of `segments` closed segments and an active one.
void fill(Disk& disk, int count, int segments) {
  for (int i = 0; i < count; ++i) {
    auto log = disk.log("t", i);
    for (int k = 0; k < segments; ++k) {
      ASSERT_TRUE(append(*log));
      ASSERT_TRUE(log->roll());
    }
    ASSERT_TRUE(append(*log));
    log->update_high_watermark(log->log_end_offset());
  }
  disk.runtime.run_until_idle();
}

TEST(Retention, TouchesNoFileWhereNothingIsDue) {
  Disk disk;
  LogConfig config;
  config.segment_index_bytes = 100;
  config.retention_bytes = 1 << 30;
  disk.configure(config);
  fill(disk, 50, 3);
  const int64_t calls = file_calls(disk);
  disk.manager->run_retention();
  EXPECT_EQ(file_calls(disk), calls);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(disk.log("t", i)->segment_count(), 4u);
}

TEST(Retention, ReadsTheIndexesOfTheFirstSegmentOfALogOnceAfterAStart) {
  Disk disk;
  LogConfig config;
  config.segment_index_bytes = 100;
  disk.configure(config);
  fill(disk, 50, 3);
  disk.stop_and_start();
  int64_t calls = file_calls(disk);
  disk.manager->run_retention();
  EXPECT_LE(file_calls(disk) - calls, 50 * 8);
  calls = file_calls(disk);
  disk.manager->run_retention();
  EXPECT_EQ(file_calls(disk), calls);
}

TEST(Retention, DropsWhatIsDueBySizeOneSegmentAfterTheOther) {
  Disk disk;
  fill(disk, 2, 5);
  const int64_t one = disk.log("t", 0)->size_bytes() / 6;
  LogConfig config;
  config.retention_bytes = one * 3;
  config.retention_ms = -1;
  disk.configure(config);
  disk.manager->run_retention();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(disk.log("t", i)->segment_count(), 3u);
    EXPECT_EQ(disk.log("t", i)->log_start_offset().value, 3);
    EXPECT_THAT(base_offsets(*disk.log("t", i), {3}), ElementsAre(3, 4, 5));
  }
}

TEST(Retention, StopsBelowTheHighWatermark) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(append(*log));
    ASSERT_TRUE(log->roll());
  }
  LogConfig config;
  config.retention_ms = 1000;
  disk.configure(config);
  disk.runtime.advance(10'000);
  log->update_high_watermark({3});
  disk.manager->run_retention();
  EXPECT_EQ(log->log_start_offset().value, 3);
  log->update_high_watermark({5});
  disk.manager->run_retention();
  EXPECT_EQ(log->log_start_offset().value, 5);
  EXPECT_EQ(log->segment_count(), 1u);
}

}  // namespace
}  // namespace odradek::storage::testing
