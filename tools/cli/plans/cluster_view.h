// The cluster at one moment: brokers, where every replica lies and how large it is, reassignments under way.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "cli/common/admin.h"
#include "cli/plans/placement.h"
#include "client/cluster.h"

namespace odradek::cli {

struct PartitionView {
  int32_t leader = -1, leader_epoch = -1;
  std::vector<int32_t> replicas, isr, offline;
  bool internal = false;
  bool under_replicated() const { return isr.size() < replicas.size(); }
};

struct LogDirView {
  std::string path;
  ErrorCode error = ErrorCode::kNone;
  int64_t replicas = 0, bytes = 0;
  int64_t total_bytes = -1, usable_bytes = -1;  // of its disk; -1: the broker does not tell
};

struct BrokerView {
  std::string address;
  std::optional<std::string> rack;
  bool answers = true;  // log dirs were told
  std::string why_not;
  std::vector<LogDirView> log_dirs;
};

struct OngoingReassignment {
  std::vector<int32_t> replicas, adding, removing;
  std::vector<int32_t> target() const;  // what it will be
};

struct ClusterView {
  std::string cluster_id;
  int32_t controller = -1;
  std::map<int32_t, BrokerView> brokers;  // alive
  std::map<TopicPartition, PartitionView> partitions;
  std::map<std::pair<int32_t, TopicPartition>, int64_t> sizes;  // of replicas, on brokers that answered
  std::map<TopicPartition, OngoingReassignment> ongoing;

  int64_t size_of(const TopicPartition& partition) const;  // the leader's, or the largest known; 0: none known
  // What the partition has when what is under way has ended: until then Metadata lists those that leave as well. It must be there.
  std::vector<int32_t> wanted_replicas(const TopicPartition& partition) const;
  std::set<int32_t> named() const;                         // in any list of replicas, alive or not
  std::vector<PlacementBroker> placement_brokers(const std::set<int32_t>& ids) const;
  // With the replicas that are wanted. Topics that are not in `topics` are fixed; empty: none is.
  std::vector<Placed> placed(const std::set<std::string>& topics = {}) const;
};

// Without log dirs `sizes` and BrokerView::log_dirs stay empty. A broker that does not answer is noted in its view, no error.
enum class LogDirs { kNo, kYes };
Result<ClusterView> read_cluster(client::Cluster& cluster, LogDirs log_dirs);
Result<std::map<TopicPartition, OngoingReassignment>> list_reassignments(client::Cluster& cluster);
// Fills `sizes` and log dirs of these brokers.
void read_log_dirs(client::Cluster& cluster, const std::set<int32_t>& brokers, ClusterView& view);

// "1.4 GB": decimal units.
std::string shown_bytes(int64_t bytes);
// "8 s", "3 min 20 s", "2 h 5 min".
std::string shown_seconds(double seconds);

}  // namespace odradek::cli
