#include "cli/plans/cluster_view.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace odradek::cli {
namespace {

using Ids = std::vector<int32_t>;

// A broker that answers Metadata lists what comes and what goes.
ClusterView with_one_on_its_way() {
  ClusterView view;
  for (int32_t id = 1; id <= 5; ++id) view.brokers[id];
  view.partitions[{"t", 0}].replicas = {4, 5, 1, 2};
  view.partitions[{"t", 1}].replicas = {2, 3};
  view.ongoing[{"t", 0}] = {.replicas = {4, 5, 1, 2}, .adding = {4, 5}, .removing = {1, 2}};
  return view;
}

TEST(ClusterView, APartitionOnItsWayCountsAsWhatItWillBe) {
  ClusterView view = with_one_on_its_way();
  auto placed = view.placed();
  ASSERT_EQ(placed.size(), 2u);
  EXPECT_EQ(placed[0].replicas, (Ids{4, 5}));
  EXPECT_EQ(placed[1].replicas, (Ids{2, 3}));
  EXPECT_EQ(view.wanted_replicas({"t", 0}), (Ids{4, 5}));
  EXPECT_EQ(view.named(), (std::set<int32_t>{1, 2, 3, 4, 5}));
}

TEST(ClusterView, APlanBesideAnotherKeepsTheReplicationFactor) {
  ClusterView view = with_one_on_its_way();
  auto moves = plan_moves(view.placed(), {.brokers = view.placement_brokers({1, 2, 3, 4})});  // 5 is to be empty
  ASSERT_TRUE(moves) << moves.error().what;
  ASSERT_EQ(moves->size(), 1u);
  EXPECT_EQ(moves->at(0).partition, (TopicPartition{"t", 0}));
  EXPECT_EQ(moves->at(0).to.size(), 2u);
  EXPECT_EQ(std::count(moves->at(0).to.begin(), moves->at(0).to.end(), 5), 0);
}

}  // namespace
}  // namespace odradek::cli
