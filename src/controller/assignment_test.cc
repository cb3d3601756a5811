#include "controller/assignment.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/manual_runtime.h"
#include "model/error_code.h"

namespace odradek::controller {
namespace {

std::vector<BrokerRack> racks(std::vector<std::pair<int32_t, const char*>> list) {
  std::vector<BrokerRack> brokers;
  for (auto& [id, rack] : list) brokers.push_back({{id}, rack == nullptr ? std::nullopt : std::optional<std::string>(rack)});
  return brokers;
}

TEST(Assignment, SpreadsLeadersAndReplicasEvenly) {
  base::ManualRuntime runtime;
  auto assignment = assign_replicas(racks({{0, nullptr}, {1, nullptr}, {2, nullptr}, {3, nullptr}, {4, nullptr}}), 50, 3, runtime.random());
  ASSERT_TRUE(assignment);
  std::map<BrokerId, int> leaders, replicas;
  for (const auto& partition : *assignment) {
    ++leaders[partition[0]];
    EXPECT_EQ(std::set<BrokerId>(partition.begin(), partition.end()).size(), 3u);
    for (BrokerId id : partition) ++replicas[id];
  }
  for (const auto& [id, count] : leaders) EXPECT_EQ(count, 10);
  for (const auto& [id, count] : replicas) EXPECT_EQ(count, 30);
}

TEST(Assignment, FollowsThePatternOfKafka) {
  base::ManualRuntime runtime;
  // Five brokers, start 0: the table in Kafka's documentation of the rack-unaware pattern.
  auto assignment = assign_replicas(racks({{0, nullptr}, {1, nullptr}, {2, nullptr}, {3, nullptr}, {4, nullptr}}), 10, 3, runtime.random(), 0);
  ASSERT_TRUE(assignment);
  std::vector<std::vector<int32_t>> ids;
  for (const auto& partition : *assignment) {
    ids.emplace_back();
    for (BrokerId id : partition) ids.back().push_back(id.value);
  }
  EXPECT_EQ(ids, (std::vector<std::vector<int32_t>>{
                     {0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 0}, {4, 0, 1}, {0, 2, 3}, {1, 3, 4}, {2, 4, 0}, {3, 0, 1}, {4, 1, 2}}));
}

TEST(Assignment, PutsReplicasIntoDifferentRacks) {
  base::ManualRuntime runtime;
  auto brokers = racks({{0, "a"}, {1, "b"}, {2, "c"}, {3, "c"}, {4, "a"}, {5, "b"}});
  std::map<int32_t, std::string> rack_of;
  for (const auto& broker : brokers) rack_of[broker.id.value] = *broker.rack;
  for (int round = 0; round < 20; ++round) {
    auto assignment = assign_replicas(brokers, 12, 3, runtime.random());
    ASSERT_TRUE(assignment);
    std::map<BrokerId, int> leaders;
    for (const auto& partition : *assignment) {
      ++leaders[partition[0]];
      std::set<std::string> used;
      for (BrokerId id : partition) used.insert(rack_of[id.value]);
      EXPECT_EQ(used.size(), 3u);
    }
    for (const auto& [id, count] : leaders) EXPECT_EQ(count, 2);
  }
  // More replicas than racks, and racks of unequal size.
  auto many = assign_replicas(racks({{0, "a"}, {1, "a"}, {2, "a"}, {3, "b"}}), 8, 4, runtime.random());
  ASSERT_TRUE(many);
  for (const auto& partition : *many) EXPECT_EQ(std::set<BrokerId>(partition.begin(), partition.end()).size(), 4u);
}

TEST(Assignment, RefusesWhatCannotBe) {
  base::ManualRuntime runtime;
  EXPECT_EQ(assign_replicas(racks({{0, nullptr}}), 1, 2, runtime.random()).error().code, ErrorCode::kInvalidReplicationFactor);
  EXPECT_EQ(assign_replicas({}, 1, 1, runtime.random()).error().code, ErrorCode::kInvalidReplicationFactor);
  EXPECT_EQ(assign_replicas(racks({{0, nullptr}}), 0, 1, runtime.random()).error().code, ErrorCode::kInvalidPartitions);
}

}  // namespace
}  // namespace odradek::controller
