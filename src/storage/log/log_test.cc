#include "storage/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "config/topic_config.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kNow = base::ManualRuntime::kStartMs;

TEST(LogConfig, TheOldTimestampLimitCountsWhereTheNewOnesAreNotSet) {
  const auto broker = config::BrokerConfig::defaults();
  auto made = [&](const config::Properties& topic) { return make_log_config(config::effective_topic_config(*broker, topic)); };
  const LogConfig both = made({{"message.timestamp.difference.max.ms", "5"}, {"message.timestamp.after.max.ms", "7"}});
  EXPECT_EQ(both.timestamp_before_max_ms, 5);
  EXPECT_EQ(both.timestamp_after_max_ms, 7);
  const LogConfig none = made({});
  EXPECT_EQ(none.timestamp_before_max_ms, INT64_MAX);
  EXPECT_EQ(none.timestamp_after_max_ms, INT64_MAX);
}

// --- append and read --------------------------------------------------------------------------------------------------------

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

// The tail (remembered batches), the index and the plain walk must agree.
TEST(Log, ReadsTheSameFromTheTailAndFromTheFile) {
  for (size_t value_size : {10u, 700u, 9000u}) {
    Disk disk;
    LogConfig config;
    config.segment_bytes = 200'000;
    disk.configure(config);
    auto log = disk.log();
    std::vector<int64_t> expected;
    for (int i = 0; i < 300; ++i) {
      auto appended = append(*log, {.records = 1 + i % 3, .value_size = value_size});
      ASSERT_TRUE(appended);
      expected.push_back(appended->first_offset.value);
    }
    EXPECT_EQ(base_offsets(*log), expected);
    EXPECT_EQ(base_offsets(*log, {0}, 3000), expected);
    disk.stop_and_start();  // nothing is remembered now
    log = disk.log();
    EXPECT_EQ(base_offsets(*log), expected);
    EXPECT_EQ(base_offsets(*log, {0}, 3000), expected);
    for (size_t i = 1; i < expected.size(); ++i) {
      auto read = log->read({expected[i] - 1}, 1, log->log_end_offset(), true);
      ASSERT_TRUE(read);
      Bytes bytes = bytes_of(read->slice);
      ASSERT_EQ(batches_of(bytes).size(), 1u);
      EXPECT_EQ(batches_of(bytes)[0].base_offset().value, expected[i - 1]);
    }
  }
}

// Readers that must not wait leave out the heads of batches that this process wrote; what they get is the same.
TEST(Log, LooksOnlyAtTheHeadsThatTheDiskGaveBack) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 900'000;
  disk.configure(config);
  auto log = disk.log();
  base::Random& random = disk.runtime.random();
  for (int i = 0; i < 700; ++i) ASSERT_TRUE(append(*log, {.records = 1 + i % 3, .value_size = i % 5 == 0 ? 9000u : 300u}));
  const int64_t end = log->log_end_offset().value;
  auto reads_of = [&](int64_t from) {
    const int64_t before = disk.files.calls(base::FileCall::kRead);
    base::FileSlice cold;
    auto read = log->read({from}, 1 << 20, {end}, true, &cold);
    EXPECT_TRUE(read);
    EXPECT_GT(read->slice.size, 500'000);
    return disk.files.calls(base::FileCall::kRead) - before;
  };
  EXPECT_LT(reads_of(3), 10);
  for (int i = 0; i < 500; ++i) {
    const Offset from{static_cast<int64_t>(random.below(static_cast<uint64_t>(end)))};
    const Offset upper{from.value + static_cast<int64_t>(random.below(static_cast<uint64_t>(end - from.value + 1)))};
    const auto limit = static_cast<int32_t>(random.below(1 << 20));
    base::FileSlice cold;
    auto quick = log->read(from, limit, upper, i % 2 == 0, &cold);
    auto whole = log->read(from, limit, upper, i % 2 == 0);
    ASSERT_TRUE(quick);
    ASSERT_TRUE(whole);
    EXPECT_EQ(cold.size, 0);
    EXPECT_EQ(quick->slice.size, whole->slice.size) << from.value << " " << upper.value << " " << limit;
    EXPECT_EQ(quick->slice.position, whole->slice.position);
    EXPECT_EQ(quick->next_offset, whole->next_offset);
  }

  disk.files.make_cold("/data/t-0/00000000000000000000.log");
  base::FileSlice cold;
  ASSERT_TRUE(log->read({3}, 1 << 20, {end}, true, &cold));
  ASSERT_GT(cold.size, 0);
  disk.manager->slice_loader().load(cold, [] {});
  disk.runtime.run_until_idle();
  EXPECT_GT(reads_of(3), 50) << "it came from the disk";
  disk.stop_and_start();
  log = disk.log();
  EXPECT_GT(reads_of(3), 50) << "another process wrote it";
}

