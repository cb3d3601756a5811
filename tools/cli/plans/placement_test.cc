#include "cli/plans/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "model/error_code.h"

namespace odradek::cli {
namespace {

using Ids = std::vector<int32_t>;

std::vector<PlacementBroker> brokers(const Ids& ids, const std::vector<std::string>& racks = {}) {
  std::vector<PlacementBroker> result;
  for (size_t i = 0; i < ids.size(); ++i) result.push_back({ids[i], racks.empty() ? std::nullopt : std::optional(racks[i % racks.size()])});
  return result;
}

std::vector<Placed> topic(const std::string& name, const std::vector<Ids>& replicas, int64_t size = 100) {
  std::vector<Placed> result;
  for (size_t i = 0; i < replicas.size(); ++i) result.push_back({{name, static_cast<int32_t>(i)}, replicas[i], size});
  return result;
}

std::vector<Placed> operator+(std::vector<Placed> a, const std::vector<Placed>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// As Kafka creates it: round robin.
std::vector<Placed> round_robin(const std::string& name, int partitions, int factor, const Ids& ids, int64_t size = 100) {
  std::vector<Ids> replicas;
  for (int p = 0; p < partitions; ++p) {
    Ids& one = replicas.emplace_back();
    for (int r = 0; r < factor; ++r) one.push_back(ids[static_cast<size_t>(p + r) % ids.size()]);
  }
  return topic(name, replicas, size);
}

int64_t copied(const std::vector<Move>& moves) {
  int64_t bytes = 0;
  for (const Move& move : moves) bytes += move.copied_bytes();
  return bytes;
}

std::vector<Placed> after(std::vector<Placed> partitions, const std::vector<Move>& moves) {
  for (Placed& each : partitions) {
    for (const Move& move : moves) {
      if (move.partition == each.partition) each.replicas = move.to;
    }
  }
  return partitions;
}

// What must hold of every plan.
void check(const std::vector<Placed>& before, const std::vector<Move>& moves, const PlacementGoal& goal) {
  for (const Move& move : moves) EXPECT_NE(move.from, move.to);
  for (const Placed& each : after(before, moves)) {
    if (each.fixed) continue;
    std::set<int32_t> distinct(each.replicas.begin(), each.replicas.end());
    EXPECT_EQ(distinct.size(), each.replicas.size()) << each.partition.to_string() << " has a replica twice";
    for (int32_t broker : each.replicas) {
      EXPECT_TRUE(std::any_of(goal.brokers.begin(), goal.brokers.end(), [&](const auto& b) { return b.id == broker; })) << each.partition.to_string() << " on " << broker;
    }
  }
}

std::vector<Move> planned(const std::vector<Placed>& partitions, const PlacementGoal& goal) {
  auto moves = plan_moves(partitions, goal);
  EXPECT_TRUE(moves) << moves.error().what;
  check(partitions, *moves, goal);
  return *moves;
}

int64_t spread(const std::map<int32_t, BrokerLoad>& loads, const Ids& ids, int64_t BrokerLoad::* what) {
  int64_t least = INT64_MAX, most = 0;
  for (int32_t id : ids) {
    int64_t value = loads.contains(id) ? loads.at(id).*what : 0;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  return most - least;
}

TEST(Placement, WhatIsBalancedStaysAsItIs) {
  auto partitions = round_robin("a", 12, 3, {1, 2, 3, 4});
  EXPECT_TRUE(planned(partitions, {.brokers = brokers({1, 2, 3, 4}), .balance = true}).empty());
}

TEST(Placement, DrainMovesWhatLiesThereAndNothingElse) {
  auto partitions = round_robin("a", 12, 2, {1, 2, 3, 4}) + round_robin("b", 5, 3, {4, 3, 2, 1}, 7);
  auto moves = planned(partitions, {.brokers = brokers({1, 2, 3})});
  int64_t there = 0;
  for (const Placed& each : partitions) {
    bool on_it = std::count(each.replicas.begin(), each.replicas.end(), 4) > 0;
    there += on_it ? each.size_bytes : 0;
    EXPECT_EQ(on_it, std::any_of(moves.begin(), moves.end(), [&](const Move& m) { return m.partition == each.partition; })) << each.partition.to_string();
  }
  EXPECT_EQ(copied(moves), there);
  for (const Move& move : moves) EXPECT_EQ(move.removed(), Ids{4});
  EXPECT_LE(spread(loads(partitions, moves), {1, 2, 3}, &BrokerLoad::replicas), 1);
}

TEST(Placement, DrainSpreadsLeadersToo) {
  std::vector<Ids> led;
  for (int i = 0; i < 12; ++i) led.push_back({4, 1 + i % 3});
  auto partitions = topic("a", led);
  auto moves = planned(partitions, {.brokers = brokers({1, 2, 3})});
  EXPECT_LE(spread(loads(partitions, moves), {1, 2, 3}, &BrokerLoad::leaders), 1);
  // Also to brokers that hold a replica already and get none.
  partitions = topic("b", std::vector<Ids>(12, {4, 1}));
  moves = planned(partitions, {.brokers = brokers({1, 2, 3})});
  EXPECT_EQ(spread(loads(partitions, moves), {1, 2, 3}, &BrokerLoad::leaders), 0);
}

TEST(Placement, DrainNamesThePartitionThatDoesNotFit) {
  auto moves = plan_moves(round_robin("a", 4, 3, {1, 2, 3}), {.brokers = brokers({1, 2})});
  ASSERT_FALSE(moves);
  EXPECT_EQ(moves.error().code, ErrorCode::kInvalidReplicationFactor);
  EXPECT_THAT(moves.error().what, testing::HasSubstr("a-0 needs 3 replicas, 2 brokers"));
}

TEST(Placement, ANewBrokerGetsItsShareAndOldOnesExchangeNothing) {
  auto partitions = round_robin("a", 12, 3, {1, 2, 3}) + round_robin("b", 8, 2, {1, 2, 3}, 5);
  PlacementGoal goal{.brokers = brokers({1, 2, 3, 4}), .balance = true, .receivers = {4}};
  auto moves = planned(partitions, goal);
  for (const Move& move : moves) EXPECT_EQ(move.added(), Ids{4});
  auto loads_after = loads(partitions, moves);
  EXPECT_EQ(loads_after[4].replicas, (12 * 3 + 8 * 2) / 4);
  EXPECT_EQ(copied(moves), 9 * 100 + 4 * 5) << "its share of each topic";
  EXPECT_LE(spread(loads_after, {1, 2, 3, 4}, &BrokerLoad::replicas), 1);
  EXPECT_GE(loads_after[4].leaders, 4) << "and leads its share";
}

TEST(Placement, OldBrokersThatAreUnevenStaySoWhenANewOneComes) {
  auto partitions = topic("a", std::vector<Ids>(9, {1})) + topic("b", {{2}});
  auto moves = planned(partitions, {.brokers = brokers({1, 2, 3}), .balance = true, .receivers = {3}});
  EXPECT_EQ(moves.size(), 4u);
  for (const Move& move : moves) EXPECT_EQ(move.to, Ids{3});
}

TEST(Placement, OfEqualsTheSmallestMove) {
  std::vector<Placed> partitions = round_robin("a", 8, 1, {1, 2});
  for (size_t i = 0; i < partitions.size(); ++i) partitions[i].size_bytes = 1000 - static_cast<int64_t>(i) * 100;
  auto moves = planned(partitions, {.brokers = brokers({1, 2, 3}), .balance = true, .receivers = {3}});
  ASSERT_EQ(moves.size(), 2u);
  EXPECT_EQ(moves[0].partition, (TopicPartition{"a", 6}));
  EXPECT_EQ(moves[1].partition, (TopicPartition{"a", 7}));
}

TEST(Placement, TopicsOfOnePartitionAreSpreadByTheSumOfAll) {
  std::vector<Placed> partitions;
  for (int i = 0; i < 20; ++i) partitions = partitions + topic("t" + std::to_string(i), {{1 + i % 2}});
  auto moves = planned(partitions, {.brokers = brokers({1, 2, 3, 4}), .balance = true, .receivers = {3, 4}});
  EXPECT_EQ(moves.size(), 10u);
  EXPECT_EQ(spread(loads(partitions, moves), {1, 2, 3, 4}, &BrokerLoad::replicas), 0);
}

TEST(Placement, ReplicasGoToRacksThatHaveNone) {
  // Racks a: 1, 3; b: 2, 4; c: 5. Broker 5 leaves; then rack a and b share.
  auto partitions = topic("t", {{1, 5}, {2, 5}, {5, 3}, {5, 4}});
  auto four = brokers({1, 2, 3, 4}, {"a", "b"});
  auto moves = planned(partitions, {.brokers = four});
  for (const Placed& each : after(partitions, moves)) {
    EXPECT_NE(each.replicas[0] % 2, each.replicas[1] % 2) << each.partition.to_string() << " has both replicas in one rack";
  }
}

TEST(Placement, ARackCountsMoreThanAnEvenShare) {
  // Broker 4 (rack c) leaves; brokers 1 and 2 are in rack a, 3 alone is in b.
  auto partitions = topic("t", std::vector<Ids>(6, {1, 4}));
  auto moves = planned(partitions, {.brokers = {{1, "a"}, {2, "a"}, {3, "b"}}});
  EXPECT_EQ(moves.size(), 6u);
  for (const Move& move : moves) EXPECT_EQ(move.added(), Ids{3});
}

TEST(Placement, BalanceMendsRacksAndIgnoresThemWhenTold) {
  auto partitions = topic("t", {{1, 3}, {3, 1}, {2, 4}, {4, 2}});
  auto four = brokers({1, 2, 3, 4}, {"a", "b"});
  auto moves = planned(partitions, {.brokers = four, .balance = true});
  EXPECT_EQ(copied(moves), 400);
  for (const Placed& each : after(partitions, moves)) EXPECT_NE(each.replicas[0] % 2, each.replicas[1] % 2);
  EXPECT_EQ(spread(loads(partitions, moves), {1, 2, 3, 4}, &BrokerLoad::replicas), 0);
  EXPECT_TRUE(planned(partitions, {.brokers = four, .balance = true, .rack_aware = false}).empty());
}

TEST(Placement, BalanceNeverPutsMoreReplicasOfAPartitionIntoARack) {
  // Rack b is one broker: it holds one replica of everything and may not be relieved of it.
  std::vector<PlacementBroker> three = {{1, "a"}, {2, "a"}, {3, "b"}};
  auto partitions = round_robin("t", 6, 2, {1, 3}) + round_robin("u", 6, 2, {2, 3});
  EXPECT_TRUE(planned(partitions, {.brokers = three, .balance = true}).size() <= 6);
  for (const Placed& each : after(partitions, planned(partitions, {.brokers = three, .balance = true}))) {
    EXPECT_EQ(std::count(each.replicas.begin(), each.replicas.end(), 3), 1) << each.partition.to_string();
  }
}

TEST(Placement, SomeRacksMissingIsAnErrorUnlessTheyAreIgnored) {
  std::vector<PlacementBroker> mixed = {{1, "a"}, {2, std::nullopt}};
  auto partitions = topic("t", {{1}});
  auto moves = plan_moves(partitions, {.brokers = mixed, .balance = true});
  ASSERT_FALSE(moves);
  EXPECT_EQ(moves.error().code, ErrorCode::kInvalidReplicaAssignment);
  EXPECT_TRUE(plan_moves(partitions, {.brokers = mixed, .balance = true, .rack_aware = false}));
}

TEST(Placement, FixedPartitionsCountAndStay) {
  auto fixed = round_robin("old", 6, 1, {1});
  for (Placed& each : fixed) each.fixed = true;
  auto partitions = fixed + topic("new", {{1}, {1}, {1}, {2}});
  auto moves = planned(partitions, {.brokers = brokers({1, 2}), .balance = true});
  for (const Move& move : moves) EXPECT_EQ(move.partition.topic, "new");
  EXPECT_EQ(moves.size(), 1u) << "each topic by itself comes first";
}

TEST(Placement, TheReplicationFactorGrowsAndShrinks) {
  auto partitions = round_robin("t", 6, 2, {1, 2, 3}) + round_robin("other", 3, 1, {1, 2, 3});
  for (Placed& each : partitions) each.fixed = each.partition.topic == "other";
  auto grown = planned(partitions, {.brokers = brokers({1, 2, 3}), .replication_factor = 3});
  EXPECT_EQ(grown.size(), 6u);
  for (const Move& move : grown) EXPECT_EQ(move.added().size(), 1u);
  auto shrunk = planned(after(partitions, grown), {.brokers = brokers({1, 2, 3}), .replication_factor = 1});
  EXPECT_EQ(copied(shrunk), 0);
  // From the broker with most of the topic, be it the leader: then nothing has to be copied to even it out.
  auto uneven = topic("u", {{1, 2}, {1, 3}, {1, 2}, {1, 3}});
  auto one_each = planned(uneven, {.brokers = brokers({1, 2, 3}), .replication_factor = 1});
  EXPECT_EQ(copied(one_each), 0);
  EXPECT_LE(spread(loads(uneven, one_each), {1, 2, 3}, &BrokerLoad::replicas), 1);
  auto left = loads(after(partitions, grown), shrunk);
  EXPECT_LE(spread(left, {1, 2, 3}, &BrokerLoad::replicas), 1);
}

TEST(Placement, AReplicaThatAPlanPutsSomewhereIsNotPaidTwice) {
  // Broker 3 leaves, 4 comes: what 3 held goes to 4 at once.
  auto partitions = round_robin("t", 9, 1, {1, 2, 3});
  auto moves = planned(partitions, {.brokers = brokers({1, 2, 4}), .balance = true});
  EXPECT_EQ(copied(moves), 300);
  for (const Move& move : moves) EXPECT_EQ(move.to, Ids{4});
}

TEST(Placement, AReplicaThatIsThereAlreadyIsNotPaidAtAll) {
  // One replica of two stays, the leader's; evening out keeps the other one instead rather than copy the small topic.
  auto partitions = topic("t0", {{1, 2}}) + topic("t1", {{1, 2}}) + topic("t2", {{1, 2}}) + topic("v", {{1}}, 1);
  auto moves = planned(partitions, {.brokers = brokers({1, 2}), .balance = true, .replication_factor = 1});
  EXPECT_EQ(copied(moves), 0);
  EXPECT_EQ(spread(loads(partitions, moves), {1, 2}, &BrokerLoad::replicas), 0);
}

TEST(Placement, RandomClustersComeToBalanceAndThenRest) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
    int count = 2 + static_cast<int>(below(6));
    Ids ids;
    for (int i = 1; i <= count; ++i) ids.push_back(i);
    bool racks = below(2) == 0;
    auto with_racks = brokers(ids, racks ? std::vector<std::string>{"a", "b", "c"} : std::vector<std::string>{});
    std::vector<Placed> partitions;
    for (size_t t = 0; t < 1 + below(6); ++t) {
      std::vector<Ids> replicas;
      size_t factor = 1 + below(static_cast<size_t>(std::min(count, 3)));
      for (size_t p = 0; p < 1 + below(20); ++p) {
        Ids shuffled = ids;
        std::shuffle(shuffled.begin(), shuffled.end(), random);
        shuffled.resize(factor);
        replicas.push_back(shuffled);
      }
      partitions = partitions + topic("t" + std::to_string(t), replicas, static_cast<int64_t>(below(1000)));
    }
    PlacementGoal goal{.brokers = with_racks, .balance = true};
    auto moves = planned(partitions, goal);
    auto settled = after(partitions, moves);
    if (!racks) {
      EXPECT_LE(spread(loads(settled), ids, &BrokerLoad::replicas), 1) << "round " << round;
    }
    EXPECT_EQ(copied(planned(settled, goal)), 0) << "round " << round << ": a second plan moves again";
    if (count > 3) {
      auto drained = with_racks;
      drained.pop_back();
      for (const Placed& each : after(settled, planned(settled, {.brokers = drained}))) {
        EXPECT_EQ(std::count(each.replicas.begin(), each.replicas.end(), count), 0);
      }
    }
  }
}

}  // namespace
}  // namespace odradek::cli
