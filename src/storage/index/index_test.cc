// Indexes over their file.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

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

// --- a truncation while somebody searches -----------------------------------------------------------------------------------

// Calls `then` once, in the middle of the next search: when it reads the file. From a thread of its own, as a truncation comes: here the
// files' lock is held. It may touch no file.
void at_next_read(base::MemoryFiles& files, std::function<void()> then) {
  auto due = std::make_shared<bool>(true);
  files.set_fault([due, then = std::move(then)](base::FileCall call, const std::string&) {
    if (call == base::FileCall::kRead && std::exchange(*due, false)) std::thread(then).join();
    return 0;
  });
}

TEST(OffsetIndex, ASearchThatATruncationOvertakesBeginsAtTheStartOfTheSegment) {
  base::MemoryFiles files;
  FileCache cache(4);
  constexpr int32_t kMost = 1 << 20;
  OffsetIndex index(files, cache, "/i", {1000}, false);
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(index.append({1000 + i}, i * 100, kMost));
  auto cut_to = [&](uint32_t count) { return [&index, count] { ASSERT_TRUE(index.file().truncate(count)); }; };

  at_next_read(files, cut_to(1500));
  auto found = index.lookup({1000 + 1700});
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->offset.value, 1000);
  EXPECT_EQ(found->position, 0);
  EXPECT_EQ(index.lookup({1000 + 1700})->position, 149'900);

  ASSERT_TRUE(index.file().truncate(1400));  // nothing of it has been read yet
  at_next_read(files, cut_to(900));
  auto before = index.batch_before(120'000, false);
  ASSERT_TRUE(before) << before.error().what;
  EXPECT_FALSE(*before);
  EXPECT_EQ((*index.batch_before(120'000, false))->position, 89'800);

  ASSERT_TRUE(index.file().truncate(800));
  at_next_read(files, cut_to(300));
  EXPECT_EQ(index.last()->position, 29'900);
}

// Under ThreadSanitizer too. What was found lies at or below what was searched, whichever entries stood there.
TEST(OffsetIndex, SearchesWhileItIsCutAndFilledAgain) {
  base::MemoryFiles files;
  FileCache cache(4);
  OffsetIndex index(files, cache, "/i", {0}, false);
  std::atomic<bool> ended{false};
  std::thread searcher([&] {
    for (int target = 0; !ended.load(std::memory_order_relaxed); target = (target + 37) % 6000) {
      auto found = index.lookup({target});
      ASSERT_TRUE(found) << found.error().what;
      ASSERT_LE(found->offset.value, target);
      ASSERT_EQ(found->position, found->offset.value * 10);
      auto before = index.batch_before(target * 10, false);
      ASSERT_TRUE(before) << before.error().what;
      if (*before) {
        ASSERT_LE((*before)->position, target * 10);
      }
      ASSERT_TRUE(index.last());
    }
  });
  for (int round = 0; round < 300; ++round) {
    const int step = 1 + round % 5;
    for (int i = 0, offset = 3; i < 1000; ++i, offset += step) {
      auto newest = index.last();
      ASSERT_TRUE(newest);
      if (newest->offset.value < offset) {
        ASSERT_TRUE(index.append({offset}, offset * 10, 1 << 20));
      }
    }
    ASSERT_TRUE(index.file().truncate(static_cast<uint32_t>(round % 200)));
  }
  ended = true;
  searcher.join();
}

TEST(OffsetIndex, ABatchBeforeStandsInTheFileWhenTheOneAboveItIsInMemory) {
  base::MemoryFiles files;
  FileCache cache(4);
  OffsetIndex index(files, cache, "/i", {0}, false);
  for (int i = 0; i < 2 * static_cast<int>(IndexFile::kPending) + 2; ++i) ASSERT_TRUE(index.append({i}, i * 100, 1 << 20));
  for (int i = 1; i < 2 * static_cast<int>(IndexFile::kPending) + 2; ++i) {
    auto before = index.batch_before(i * 100 + 50, false);
    ASSERT_TRUE(before && *before) << i;
    EXPECT_EQ((*before)->position, (i - 1) * 100);
  }
  EXPECT_FALSE(*index.batch_before(50, false));
}

TEST(TimeIndex, ASearchThatATruncationOvertakesBeginsAtTheStartOfTheSegment) {
  base::MemoryFiles files;
  FileCache cache(4);
  constexpr int32_t kMost = 1 << 20;
  TimeIndex index(files, cache, "/i", {50}, false);
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(index.maybe_append(i * 10, {50 + i}, kMost));

  at_next_read(files, [&] { ASSERT_TRUE(index.file().truncate(1000)); });
  auto found = index.lookup(15'000);
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->timestamp, kNoTimestamp);
  EXPECT_EQ(found->offset.value, 50);
  EXPECT_EQ(index.lookup(15'000)->timestamp, 9'990);

  ASSERT_TRUE(index.file().truncate(800));
  at_next_read(files, [&] { ASSERT_TRUE(index.file().truncate(300)); });
  EXPECT_EQ(index.last()->timestamp, 2'990);
}

}  // namespace
}  // namespace odradek::storage