TEST(Log, CutsReadsAtTheLimitAndAtTheUpperBound) {
  Disk disk;
  for (bool from_file : {false, true}) {
    if (from_file) disk.stop_and_start();
    auto log = disk.log();
    if (!from_file) {
      for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(*log, {.records = 10}));
    }
    const auto size = static_cast<int32_t>(make_batch({.records = 10}).size());
    auto read = [&](int64_t from, int32_t limit, int64_t upper, bool at_least_one) {
      auto result = log->read({from}, limit, {upper}, at_least_one);
      EXPECT_TRUE(result);
      Bytes bytes = bytes_of(result->slice);
      return std::pair(batches_of(bytes).size(), result->next_offset.value);
    };
    EXPECT_EQ(read(0, 3 * size, 100, true), std::pair(size_t{3}, int64_t{30}));
    EXPECT_EQ(read(0, 3 * size + 1, 100, true), std::pair(size_t{3}, int64_t{30}));
    EXPECT_EQ(read(0, 3 * size - 1, 100, true), std::pair(size_t{2}, int64_t{20}));
    EXPECT_EQ(read(0, size - 1, 100, true), std::pair(size_t{1}, int64_t{10}));
    EXPECT_EQ(read(0, size - 1, 100, false), std::pair(size_t{0}, int64_t{0}));
    EXPECT_EQ(read(0, 1 << 20, 25, true), std::pair(size_t{2}, int64_t{20}));
    EXPECT_EQ(read(0, 1 << 20, 9, true), std::pair(size_t{0}, int64_t{0}));
    EXPECT_EQ(read(5, 1 << 20, 10, true), std::pair(size_t{1}, int64_t{10}));
    EXPECT_EQ(read(100, 1 << 20, 100, true), std::pair(size_t{0}, int64_t{100}));
    EXPECT_EQ(log->read({101}, 1, {200}, true).error().code, ErrorCode::kOffsetOutOfRange);
    EXPECT_EQ(log->read({-1}, 1, {200}, true).error().code, ErrorCode::kOffsetOutOfRange);
  }
}

TEST(Log, NamesTheColdSliceInsteadOfWaitingForTheDisk) {
  Disk disk;
  auto log = disk.log();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(append(*log));
  disk.stop_and_start();
  log = disk.log();
  disk.files.make_cold("/data/t-0/00000000000000000000.log");
  base::FileSlice cold;
  auto read = log->read({0}, 1 << 20, {5}, true, &cold);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->slice.size, 0);
  ASSERT_GT(cold.size, 0);
  bool loaded = false;
  disk.manager->slice_loader().load(cold, [&] { loaded = true; });
  EXPECT_FALSE(loaded);
  disk.runtime.run_until_idle();
  EXPECT_TRUE(loaded);
  cold = {};
  read = log->read({0}, 1 << 20, {5}, true, &cold);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->next_offset.value, 5);
  EXPECT_EQ(cold.size, 0);
}

TEST(Log, DoesNotWaitForAColdIndexEither) {
  Disk disk;
  LogConfig config;
  config.index_interval_bytes = 100;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(append(*log));
  ASSERT_TRUE(log->roll());
  ASSERT_TRUE(append(*log));
  disk.stop_and_start();
  log = disk.log();
  for (bool checked : {false, true}) {
    disk.files.make_cold("/data/t-0/00000000000000000000.index");
    const int64_t reads = disk.files.calls(base::FileCall::kRead);
    base::FileSlice cold;
    // From a thread each: blocks of an index that a thread has read stay in its memory.
    std::thread([&] { ASSERT_TRUE(log->read({12}, 1 << 20, {20}, true, &cold)); }).join();
    ASSERT_GT(cold.size, 0) << checked;
    EXPECT_EQ(disk.files.calls(base::FileCall::kRead), reads) << checked;
    auto read = log->read({12}, 1 << 20, {20}, true);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->next_offset.value, 20);
  }
}

