// The steps of a reassignment: start, cancel, throttle, watch. All of them are requests to the cluster (KIP-455); the cluster goes on when
// this program ends.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/common/session.h"
#include "cli/plans/cluster_view.h"
#include "cli/plans/plan_file.h"

namespace odradek::cli {

struct PartitionFault {
  TopicPartition partition;
  Error error;
};

// What the controller refused, partition by partition. Log dirs that the plan names are told to their brokers as well.
Result<std::vector<PartitionFault>> start_reassignment(Session& session, client::Cluster& cluster, const std::vector<PlanEntry>& plan);
// Replicas go back to what they were.
Result<std::vector<PartitionFault>> cancel_reassignment(Session& session, client::Cluster& cluster, const std::set<TopicPartition>& partitions);

// Limits what the moving replicas copy, in bytes a second for each broker: {leader,follower}.replication.throttled.replicas of the topics,
// {leader,follower}.replication.throttled.rate of the brokers. A topic that throttles all its replicas ("*") stays as it is.
Result<void> set_throttle(client::Cluster& cluster, const std::map<TopicPartition, OngoingReassignment>& moving, int64_t bytes_per_second);
// Takes it away from these; returns how many resources had one. Brokers that do not answer keep theirs and are named in `unreached`.
Result<int> clear_throttle(client::Cluster& cluster, const std::set<std::string>& topics, const std::set<int32_t>& brokers, std::vector<int32_t>& unreached);

struct WatchResult {
  bool done = false;
  double seconds = 0;
  int64_t total_bytes = 0, copied_bytes = 0;           // of replicas that are added; what was there at the begin counts as copied
  size_t partitions = 0;                               // that were under way
  std::map<TopicPartition, OngoingReassignment> left;  // still under way
  std::set<int32_t> dead;                              // brokers that something waits for and that are not alive
};

// Until nothing of `scope` (empty: nothing at all) is under way, or for `limit_s` seconds; 0: looks once.
Result<WatchResult> watch_reassignment(Session& session, client::Cluster& cluster, const std::set<TopicPartition>& scope, std::optional<int64_t> limit_s);

// Preferred leaders; how many partitions changed theirs. Partitions whose preferred leader cannot lead are left.
Result<int> elect_preferred(Session& session, client::Cluster& cluster, const std::set<TopicPartition>& partitions);

}  // namespace odradek::cli
