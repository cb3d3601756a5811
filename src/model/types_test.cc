#include "model/types.h"

#include <gtest/gtest.h>

namespace odradek {

TEST(CoordinatorPartition, HashesAsJavaDoes) {
  EXPECT_EQ(java_hash("grp1"), 3181548);
  EXPECT_EQ(java_hash("gtx"), 102699);
  EXPECT_EQ(java_hash("tx-1"), 3572520);
  EXPECT_EQ(java_hash("\xc3\xa9"), 0xe9);
  EXPECT_EQ(java_hash("\xf0\x9f\x98\x80"), static_cast<int32_t>(31 * 0xd83d + 0xde00));
  EXPECT_EQ(coordinator_partition("grp1", 3), 0);
}

TEST(TopicName, KafkasRulesHold) {
  EXPECT_EQ(topic_name_fault("a.b_c-9"), "");
  EXPECT_NE(topic_name_fault(""), "");
  EXPECT_NE(topic_name_fault(".."), "");
  EXPECT_NE(topic_name_fault("a b"), "");
  EXPECT_EQ(topic_name_fault(std::string(249, 'x')), "");
  EXPECT_NE(topic_name_fault(std::string(250, 'x')), "");
}

}  // namespace odradek
