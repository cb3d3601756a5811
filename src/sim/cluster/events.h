// What can happen in a run of a cluster, counted: faults that are made, what clients ask for, and what the cluster does, each transition
// of its state machines among them. Over a set of seeds each must happen. Where a transition is seen: of partitions in the tree
// (judge.cc), of replicas and fetch lanes in the lines that brokers log (sight.cc).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "sim/simulation.h"

namespace odradek::sim {

enum class Event : uint8_t {
  // Faults. Up to kDiskFull they are made one after the other (Faults); the last two in the quiet after a trouble.
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
  kDiskCallFails,     // one call: the dir is offline until the broker starts again
  kLogDirFails,       // every call, also over restarts
  kDiskFull,
  kPowerCutOfAll,
  kLogDirFailsInQuiet,
  // Order.
  kRequestOvertaken,  // two requests of one broker over two connections
  kWatchOvertaken,    // one session hears of a change after another heard of a later one
  // What clients ask for.
  kTopicCreated,
  kTopicDeleted,
  kPartitionsAdded,
  kReassignmentBegun,
  kPreferredElection,
  kRecordsDeleted,
  kThrottled,
  // What the cluster does.
  kLeaderChange,
  kIsrShrink,
  kIsrExpand,
  kControllerChange,
  kTruncation,
  kReassignmentDone,
  kCoordinatorMoved,
  kLeadersGoHome,     // automatic preferred election
  // Partitions, as the controller's state machine has them.
  kPartitionOnline,   // from new
  kPartitionOffline,
  kPartitionBack,     // online from offline
  kPartitionGone,
  // Replicas.
  kBrokerCame,
  kBrokerWent,
  kReplicasOffline,   // on a live broker
  kReplicasOnline,    // again, without a restart
  kDeletionBegun,
  kDeletionRefused,   // by a replica: it is tried again when its broker comes back
  kDeletionDone,
  // Log dirs.
  kDirOffline,
  kDirFull,
  kDirHasRoom,
  // Fetch lanes.
  kLanePipelined,
  kLaneOrdinary,      // the leader does not take pipelined fetches
  kLaneOneByOne,      // the follower does not offer them
  kLanePaused,        // its link failed
  kStartingFetching,
  kFetchingDelayed,
  kFetchingAsking,
  kFetchingThrottled,
  kFetchingFailed,
  kDelayedFetching,
  kAskingFetching,
  kThrottledFetching,
  kLaneCut,           // by a diverging epoch
  kLaneRestarted,     // the leader begins above it
  kCount,
};

inline constexpr std::array<std::string_view, static_cast<size_t>(Event::kCount)> kEventNames = {
    "kill", "kill at a call of the disk", "power cut", "pause", "pause beyond the session", "cut connection", "isolated broker", "parted pair",
    "one-way loss", "broker away from ZooKeeper", "session expiry", "no quorum", "kill of the controller", "controlled shutdown",
    "failed call of a disk", "failed log dir", "full disk", "power cut of all", "failed log dir in the quiet", "overtaken request", "overtaken watch",
    "topic created", "topic deleted", "partitions added", "reassignment begun", "preferred election", "records deleted", "replication throttled",
    "leader change", "ISR shrunk", "ISR expanded", "controller change", "truncation", "reassignment done", "coordinator moved",
    "leaders go to their preferred brokers", "partition online", "partition offline", "partition online again", "partition gone", "broker came", "broker went",
    "replicas offline", "replicas online again", "deletion begun", "deletion refused", "deletion done", "log dir offline", "log dir full", "log dir has room",
    "lane pipelined", "lane one by one for its leader", "lane one by one for its follower", "lane paused", "lane starting to fetching",
    "lane fetching to delayed", "lane fetching to asking", "lane fetching to throttled", "lane fetching to failed", "lane delayed to fetching",
    "lane asking to fetching", "lane throttled to fetching", "lane cuts its log", "lane restarts its log"};
static_assert(static_cast<size_t>(Event::kCount) <= Outcome::kKinds);

struct Events {
  std::array<int64_t, Outcome::kKinds> counts{};
  void count(Event event, int64_t times = 1) { counts[static_cast<size_t>(event)] += times; }
  int64_t of(Event event) const { return counts[static_cast<size_t>(event)]; }
  int64_t faults() const {
    int64_t all = 0;
    for (size_t i = 0; i <= static_cast<size_t>(Event::kLogDirFailsInQuiet); ++i) all += counts[i];
    return all;
  }
};

// Counts what the lines of the brokers' logs tell.
void count_log_line(Events& events, std::string_view logger, std::string_view line);

}  // namespace odradek::sim
