// What can happen in a run of a cluster, counted: faults that are made, and what the cluster does. Over a set of seeds each must happen.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "sim/simulation.h"

namespace odradek::sim {

enum class Event : uint8_t {
  // Faults.
  kKill,
  kKillAtDiskCall,
  kPowerCut,
  kPause,
  kPauseBeyondSession,
  kCutConnection,
  kIsolated,          // from every other broker and ZooKeeper, not from clients
  kPairParted,        // two brokers do not hear each other
  kOneWay,            // one broker does not hear another
  kAwayFromZooKeeper,
  kSessionExpiry,
  kNoQuorum,
  kControllerKill,
  kControlledShutdown,
  // What clients ask for.
  kTopicCreated,
  kTopicDeleted,
  kPartitionsAdded,
  kReassignmentBegun,
  kPreferredElection,
  // What the cluster does.
  kLeaderChange,
  kIsrShrink,
  kIsrExpand,
  kPartitionOffline,
  kControllerChange,
  kTruncation,
  kReassignmentDone,
  kCoordinatorMoved,
  kCount,
};

inline constexpr std::array<std::string_view, static_cast<size_t>(Event::kCount)> kEventNames = {
    "kill", "kill at a call of the disk", "power cut", "pause", "pause beyond the session", "cut connection", "isolated broker", "parted pair",
    "one-way loss", "broker away from ZooKeeper", "session expiry", "no quorum", "kill of the controller", "controlled shutdown", "topic created",
    "topic deleted", "partitions added", "reassignment begun", "preferred election", "leader change", "ISR shrunk", "ISR expanded",
    "partition offline", "controller change", "truncation", "reassignment done", "coordinator moved"};
static_assert(static_cast<size_t>(Event::kCount) <= Outcome::kKinds);

struct Events {
  std::array<int64_t, Outcome::kKinds> counts{};
  void count(Event event) { ++counts[static_cast<size_t>(event)]; }
};

}  // namespace odradek::sim
