// When a log becomes durable, and what its producers wait for.
#include <gmock/gmock.h>

#include <cerrno>

#include "storage/dir/flusher.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using base::FileCall;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Paths of the files that were synced since the last look.
struct Syncs {
  explicit Syncs(base::MemoryFiles& files) {
    files.set_fault([this](FileCall call, const std::string& path) {
      if (call == FileCall::kSync) synced.push_back(path.substr(path.rfind('/') + 1));
      return 0;
    });
  }
  std::vector<std::string> take() { return std::exchange(synced, {}); }
  std::vector<std::string> synced;
};

struct Heard : FlushListener {
  void on_flushed() override { ++times; }
  int times = 0;
};

TEST(Flush, IsDueAfterFlushMessagesAndCoversEverythingAppendedBeforeIt) {
  Disk disk;
  disk.configure({.flush_messages = 3});
  auto log = disk.log();
  Syncs syncs(disk.files);
  ASSERT_TRUE(append(*log, {.records = 2}));
  disk.runtime.run_until_idle();
  EXPECT_EQ(log->flushed_offset(), Offset{0});
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(append(*log, {.records = 2}));
  (void)syncs.take();
  disk.runtime.run_until_idle();  // the log was in the queue once
  EXPECT_EQ(log->flushed_offset(), Offset{12});
  EXPECT_EQ(log->recovery_point(), Offset{12});
  EXPECT_EQ(std::ranges::count(syncs.take(), "00000000000000000000.log"), 1);
  EXPECT_EQ(log->flush_count(), 1u);
}

TEST(Flush, SyncsTheLogAloneAndTheIndexesWhenTheSegmentIsClosed) {
  Disk disk;
  disk.configure({.index_interval_bytes = 1, .flush_messages = 1});
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.runtime.run_until_idle();
  Syncs syncs(disk.files);
  ASSERT_TRUE(append(*log));
  disk.runtime.run_until_idle();
  EXPECT_THAT(syncs.take(), ElementsAre("00000000000000000000.log"));
  ASSERT_TRUE(log->roll());
  disk.runtime.run_until_idle();
  EXPECT_THAT(syncs.take(), ElementsAre("00000000000000000000.index", "00000000000000000000.timeindex", "00000000000000000002.snapshot"));
}

