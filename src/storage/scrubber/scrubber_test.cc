#include "storage/scrubber/scrubber.h"

#include <gtest/gtest.h>

#include "metrics/catalog.h"
#include "storage/segment/segment.h"
#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;

class ScrubberTest : public ::testing::Test {
 protected:
  void start(int64_t bytes_per_second = 1 << 20) {
    scrubber = std::make_unique<Scrubber>(disk.runtime, *disk.manager, ScrubberOptions{bytes_per_second, 60'000}, disk.registry);
    scrubber->start();
  }
  // `segments` closed ones of `batches` each, and an active one.
  std::shared_ptr<Log> filled(int segments, int batches, size_t value_size = 100) {
    auto log = disk.log();
    for (int i = 0; i < segments; ++i) {
      for (int k = 0; k < batches; ++k) EXPECT_TRUE(append(*log, {.value_size = value_size}));
      EXPECT_TRUE(log->roll());
    }
    EXPECT_TRUE(append(*log));
    return log;
  }
  int64_t bad() { return disk.registry.gauge(metrics::kScrubCorruptSegments)->value(); }
  uint64_t read() { return disk.registry.counter(metrics::kScrubbedBytes)->value(); }
  // One bit of a byte of the file.
  void flip(const std::string& name, int64_t at) {
    auto file = disk.files.open("/data/t-0/" + name, base::OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    Bytes byte(1);
    ASSERT_TRUE((*file)->pread(at, byte));
    byte[0] ^= 4;
    ASSERT_TRUE((*file)->pwrite(at, byte));
  }

  Disk disk;
  std::unique_ptr<Scrubber> scrubber;
};

TEST_F(ScrubberTest, ReadsEveryClosedSegmentAndNotTheActiveOne) {
  auto log = filled(3, 5);
  int64_t closed = 0;
  for (const auto& segment : log->closed_segments().segments) closed += segment->size();
  start();
  disk.runtime.advance(59'000);
  EXPECT_EQ(read(), 0u) << "the first round begins after an interval";
  disk.runtime.advance(2'000);
  EXPECT_EQ(static_cast<int64_t>(read()), closed);
  EXPECT_EQ(bad(), 0);
  disk.runtime.advance(60'000);
  EXPECT_EQ(static_cast<int64_t>(read()), 2 * closed);
}

TEST_F(ScrubberTest, FindsAFlippedBitAnywhere) {
  auto log = filled(1, 3);
  const int64_t size = log->closed_segments().segments[0]->size();
  for (int64_t at = 0; at < size; at += 7) {
    // Base offset and leader epoch are outside of the CRC.
    const int64_t in_batch = at % (size / 3);
    if (in_batch < 8 || (in_batch >= 12 && in_batch < 16)) continue;
    flip("00000000000000000000.log", at);
    start();
    disk.runtime.advance(62'000);
    EXPECT_EQ(bad(), 1) << "byte " << at;
    flip("00000000000000000000.log", at);
    disk.runtime.advance(60'000);
    EXPECT_EQ(bad(), 0) << "byte " << at;
    scrubber.reset();
  }
}

TEST_F(ScrubberTest, GoesOnBehindADamagedSegment) {
  auto log = filled(4, 5);
  flip("00000000000000000005.log", 100);
  flip("00000000000000000015.log", 100);
  start();
  disk.runtime.advance(62'000);
  EXPECT_EQ(bad(), 2);
}

TEST_F(ScrubberTest, KeepsToItsRate) {
  auto log = filled(4, 50, 1'000);
  start(10'000);
  disk.runtime.advance(60'000);
  uint64_t before = read();
  EXPECT_LE(before, 10'000u + 1'100u);
  for (int second = 0; second < 5; ++second) {
    disk.runtime.advance(1'000);
    EXPECT_LE(read() - before, 10'000u + 1'100u);
    EXPECT_GT(read(), before);
    before = read();
  }
}

TEST_F(ScrubberTest, ReadsBatchesGreaterThanAPiece) {
  LogConfig config;
  config.max_message_bytes = 10 << 20;
  disk.configure(config);
  auto log = filled(2, 2, 900'000);
  start(4 << 20);
  disk.runtime.advance(65'000);
  EXPECT_EQ(bad(), 0);
  int64_t closed = 0;
  for (const auto& segment : log->closed_segments().segments) closed += segment->size();
  EXPECT_GE(static_cast<int64_t>(read()), closed);
}

TEST_F(ScrubberTest, SaysNothingOfSegmentsThatWentMeanwhile) {
  auto log = filled(6, 50, 1'000);
  start(10'000);
  disk.runtime.advance(61'000);
  ASSERT_TRUE(log->truncate_to({60}));
  disk.runtime.advance(60'000);
  EXPECT_EQ(bad(), 0);
  disk.manager->remove_async({"t", 0});
  disk.runtime.advance(120'000);
  EXPECT_EQ(bad(), 0);
}

}  // namespace
}  // namespace odradek::storage
