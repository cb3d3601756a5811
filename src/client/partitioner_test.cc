#include "client/partitioner.h"

#include <gtest/gtest.h>

#include <set>

#include "base/manual_runtime.h"

namespace odradek::client {
namespace {

TEST(Partitioner, Murmur2GivesTheValuesOfKafkasJavaClient) {
  // Kafka's own tests hold these.
  EXPECT_EQ(static_cast<int32_t>(murmur2(as_bytes("21"))), -973932308);
  EXPECT_EQ(static_cast<int32_t>(murmur2(as_bytes("foobar"))), -790332482);
  EXPECT_EQ(static_cast<int32_t>(murmur2(as_bytes("a-little-bit-long-string"))), -985981536);
  EXPECT_EQ(static_cast<int32_t>(murmur2(as_bytes("a-little-bit-longer-string"))), -1486304829);
  EXPECT_EQ(static_cast<int32_t>(murmur2(as_bytes("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"))), -58897971);
  EXPECT_EQ(static_cast<int32_t>(murmur2(as_bytes("abc"))), 479470107);
}

TEST(Partitioner, NegativeHashLosesItsSignOnly) {
  EXPECT_EQ(partition_of_key(as_bytes("21"), 1000), (-973932308 & 0x7fffffff) % 1000);
  EXPECT_EQ(partition_of_key(as_bytes("abc"), 1), 0);
}

TEST(Partitioner, StickyChangesThePartitionAfterItsBytesAndMeetsAll) {
  base::ManualRuntime runtime;
  StickyPartitioner sticky(runtime.random(), 100);
  std::set<int32_t> seen;
  for (int round = 0; round < 100; ++round) {
    int32_t first = sticky.next(50, 5);
    EXPECT_EQ(sticky.next(50, 5), first);
    seen.insert(first);
  }
  EXPECT_EQ(seen.size(), 5u);
}

}  // namespace
}  // namespace odradek::client
