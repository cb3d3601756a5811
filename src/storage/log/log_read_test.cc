// Reads of a log: slices, from the page cache only, times.
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;

constexpr int64_t kNow = base::ManualRuntime::kStartMs;

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
