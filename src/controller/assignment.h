// Which brokers hold the replicas of new partitions: round robin with a random start and shifted followers, one rack after the other
// where racks are known, so that leaders and replicas spread evenly over brokers and racks. Pure. Source: adminflows.md §1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "model/types.h"

namespace odradek::controller {

struct BrokerRack {
  BrokerId id;
  std::optional<std::string> rack;
};

// Replicas of `partitions` new partitions, preferred leader first. `first_partition`: how many there are already (their number shifts
// the pattern); `fixed_start`: the broker index of the first one instead of a random one, used when partitions are added.
// Racks are ignored unless every broker has one. Errors: kInvalidPartitions, kInvalidReplicationFactor, in Kafka's words.
Result<std::vector<std::vector<BrokerId>>> assign_replicas(std::vector<BrokerRack> brokers, int32_t partitions, int32_t replication_factor,
                                                           base::Random& random, std::optional<size_t> fixed_start = std::nullopt,
                                                           int32_t first_partition = 0);

}  // namespace odradek::controller
