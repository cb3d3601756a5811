#include "storage/segment/log_file.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "storage/segment/test_support.h"

namespace odradek::storage {
namespace {

using testing::Dir;

constexpr int64_t kBatch = 1000;  // bytes; what they are does not matter here

// Writes and publishes.
void append(LogFile& log, int batches = 1) {
  for (int i = 0; i < batches; ++i) {
    ASSERT_TRUE(log.write(Bytes(kBatch, 'b'), 0));
    log.publish(log.size() + kBatch);
  }
}

TEST(LogFile, StaysOpenWhileSomethingInItIsNotOnTheDisk) {
  Dir dir;
  LogFile log(dir.dir, "/data/p/0.log", 0), second(dir.dir, "/data/p/1.log", 0), third(dir.dir, "/data/p/2.log", 0);
  ASSERT_TRUE(log.create(0));
  append(log);
  ASSERT_TRUE(second.create(0));
  EXPECT_EQ(dir.cache->size(), 2u) << "there is room for one, but the first has unflushed bytes";
  ASSERT_TRUE(log.sync(false));
  EXPECT_FALSE(log.unsynced());
  ASSERT_TRUE(third.create(0));
  EXPECT_EQ(dir.cache->size(), 1u);
  // Opened again, and at the same end.
  ASSERT_TRUE(log.file());
  append(log);
  EXPECT_EQ(*dir.files.open("/data/p/0.log", base::OpenMode::kRead).value()->size(), 2 * kBatch);
}

TEST(LogFile, IsOneFileOfOneGenerationForAsLongAsAResponseHoldsIt) {
  Dir dir;
  LogFile log(dir.dir, "/data/p/0.log", 0), other(dir.dir, "/data/p/1.log", 0);
  ASSERT_TRUE(log.create(0));
  auto held = log.file();
  ASSERT_TRUE(held);
  ASSERT_TRUE(other.create(0));
  ASSERT_EQ(dir.cache->size(), 1u) << "it was closed";
  auto again = log.file();
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *held);
  const uint64_t generation = (*held)->generation();
  log.invalidate_readers();
  EXPECT_NE((*held)->generation(), generation);
}

TEST(LogFile, AFailedWriteLeavesNothingBehindItsEnd) {
  Dir dir;
  LogFile log(dir.dir, "/data/p/0.log", 0);
  ASSERT_TRUE(log.create(0));
  append(log);
  ASSERT_TRUE(log.sync(false));
  dir.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kWrite ? ENOSPC : 0; });
  auto written = log.write(Bytes(kBatch, 'x'), 0);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().os_error, ENOSPC);
  EXPECT_EQ(log.size(), kBatch);
  EXPECT_EQ(*(*log.file())->file().size(), kBatch);
  EXPECT_TRUE(log.unsynced()) << "half of it may be on the disk";
  dir.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kWrite || call == base::FileCall::kTruncate ? ENOSPC : 0; });
  EXPECT_EQ(log.write(Bytes(kBatch, 'x'), 0).error().os_error, EIO) << "no append may follow";
}

TEST(LogFile, WhatWasCutOffIsUnsyncedUntilASyncSucceeds) {
  Dir dir;
  LogFile log(dir.dir, "/data/p/0.log", 0);
  ASSERT_TRUE(log.create(0));
  append(log, 3);
  ASSERT_TRUE(log.sync(false));
  const int64_t syncs = dir.files.calls(base::FileCall::kSync);
  ASSERT_TRUE(log.sync(false));
  EXPECT_EQ(dir.files.calls(base::FileCall::kSync), syncs) << "there was nothing to do";
  auto held = *log.file();
  const uint64_t generation = held->generation();
  ASSERT_TRUE(log.cut_to(kBatch));
  EXPECT_EQ(log.size(), kBatch);
  EXPECT_NE(held->generation(), generation);
  EXPECT_EQ(*held->file().size(), kBatch);
  EXPECT_TRUE(log.unsynced());
  dir.files.set_fault([](base::FileCall call, const std::string&) { return call == base::FileCall::kSync ? EIO : 0; });
  EXPECT_FALSE(log.sync(false));
  EXPECT_TRUE(log.unsynced());
  dir.files.set_fault({});
  EXPECT_TRUE(log.sync(false));
  EXPECT_FALSE(log.unsynced());
}

TEST(LogFile, GivesThePreallocatedRestBack) {
  Dir dir;
  LogFile log(dir.dir, "/data/p/0.log", 0);
  ASSERT_TRUE(log.create(1 << 20));
  append(log);
  EXPECT_EQ(*(*log.file())->file().size(), 1 << 20);
  ASSERT_TRUE(log.sync(false));
  ASSERT_TRUE(log.trim());
  EXPECT_EQ(*(*log.file())->file().size(), kBatch);
  EXPECT_TRUE(log.unsynced());
  // Emptied, it gets its room again with the next write.
  ASSERT_TRUE(log.cut_to(0));
  ASSERT_TRUE(log.write(Bytes(kBatch, 'b'), 1 << 20));
  EXPECT_EQ(*(*log.file())->file().size(), 1 << 20);
}

}  // namespace
}  // namespace odradek::storage
