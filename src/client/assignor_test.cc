#include "client/assignor.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace odradek::client {
namespace {

std::vector<TopicPartition> of(const std::string& topic, std::vector<int32_t> partitions) {
  std::vector<TopicPartition> result;
  for (int32_t partition : partitions) result.push_back({topic, partition});
  return result;
}

TEST(Assignor, RangeGivesTheFirstMembersOneMore) {
  auto shares = assign_range({{.id = "b", .topics = {"t"}}, {.id = "a", .topics = {"t", "u"}}}, {{"t", 5}, {"u", 2}});
  auto a = of("t", {0, 1, 2});
  for (const auto& each : of("u", {0, 1})) a.push_back(each);
  EXPECT_EQ(shares["a"], a);
  EXPECT_EQ(shares["b"], of("t", {3, 4}));
}

TEST(Assignor, RangePutsStaticMembersFirst) {
  auto shares = assign_range({{.id = "a", .topics = {"t"}}, {.id = "z", .instance_id = "i", .topics = {"t"}}}, {{"t", 3}});
  EXPECT_EQ(shares["z"], of("t", {0, 1}));
  EXPECT_EQ(shares["a"], of("t", {2}));
}

TEST(Assignor, CooperativeHoldsBackWhatAnotherStillOwns) {
  std::map<std::string, int32_t> topics{{"t", 4}};
  std::vector<GroupMate> members{{.id = "a", .topics = {"t"}, .owned = of("t", {0, 1, 2, 3}), .generation = 1}, {.id = "b", .topics = {"t"}}};
  auto first = assign_cooperative(members, topics);
  EXPECT_EQ(first["a"], of("t", {0, 1}));
  EXPECT_TRUE(first["b"].empty());
  members[0].owned = first["a"];
  auto second = assign_cooperative(members, topics);
  EXPECT_EQ(second["a"], of("t", {0, 1}));
  EXPECT_EQ(second["b"], of("t", {2, 3}));
}

TEST(Assignor, CooperativeBelievesTheLaterGeneration) {
  auto shares = assign_cooperative({{.id = "a", .topics = {"t"}, .owned = of("t", {0}), .generation = 1},
                                    {.id = "b", .topics = {"t"}, .owned = of("t", {0}), .generation = 2}},
                                   {{"t", 2}});
  EXPECT_EQ(shares["b"], of("t", {0}));
  EXPECT_EQ(shares["a"], of("t", {1}));
}

}  // namespace
}  // namespace odradek::client
