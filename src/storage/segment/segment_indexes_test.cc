#include "storage/segment/segment_indexes.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "storage/segment/test_support.h"

namespace odradek::storage {
namespace {

using testing::Dir;
using testing::make_batch;

constexpr int64_t kNow = base::ManualRuntime::kStartMs;
const SegmentIndexes::Found kAll{.offset = true, .time = true};

// A log file with one batch of 1 KiB a record, offsets from 100 on; the times rise and fall.
class SegmentIndexesTest : public ::testing::Test {
 protected:
  void append(int batches) {
    for (int i = 0; i < batches; ++i) {
      const Offset offset{100 + appended};
      const int64_t time = time_of(appended++);
      Bytes batch = make_batch(offset, time, 1000);
      ASSERT_TRUE(indexes.make_ready());
      ASSERT_TRUE(log.write(batch, 0));
      ASSERT_TRUE(indexes.note(log.size(), offset, static_cast<int64_t>(batch.size()), time, config));
      log.publish(log.size() + static_cast<int64_t>(batch.size()));
      positions.push_back(log.size());
    }
  }
  static int64_t time_of(int64_t at) { return kNow + (at % 7 == 3 ? 100 : 0) + at; }
  // The position of each batch is found, as another start finds it.
  void expect_sound(SegmentIndexes& found, int64_t batches) {
    auto file = log.file();
    ASSERT_TRUE(file);
    for (int64_t i = 0; i < batches; ++i) {
      auto at = found.walk_from(Offset{100 + i}, (*file)->file(), [&](BatchWalk& walk) -> Result<int64_t> {
        for (;;) {
          auto batch = walk.next();
          if (!batch) return fail(std::move(batch.error()));
          if (!*batch) return -1;
          if ((*batch)->last.value == 100 + i) return (*batch)->position;
        }
      });
      ASSERT_TRUE(at) << at.error().what;
      EXPECT_EQ(*at, i == 0 ? 0 : positions[static_cast<size_t>(i - 1)]);
    }
  }

  Dir dir;
  LogConfig config;
  LogFile log{dir.dir, "/data/p/100.log", 0};
  SegmentIndexes indexes{dir.dir, log, "/data/p/100", "", Offset{100}, {}};
  std::vector<int64_t> positions;  // behind each batch
  int64_t appended = 0;

  void SetUp() override {
    ASSERT_TRUE(log.create(0));
    ASSERT_TRUE(indexes.create(config));
  }
};

TEST_F(SegmentIndexesTest, AreBuiltAgainFromTheLogWhereOneIsMissingOrBroken) {
  append(40);
  ASSERT_TRUE(indexes.finish(config));
  const int64_t entries = *indexes.offset_index().file().count();
  ASSERT_GT(entries, 3);
  enum { kSound, kNoTimes, kCutInAnEntry, kEnd };
  for (int kind = kSound; kind < kEnd; ++kind) {
    if (kind == kCutInAnEntry) {
      ASSERT_TRUE((*dir.files.open("/data/p/100.index", base::OpenMode::kReadWrite))->truncate(13));
    }
    SegmentIndexes again(dir.dir, log, "/data/p/100", "", Offset{100}, {.offset = true, .time = kind != kNoTimes});
    EXPECT_FALSE(again.unsynced());
    ASSERT_TRUE(again.ensure());
    EXPECT_EQ(again.unsynced(), kind != kSound) << kind;
    EXPECT_EQ(*again.offset_index().file().count(), entries) << kind;
    expect_sound(again, appended);
    auto greatest = again.max_timestamp();
    ASSERT_TRUE(greatest);
    EXPECT_EQ(greatest->timestamp, time_of(38)) << kind;
    EXPECT_EQ(greatest->offset, Offset{138}) << kind;
  }
}

TEST_F(SegmentIndexesTest, KnowTheGreatestTimestampOfWhatATruncationLeft) {
  append(19);
  // The greatest of those that stay, batch 17, is behind the last entry, at batch 16.
  auto file = log.cut_to(positions[17]);
  ASSERT_TRUE(file);
  ASSERT_TRUE(indexes.truncate_to({118}, (*file)->file()));
  EXPECT_TRUE(indexes.unsynced());
  EXPECT_EQ(indexes.time_index().last()->timestamp, time_of(10));
  EXPECT_EQ(indexes.max_timestamp()->timestamp, time_of(17));
  EXPECT_EQ(indexes.max_timestamp()->offset, Offset{117});
  appended = 18;
  positions.resize(18);
  append(10);
  expect_sound(indexes, 28);
  EXPECT_EQ(indexes.max_timestamp()->timestamp, time_of(24));
}

TEST_F(SegmentIndexesTest, ASyncThatFailedIsStillToBeDone) {
  append(40);
  ASSERT_TRUE(indexes.finish(config));
  EXPECT_TRUE(indexes.unsynced());
  dir.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kSync ? EIO : 0; });
  EXPECT_FALSE(indexes.sync());
  EXPECT_TRUE(indexes.unsynced());
  dir.files.set_fault({});
  EXPECT_TRUE(indexes.sync());
  EXPECT_FALSE(indexes.unsynced());
}

// The log and its index disagree where something else wrote one of them: the log is right.
TEST_F(SegmentIndexesTest, AWalkBeginsAtTheStartWhereTheIndexIsWrong) {
  append(40);
  ASSERT_TRUE(indexes.finish(config));
  auto index = dir.files.open("/data/p/100.index", base::OpenMode::kReadWrite);
  ASSERT_TRUE(index);
  Bytes wrong;
  base::append_be<int32_t>(wrong, 5);
  base::append_be<int32_t>(wrong, static_cast<int32_t>(positions[3] + 17));  // inside a batch
  ASSERT_TRUE((*index)->pwrite(0, wrong));
  SegmentIndexes again(dir.dir, log, "/data/p/100", "", Offset{100}, kAll);
  ASSERT_TRUE(again.ensure());
  expect_sound(again, 8);
}

}  // namespace
}  // namespace odradek::storage