TEST(Flush, IsDueAfterFlushMsWithoutAWakeUpWhileThereIsNothingToFlush) {
  Disk disk;
  disk.configure({.flush_ms = 1'000});
  auto log = disk.log();
  const size_t timers = disk.runtime.pending_timers();
  ASSERT_TRUE(append(*log));
  ASSERT_TRUE(append(*log));
  EXPECT_EQ(disk.runtime.pending_timers(), timers + 1);
  disk.runtime.advance(999);
  EXPECT_EQ(log->flushed_offset(), Offset{0});
  disk.runtime.advance(1);
  EXPECT_EQ(log->flushed_offset(), Offset{2});
}

TEST(Flush, ByTimeTakesAlongTheLogsThatHaveWaitedHalfOfTheirTime) {
  Disk disk;
  disk.configure({.flush_ms = 1'000});
  auto due = disk.log("t", 0), half_due = disk.log("t", 1), fresh = disk.log("t", 2);
  ASSERT_TRUE(append(*due));
  disk.runtime.advance(500);
  ASSERT_TRUE(append(*half_due));
  disk.runtime.advance(1);
  ASSERT_TRUE(append(*fresh));
  disk.runtime.advance(498);
  EXPECT_EQ(due->flushed_offset(), Offset{0});
  EXPECT_EQ(half_due->flushed_offset(), Offset{0});
  disk.runtime.advance(1);
  EXPECT_EQ(due->flushed_offset(), Offset{1});
  EXPECT_EQ(half_due->flushed_offset(), Offset{1});
  EXPECT_EQ(fresh->flushed_offset(), Offset{0});
  disk.runtime.advance(500);
  EXPECT_EQ(fresh->flushed_offset(), Offset{0});
  disk.runtime.advance(1);
  EXPECT_EQ(fresh->flushed_offset(), Offset{1});
}

TEST(Flush, TellsTheListenerOncePerFlush) {
  Disk disk;
  auto log = disk.log();
  auto heard = std::make_shared<Heard>();
  log->set_flush_listener(heard);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(append(*log));
    log->request_flush();
    log->request_flush();
  }
  disk.runtime.run_until_idle();
  EXPECT_EQ(heard->times, 1);
  EXPECT_EQ(log->flushed_offset(), Offset{3});
}

TEST(Flush, OfMoreLogsThanTheQueueHoldsForgetsNone) {
  Disk disk;
  std::vector<std::shared_ptr<Log>> logs;
  for (int p = 0; p < 1'500; ++p) {
    logs.push_back(disk.log("t", p));
    ASSERT_TRUE(append(*logs.back()));
    logs.back()->request_flush();
  }
  disk.runtime.run_until_idle();
  for (const auto& log : logs) EXPECT_EQ(log->flushed_offset(), Offset{1});
}

TEST(Flush, LetsTheKernelBeginBeforeItIsDue) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(append(*log, {.value_size = 1'000'000}));
    disk.runtime.run_until_idle();
  }
  EXPECT_EQ(disk.files.calls(FileCall::kWriteback), 2);  // each 4 MiB
  EXPECT_EQ(log->flushed_offset(), Offset{0});
  EXPECT_EQ(log->flush_count(), 0u);
}

TEST(Flush, LeavesTheKernelAloneWhereThatTakesLong) {
  Disk disk;
  auto log = disk.log();
  disk.files.set_fault([&](FileCall call, const std::string&) {
    if (call == FileCall::kWriteback) disk.runtime.advance(Flusher::kSlowWritebackMs);
    return 0;
  });
  auto append_mb = [&](int mb) {
    for (int i = 0; i < mb; ++i) {
      ASSERT_TRUE(append(*log, {.value_size = 1'000'000}));
      disk.runtime.run_until_idle();
    }
  };
  append_mb(10);
  EXPECT_EQ(disk.files.calls(FileCall::kWriteback), 1);
  disk.runtime.advance(Flusher::kWritebackPauseMs);
  append_mb(10);
  EXPECT_EQ(disk.files.calls(FileCall::kWriteback), 2);
}

TEST(Debt, HoldsAnswersWhileMoreThanTheFactorIsUnflushedUntilAFlushEnds) {
  Disk disk;
  disk.configure({.flush_messages = 2});
  auto log = disk.log();
  ASSERT_TRUE(append(*log, {.records = 8}));
  EXPECT_EQ(log->debt_hold(), std::nullopt);  // four times two
  ASSERT_TRUE(append(*log));
  auto hold = log->debt_hold();
  ASSERT_TRUE(hold);
  EXPECT_EQ(log->flush_count(), *hold);
  EXPECT_EQ(log->debt_ratio(), 4.5);
  disk.runtime.run_until_idle();
  EXPECT_GT(log->flush_count(), *hold);
  EXPECT_EQ(log->debt_hold(), std::nullopt);
  EXPECT_EQ(log->debt_ratio(), 0);
}

TEST(Debt, CountsTheAgeOfTheOldestUnflushedRecord) {
  Disk disk;
  disk.configure({.flush_ms = 1'000'000});
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.configure({.flush_ms = 100});  // the timer stays where it is: nothing flushes
  disk.runtime.advance(400);
  ASSERT_TRUE(append(*log));
  EXPECT_EQ(log->debt_hold(), std::nullopt);
  disk.runtime.advance(1);
  EXPECT_EQ(log->debt_ratio(), 4.01);
  ASSERT_TRUE(log->debt_hold());
  disk.runtime.run_until_idle();  // which asked for a flush
  EXPECT_EQ(log->debt_ratio(), 0);
}

TEST(Debt, IsOffWithFactorZeroAndWithoutAFlushSetting) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log, {.records = 100}));
  disk.runtime.advance(1'000'000);
  EXPECT_EQ(log->debt_hold(), std::nullopt);
  disk.manager.reset();
  disk.options.flush_debt_factor = 0;
  disk.config = std::make_shared<LogConfig>(LogConfig{.flush_messages = 1, .flush_ms = 1});
  disk.start();
  log = disk.log();
  ASSERT_TRUE(append(*log, {.records = 100}));
  EXPECT_EQ(log->debt_hold(), std::nullopt);
}

TEST(Flush, OfRecordsCountsAlthoughASmallFileCannotBeWritten) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.files.set_fault([](FileCall call, const std::string& path) {
    return call == FileCall::kOpen && path.ends_with("leader-epoch-checkpoint.tmp") ? EMFILE : 0;
  });
  EXPECT_FALSE(log->flush());
  EXPECT_EQ(log->flushed_offset(), Offset{1});
  EXPECT_EQ(log->recovery_point(), Offset{0});  // a start would not find the epoch
  disk.files.set_fault(nullptr);
  EXPECT_TRUE(log->flush());
  EXPECT_EQ(log->recovery_point(), Offset{1});
}

