// Indexes over their file.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "base/memory_files.h"
#include "storage/index/offset_index.h"
#include "storage/index/time_index.h"

namespace odradek::storage {
namespace {

TEST(OffsetIndex, FindsTheEntryAtOrBelowWhereverItStands) {
  base::MemoryFiles files;
  FileCache cache(4);
  constexpr int32_t kMost = 1 << 20;
  OffsetIndex index(files, cache, "/i", {1000}, false);
  const int kEntries = 5000;  // ten blocks in the file, some entries in memory
  for (int i = 0; i < kEntries; ++i) ASSERT_TRUE(index.append({1000 + i * 3 + 2}, i * 100, kMost));
  for (bool reopened : {false, true}) {
    std::unique_ptr<OffsetIndex> other;
    if (reopened) {
      ASSERT_TRUE(index.file().trim());
      other = std::make_unique<OffsetIndex>(files, cache, "/i", Offset{1000}, true);
    }
    OffsetIndex& used = reopened ? *other : index;
    EXPECT_EQ(used.lookup({1001})->position, 0);
    EXPECT_EQ(used.lookup({1001})->offset.value, 1000);
    for (int target = 2; target < kEntries * 3 + 10; target += 7) {
      auto found = used.lookup({1000 + target});
      ASSERT_TRUE(found);
      int entry = std::min((target - 2) / 3, kEntries - 1);
      ASSERT_EQ(found->position, entry * 100) << target;
      ASSERT_EQ(found->offset.value, 1000 + entry * 3 + 2);
    }
    EXPECT_TRUE(used.check(kEntries * 100));
    EXPECT_FALSE(used.check(100));
  }
  ASSERT_TRUE(index.truncate_to({1000 + 302}));
  EXPECT_EQ(*index.file().count(), 100u);
  EXPECT_EQ(index.lookup({9000})->position, 9900);
  ASSERT_TRUE(index.append({1000 + 305}, 77777, kMost));
  EXPECT_EQ(index.lookup({9000})->position, 77777);
  EXPECT_EQ(index.last()->offset.value, 1305);
}

TEST(TimeIndex, TakesOnlyRisingTimesAndKeepsAPlaceForTheLast) {
  base::MemoryFiles files;
  FileCache cache(4);
  TimeIndex index(files, cache, "/i", {0}, false);
  ASSERT_TRUE(index.maybe_append(-1, {0}, 48));
  ASSERT_TRUE(index.maybe_append(100, {1}, 48));
  ASSERT_TRUE(index.maybe_append(100, {2}, 48));
  ASSERT_TRUE(index.maybe_append(90, {3}, 48));
  ASSERT_TRUE(index.maybe_append(200, {4}, 48));
  ASSERT_TRUE(index.maybe_append(300, {5}, 48));
  EXPECT_EQ(*index.file().count(), 3u);
  EXPECT_TRUE(*index.full(48));
  ASSERT_TRUE(index.maybe_append(400, {6}, 48));
  EXPECT_EQ(*index.file().count(), 3u);
  ASSERT_TRUE(index.maybe_append(400, {6}, 48, true));
  EXPECT_EQ(*index.file().count(), 4u);
  EXPECT_EQ(index.lookup(250)->offset.value, 4);
  EXPECT_EQ(index.lookup(99)->timestamp, -1);
  EXPECT_EQ(index.last()->timestamp, 400);
}

}  // namespace
}  // namespace odradek::storage
