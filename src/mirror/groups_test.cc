#include "mirror/groups.h"

#include <gtest/gtest.h>

namespace odradek::mirror {
namespace {

const TopicPartition kA{"orders", 0}, kB{"orders", 1};

std::optional<Offset> halved(const TopicPartition& partition, Offset offset) {
  if (partition == kB) return std::nullopt;
  return Offset{offset.value / 2};
}
int64_t written(const GroupCommits& source, const GroupCommits& target, const GroupCommits& ours) {
  auto commits = commits_to_write(source, target, ours, halved);
  return commits.contains(kA) ? commits.at(kA).offset.value : -1;
}

TEST(GroupOffsets, AreTranslatedWithTheirMetadataForPartitionsThatAreCopied) {
  auto commits = commits_to_write({{kA, {Offset{20}, "m"}}, {kB, {Offset{20}, ""}}}, {}, {}, halved);
  ASSERT_EQ(commits.size(), 1u);
  EXPECT_EQ(commits.at(kA).offset, Offset{10});
  EXPECT_EQ(commits.at(kA).metadata, "m");
}

TEST(GroupOffsets, GoForward) {
  EXPECT_EQ(written({{kA, {Offset{20}, ""}}}, {{kA, {Offset{8}, ""}}}, {}), 10);
  EXPECT_EQ(written({{kA, {Offset{20}, ""}}}, {{kA, {Offset{10}, ""}}}, {}), -1) << "nothing to be written";
}

TEST(GroupOffsets, GoBackOnlyWhereNobodyElseCommitted) {
  EXPECT_EQ(written({{kA, {Offset{20}, ""}}}, {{kA, {Offset{15}, ""}}}, {}), -1);
  EXPECT_EQ(written({{kA, {Offset{20}, ""}}}, {{kA, {Offset{15}, ""}}}, {{kA, {Offset{15}, ""}}}), 10);
  EXPECT_EQ(written({{kA, {Offset{20}, ""}}}, {{kA, {Offset{15}, ""}}}, {{kA, {Offset{14}, ""}}}), -1);
}

}  // namespace
}  // namespace odradek::mirror
