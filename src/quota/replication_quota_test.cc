#include "quota/replication_quota.h"

#include <gtest/gtest.h>

#include "base/manual_runtime.h"

namespace odradek::quota {
namespace {

struct Fixture : ::testing::Test {
  base::ManualRuntime runtime{nullptr};
  ReplicationQuota quota{runtime.clock(), {.samples = 11, .sample_ms = 1000}};
};
using Quota = Fixture;

TEST_F(Quota, WithoutALimitNothingIsTooMuch) {
  quota.record(INT64_C(1) << 40);
  EXPECT_FALSE(quota.is_exceeded());
}

TEST_F(Quota, ABurstIsPaidOffWithTime) {
  quota.set_limit(1000);
  quota.record(1000);
  EXPECT_FALSE(quota.is_exceeded()) << "as much as is allowed is allowed";
  quota.record(4000);
  EXPECT_TRUE(quota.is_exceeded());
  EXPECT_DOUBLE_EQ(quota.bytes_per_second(), 5000);  // of one sample at least
  runtime.advance(4999);
  EXPECT_TRUE(quota.is_exceeded());
  runtime.advance(1);
  EXPECT_FALSE(quota.is_exceeded());
}

TEST_F(Quota, WhatIsOlderThanAllSamplesCountsNoMore) {
  quota.set_limit(10);
  quota.record(1'000'000);
  runtime.advance(10'999);
  EXPECT_TRUE(quota.is_exceeded());
  runtime.advance(1);
  EXPECT_FALSE(quota.is_exceeded());
  EXPECT_EQ(quota.bytes_per_second(), 0);
}

TEST_F(Quota, ASteadyStreamIsMeasuredAsItIs) {
  for (int i = 0; i < 300; ++i) {
    quota.record(100);
    runtime.advance(100);
  }
  EXPECT_NEAR(quota.bytes_per_second(), 1000, 100);
}

TEST_F(Quota, ANewLimitHoldsAtOnce) {
  quota.record(5000);
  quota.set_limit(1000);
  EXPECT_TRUE(quota.is_exceeded());
  quota.set_limit(ReplicationQuota::kUnlimited);
  EXPECT_FALSE(quota.is_exceeded());
}

}  // namespace
}  // namespace odradek::quota