TEST(Log, EndsTheSliceWhereTheFileIsBroken) {
  Disk disk;
  auto log = disk.log();
  int64_t third = 0;
  for (int i = 0; i < 5; ++i) {
    if (i == 2) third = log->size_bytes();
    ASSERT_TRUE(append(*log, {.records = 2}));
  }
  disk.stop_and_start();
  log = disk.log();
  auto file = disk.files.open("/data/t-0/00000000000000000000.log", base::OpenMode::kReadWrite);
  ASSERT_TRUE((*file)->pwrite(third + 8, Bytes(4, 0)));  // its length
  auto read = log->read({0}, 1 << 20, {10}, true);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->slice.size, third);
  EXPECT_EQ(read->next_offset.value, 4);
  EXPECT_EQ(log->read({4}, 1 << 20, {10}, true).error().code, ErrorCode::kCorruptMessage);
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

// --- files ------------------------------------------------------------------------------------------------------------------

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

// --- retention, log start ---------------------------------------------------------------------------------------------------

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

// --- truncation -------------------------------------------------------------------------------------------------------------

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

// --- times ------------------------------------------------------------------------------------------------------------------

TEST(Log, FindsTheFirstRecordAtOrAfterATime) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 1000;
  config.index_interval_bytes = 100;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(append(*log, {.records = 3, .timestamp = kNow + i * 10}, {i / 20}));
  for (bool reloaded : {false, true}) {
    if (reloaded) disk.stop_and_start();
    log = disk.log();
    auto at = [&](int64_t timestamp) {
      auto found = log->offset_for_timestamp(timestamp, log->log_end_offset());
      EXPECT_TRUE(found);
      return *found;
    };
    EXPECT_EQ(at(kNow)->offset.value, 0);
    EXPECT_EQ(at(0)->offset.value, 0);
    EXPECT_EQ(at(kNow + 1)->offset.value, 1);
    EXPECT_EQ(at(kNow + 3)->offset.value, 3);
    EXPECT_EQ(at(kNow + 3)->timestamp, kNow + 10);
    EXPECT_EQ(at(kNow + 255)->offset.value, 78);
    EXPECT_EQ(at(kNow + 255)->leader_epoch.value, 1);
    EXPECT_EQ(at(kNow + 392)->offset.value, 119);
    EXPECT_FALSE(at(kNow + 393));
    auto max = log->max_timestamp_offset();
    ASSERT_TRUE(max && *max);
    EXPECT_EQ((*max)->offset.value, 119);
    EXPECT_EQ((*max)->timestamp, kNow + 392);
  }
}

TEST(Log, FindsTimesThatDoNotRise) {
  Disk disk;
  LogConfig config;
  config.index_interval_bytes = 0;
  config.segment_bytes = 2000;
  disk.configure(config);
  auto log = disk.log();
  std::vector<int64_t> times;
  uint64_t x = 7;
  for (int i = 0; i < 100; ++i) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    times.push_back(kNow + static_cast<int64_t>((x >> 33) % 50));
    ASSERT_TRUE(append(*log, {.timestamp = times.back()}));
  }
  for (int64_t t = kNow - 1; t < kNow + 52; ++t) {
    auto found = log->offset_for_timestamp(t, {100});
    ASSERT_TRUE(found);
    auto expected = std::find_if(times.begin(), times.end(), [&](int64_t time) { return time >= t; });
    ASSERT_EQ(found->has_value(), expected != times.end());
    if (*found) {
      EXPECT_EQ((*found)->offset.value, expected - times.begin());
      EXPECT_EQ((*found)->timestamp, *expected);
    }
  }
  auto max = log->max_timestamp_offset();
  EXPECT_EQ((*max)->offset.value, std::max_element(times.begin(), times.end()) - times.begin());
}

