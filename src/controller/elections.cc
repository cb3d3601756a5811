#include "controller/elections.h"

#include <algorithm>
#include <set>

#include "model/error_code.h"

namespace odradek::controller {

Leadership leadership_of(const PartitionRecord& partition) { return {partition.leader, partition.isr, partition.recovering}; }

namespace {

std::vector<BrokerId> isr_of_replicas(const PartitionRecord& partition) {
  std::vector<BrokerId> isr = without(partition.isr, [&](BrokerId broker) { return !contains(partition.replicas, broker); });
  if (!isr.empty()) return isr;
  if (contains(partition.replicas, partition.leader)) return {partition.leader};
  if (partition.replicas.size() == 1) return partition.replicas;
  return {};
}

std::string listed(const std::vector<BrokerId>& brokers) {
  std::string text;
  for (BrokerId id : brokers) text += (text.empty() ? "" : ", ") + std::to_string(id.value);
  return "[" + text + "]";
}

}  // namespace

bool is_led(const PartitionRecord& partition, const Online& online) {
  return partition.leader != kNoBroker && contains(partition.replicas, partition.leader) && online(partition.leader);
}

std::optional<std::string> flaw_of(const PartitionRecord& partition) {
  if (partition.leader != kNoBroker && !contains(partition.replicas, partition.leader)) {
    return "its leader, broker " + std::to_string(partition.leader.value) + ", is none of its replicas " + listed(partition.replicas);
  }
  if (partition.isr.empty()) return "its ISR is empty";
  if (!without(partition.isr, [&](BrokerId broker) { return contains(partition.replicas, broker); }).empty()) {
    return "its ISR " + listed(partition.isr) + " has members that are none of its replicas " + listed(partition.replicas);
  }
  return std::nullopt;
}

std::optional<Leadership> elect_first(const PartitionRecord& partition, const Online& online) {
  std::vector<BrokerId> live = without(partition.replicas, [&](BrokerId broker) { return !online(broker); });
  if (live.empty()) return std::nullopt;
  return Leadership{live.front(), live, false};
}

Leadership elect_among_online(const PartitionRecord& partition, const Online& online, bool unclean) {
  Leadership next = leadership_of(partition);
  const std::vector<BrokerId> isr = isr_of_replicas(partition);
  std::vector<BrokerId> in_sync = without(isr, [&](BrokerId broker) { return !online(broker); });
  if (!in_sync.empty()) {
    next.isr = in_sync;
  } else if (!isr.empty()) {
    // The last one keeps its place: it has everything that was acknowledged.
    bool leader_in_isr = contains(isr, partition.leader);
    next.isr = {leader_in_isr && partition.leader != kNoBroker ? partition.leader : isr.back()};
  }
  if (is_led(partition, online)) return next;

  next.leader = kNoBroker;
  for (BrokerId replica : partition.replicas) {
    if (online(replica) && contains(in_sync, replica)) {
      next.leader = replica;
      return next;
    }
  }
  if (!unclean) return next;
  for (BrokerId replica : partition.replicas) {
    if (online(replica)) return {replica, {replica}, true};
  }
  return next;
}

bool is_unclean(const PartitionRecord& before, const Leadership& next) {
  return next.leader != kNoBroker && next.leader != before.leader && !contains(before.isr, next.leader);
}

std::optional<Leadership> elect_preferred(const PartitionRecord& partition, const Online& online) {
  if (partition.replicas.empty()) return std::nullopt;
  BrokerId preferred = partition.replicas.front();
  if (preferred == partition.leader || !online(preferred) || !contains(partition.isr, preferred)) return std::nullopt;
  return Leadership{preferred, partition.isr, partition.recovering};
}

std::optional<Leadership> elect_for_reassignment(const PartitionRecord& partition, const std::vector<BrokerId>& targets, const Online& online) {
  for (BrokerId target : targets) {
    if (online(target) && contains(partition.isr, target)) return Leadership{target, partition.isr, partition.recovering};
  }
  return std::nullopt;
}

std::string explain(ErrorCode error) {
  switch (error) {
    case ErrorCode::kElectionNotNeeded: return "Leader election not needed for topic partition.";
    case ErrorCode::kEligibleLeadersNotAvailable: return "Eligible topic partition leaders are not available.";
    case ErrorCode::kPreferredLeaderNotAvailable: return "The preferred leader was not available.";
    case ErrorCode::kInvalidTopicException: return "The topic is being deleted";  // of an election
    case ErrorCode::kUnknownTopicOrPartition: return "The partition does not exist.";
    case ErrorCode::kNoReassignmentInProgress: return "No partition reassignment is in progress.";
    case ErrorCode::kNotController: return "This is not the correct controller for this cluster.";
    default: return std::string(name_of(error));
  }
}

std::string explain_reassignment(ErrorCode error, const TopicPartition& tp, const std::optional<std::vector<BrokerId>>& wanted,
                                 const std::vector<BrokerId>& replicas, const std::vector<BrokerId>& live) {
  if (error != ErrorCode::kInvalidReplicaAssignment) return explain(error);
  const std::string reverts = "Unable to revert partition assignment for " + tp.to_string() + " because it would require an unclean leader election.";
  if (!wanted) return reverts;
  const std::vector<BrokerId>& targets = *wanted;
  auto join = [](const std::vector<BrokerId>& brokers) {
    std::string text;
    for (BrokerId id : brokers) text += (text.empty() ? "" : ", ") + std::to_string(id.value);
    return text;
  };
  if (targets.empty()) return "Empty replica list specified in partition reassignment.";
  if (std::set<BrokerId>(targets.begin(), targets.end()).size() != targets.size()) {
    return "Duplicate replica ids in partition reassignment replica list: " + join(targets);
  }
  if (std::any_of(targets.begin(), targets.end(), [](BrokerId id) { return id.value < 0; })) return "Invalid broker id in replica list: " + join(targets);
  if (std::all_of(targets.begin(), targets.end(), [&](BrokerId id) { return contains(replicas, id) || contains(live, id); })) return reverts;
  return "Replica assignment has brokers that are not alive. Replica list: " + join(targets) + ", live broker list: " + join(live);
}

}  // namespace odradek::controller