TEST(Start, MakesDurableWhatAKilledProcessLeftAndItReliesOn) {
  Disk disk;
  const Uuid id = base::random_uuid(disk.runtime.random());
  auto log = disk.manager->get_or_create({"t", 0}, id, disk.config, true);
  ASSERT_TRUE(log);
  ASSERT_TRUE(append(**log));
  // Killed before anything was synced.
  log->reset();
  disk.kill_and_start();
  ASSERT_EQ(disk.log()->topic_id(), id);
  disk.runtime.run_until_idle();
  disk.cut_power_and_start();
  auto found = disk.manager->find({"t", 0});
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->topic_id(), id);
}

TEST(Flusher, LetsOtherTasksGoBetweenDeletionsThatAreDueTogether) {
  Disk disk;
  Flusher flusher(disk.runtime, "flush", 1);
  std::string order;
  flusher.post_deletion(10, [&] {
    order += 'd';
    flusher.post([&] { order += 'f'; });
  });
  for (int i = 0; i < 3; ++i) flusher.post_deletion(10, [&] { order += 'd'; });
  disk.runtime.advance(10);
  EXPECT_EQ(order, "dfddd");
  for (int i = 0; i < 2; ++i) flusher.post_deletion(10'000, [&] { order += 'D'; });
  flusher.hasten_deletions();
  disk.runtime.run_until_idle();
  EXPECT_EQ(order, "dfdddDD");
}

TEST(Log, FlushesByNumberOfMessagesOnAFlushThread) {
  Disk disk;
  LogConfig config;
  config.flush_messages = 10;
  disk.configure(config);
  auto log = disk.log();
  disk.runtime.run_until_idle();
  const int64_t syncs = disk.files.calls(base::FileCall::kSync);
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(append(*log));
  disk.runtime.run_until_idle();
  EXPECT_EQ(disk.files.calls(base::FileCall::kSync), syncs);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(append(*log));
  EXPECT_EQ(disk.files.calls(base::FileCall::kSync), syncs);  // not on this thread
  disk.runtime.run_until_idle();
  EXPECT_EQ(log->recovery_point().value, 29);
  // One fdatasync of the log for all 20; the epoch file takes another.
  EXPECT_LE(disk.files.calls(base::FileCall::kSync), syncs + 2);
}

TEST(Log, FlushesByTimeAndSleepsWhenThereIsNothingToFlush) {
  Disk disk;
  LogConfig config;
  config.flush_ms = 500;
  disk.configure(config);
  auto log = disk.log();
  disk.runtime.run_until_idle();
  ASSERT_TRUE(append(*log));
  disk.runtime.advance(499);
  EXPECT_EQ(log->recovery_point().value, 0);
  ASSERT_TRUE(append(*log));
  disk.runtime.advance(1);
  EXPECT_EQ(log->recovery_point().value, 2);
  ASSERT_TRUE(append(*log));
  disk.runtime.advance(500);
  EXPECT_EQ(log->recovery_point().value, 3);
  disk.runtime.advance(120'000);  // the checkpoint that the flush asked for
  const size_t timers = disk.runtime.pending_timers();
  EXPECT_EQ(timers, 2u) << "retention and producer expiry";
}

TEST(Log, TakesItsDirOfflineWhenAFlushFails) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kSync ? EIO : 0; });
  EXPECT_FALSE(log->flush());
  EXPECT_EQ(log->recovery_point().value, 0);
  disk.files.set_fault(nullptr);
  EXPECT_FALSE(append(*log));
  EXPECT_TRUE(disk.manager->has_offline_dir());
}

// The kernel tells of lost pages once: the fdatasync after that one succeeds.
TEST(Log, AFlushBehindOneThatFailedFailsToo) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->roll());
  int failures = 0;
  disk.files.set_fault([&](base::FileCall call, const std::string& path) {
    return call == base::FileCall::kSync && path.ends_with(".log") && failures++ == 0 ? EIO : 0;
  });
  disk.runtime.run_until_idle();
  ASSERT_EQ(failures, 1);
  // The cleaner's, which had begun before.
  EXPECT_FALSE(log->make_durable_below({1}));
  EXPECT_EQ(log->flushed_offset().value, 0);
  EXPECT_EQ(log->recovery_point().value, 0);
  disk.files.set_fault(nullptr);
}

}  // namespace
}  // namespace odradek::storage