TEST(Log, FindsTimesInCompressedBatches) {
  constexpr int kRecords = 400;
  for (record::Codec codec : {record::Codec::kGzip, record::Codec::kSnappy, record::Codec::kLz4, record::Codec::kZstd}) {
    Disk disk;
    auto log = disk.log();
    ASSERT_TRUE(append(*log, {.records = 10, .timestamp = kNow - 1000}));
    record::BatchBuilder builder({.codec = codec});
    std::vector<int64_t> times(10, kNow - 1000);
    for (int i = 0; i < kRecords; ++i) {
      times.push_back(kNow + i * 7 % kRecords);
      std::string value;
      for (size_t byte = 0; byte < 1500; ++byte) value.push_back(static_cast<char>(disk.runtime.random().below(256)));  // several pieces
      builder.append(times.back(), std::nullopt, as_bytes(value));
    }
    Bytes batch = builder.build();
    ASSERT_TRUE(log->append_as_leader(batch, {4}, {}));
    log->update_high_watermark(log->log_end_offset());
    for (int64_t start : {0, 200}) {
      ASSERT_TRUE(log->maybe_advance_start_offset({start}));
      for (int64_t t = kNow - 1; t < kNow + kRecords + 2; t += 3) {
        auto found = log->offset_for_timestamp(t, log->log_end_offset());
        ASSERT_TRUE(found) << found.error().what;
        auto expected = std::find_if(times.begin() + start, times.end(), [&](int64_t time) { return time >= t; });
        ASSERT_EQ(found->has_value(), expected != times.end());
        if (!*found) continue;
        EXPECT_EQ((*found)->offset.value, expected - times.begin());
        EXPECT_EQ((*found)->timestamp, *expected);
        EXPECT_EQ((*found)->leader_epoch.value, 4);
      }
    }
    // A leader's time is that of all records.
    LogConfig append_time;
    append_time.timestamp_type = record::TimestampType::kLogAppendTime;
    disk.configure(append_time);
    disk.runtime.advance(1000);
    for (int i = 0; i < 3; ++i) builder.append(i, std::nullopt, as_bytes("v"));
    batch = builder.build();
    ASSERT_TRUE(log->append_as_leader(batch, {4}, {}));
    auto found = log->offset_for_timestamp(kNow + 500, log->log_end_offset());
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->offset.value, 10 + kRecords);
    EXPECT_EQ((*found)->timestamp, kNow + 1000);
  }
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

TEST(Log, ListsSegmentStartsForTheOldestClients) {
  Disk disk;
  LogConfig config;
  config.segment_bytes = 300;
  disk.configure(config);
  auto log = disk.log();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(append(*log, {.value_size = 200}));
    disk.runtime.advance(1000);
  }
  using Offsets = std::vector<Offset>;
  EXPECT_EQ(log->legacy_offsets_before(-1, 1), (Offsets{{3}}));
  EXPECT_EQ(log->legacy_offsets_before(-1, 10), (Offsets{{3}, {2}, {1}, {0}}));
  EXPECT_EQ(log->legacy_offsets_before(-2, 10), (Offsets{{0}}));
  EXPECT_EQ(log->legacy_offsets_before(kNow + 1500, 10), (Offsets{{1}, {0}}));
  EXPECT_EQ(log->legacy_offsets_before(kNow - 1, 10), Offsets{});
}

// --- flush ------------------------------------------------------------------------------------------------------------------

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

// --- failures ---------------------------------------------------------------------------------------------------------------

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

TEST(Log, LivesOnWhenDescriptorsRunOut) {
  Disk disk;
  auto log = disk.log();
  ASSERT_TRUE(append(*log));
  disk.stop_and_start();
  log = disk.log();
  disk.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kOpen ? EMFILE : 0; });
  EXPECT_EQ(log->read({0}, 1, {1}, true).error().code, ErrorCode::kKafkaStorageError);
  disk.files.set_fault(nullptr);
  EXPECT_FALSE(disk.manager->has_offline_dir());
  EXPECT_TRUE(log->read({0}, 1, {1}, true));
}

}  // namespace
}  // namespace odradek::storage
