#include "storage/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/test_support.h"

namespace odradek::storage {
namespace {

using namespace testing;
using ::testing::ElementsAre;

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

}  // namespace
}  // namespace odradek::storage
