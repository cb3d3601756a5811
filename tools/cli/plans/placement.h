// Where replicas should lie: a plan that moves as little data as its goal allows. Pure: what is in, what comes out.
// The goal, in this order: every replica on a broker that may hold one; the replicas of a partition spread over racks; each topic's
// replicas spread evenly (counts differ by at most one), then all replicas; leaders spread over what moves. A replica that can stay,
// stays; where one of several must move, it is the smallest.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/types.h"

namespace odradek::cli {

struct PlacementBroker {
  int32_t id = -1;
  std::optional<std::string> rack;
};

struct Placed {
  TopicPartition partition;
  std::vector<int32_t> replicas;  // the first one is the preferred leader
  int64_t size_bytes = 0;         // of one replica
  bool fixed = false;             // counts as load, does not move
};

struct PlacementGoal {
  std::vector<PlacementBroker> brokers;   // may hold replicas afterwards
  bool balance = false;                   // also moves replicas that could stay, so that brokers get equal shares
  std::set<int32_t> receivers;            // only these get replicas by balance; empty: all
  std::optional<int> replication_factor;  // of what is not fixed; nullopt: as it is
  bool rack_aware = true;
};

struct Move {
  TopicPartition partition;
  std::vector<int32_t> from, to;
  int64_t size_bytes = 0;
  std::vector<int32_t> added() const;
  std::vector<int32_t> removed() const;
  int64_t copied_bytes() const { return size_bytes * static_cast<int64_t>(added().size()); }
};

// The partitions whose replicas (or their order) change, by name. Errors: kInvalidReplicationFactor, fewer brokers than replicas;
// kInvalidReplicaAssignment, some brokers have a rack and some have none.
Result<std::vector<Move>> plan_moves(const std::vector<Placed>& partitions, const PlacementGoal& goal);

struct BrokerLoad {
  int64_t replicas = 0, leaders = 0, bytes = 0;
};
// What each broker holds before, or after `moves`.
std::map<int32_t, BrokerLoad> loads(const std::vector<Placed>& partitions, const std::vector<Move>& moves = {});

}  // namespace odradek::cli
