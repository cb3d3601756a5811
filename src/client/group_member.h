// A member of a classic consumer group: joins, syncs, heartbeats when asked to work, commits, leaves. Has its own connections, so
// that a long poll of a fetch never delays a heartbeat. The caller calls work() more often than the session times out.
// Eager ("range"): everything is given up before each rebalance. Cooperative: only what another member gets (KIP-429).
// Errors: kFencedInstanceId, those of cluster.h; lost sessions and rebalances are no errors. Starts no thread. Thread: one at a time.
#pragma once

#include <functional>
#include <map>
#include <set>

#include "client/assignor.h"
#include "client/cluster.h"

namespace odradek::client {

struct GroupMemberOptions {
  std::string group;
  std::vector<std::string> topics;
  std::optional<std::string> instance_id;
  bool cooperative = false;
  int32_t session_timeout_ms = 30'000;
  int32_t rebalance_timeout_ms = 60'000;
  int32_t heartbeat_ms = 3'000;
};

// Called from work() and leave(). `lost`: the group has given the partitions to others already, a commit would fail.
struct GroupListener {
  std::function<void(const std::vector<TopicPartition>&, bool lost)> on_revoked;
  std::function<Result<void>(const std::vector<TopicPartition>&)> on_assigned;  // only what is new
};

class GroupMember {
 public:
  static Result<std::unique_ptr<GroupMember>> make(net::Dialer& dialer, base::Random& random, ClusterOptions cluster, GroupMemberOptions options, GroupListener listener);

  // Joins or rejoins if that is due, else a heartbeat if that is due. A join waits for the other members.
  Result<void> work();
  const std::set<TopicPartition>& assigned() const { return assigned_; }
  // Offset -1: nothing is committed.
  Result<std::map<TopicPartition, Offset>> committed(const std::vector<TopicPartition>& partitions);
  // kNone, or why the group did not take it (the member joins again at the next work()).
  Result<void> commit(const std::map<TopicPartition, Offset>& offsets);
  Result<void> leave();

 private:
  GroupMember(std::unique_ptr<Cluster> cluster, GroupMemberOptions options, GroupListener listener)
      : cluster_(std::move(cluster)), options_(std::move(options)), listener_(std::move(listener)) {}
  Target coordinator() const { return TheCoordinator{CoordinatorType::kGroup, options_.group}; }
  Result<void> join();
  Result<bool> join_once();  // false: once more
  Result<std::map<std::string, Bytes>> share_out(const std::string& protocol, const std::map<std::string, Bytes>& subscriptions,
                                                 const std::map<std::string, std::optional<std::string>>& instances);
  Result<void> take(const Bytes& assignment);
  void give_up(const std::vector<TopicPartition>& partitions, bool lost);
  // Whether the code ends the membership or this generation; sets what comes next.
  bool upset(ErrorCode code);
  int64_t now_ns() const { return cluster_->dialer().clock().monotonic_ns(); }

  std::unique_ptr<Cluster> cluster_;
  const GroupMemberOptions options_;
  const GroupListener listener_;
  std::string member_id_;
  int32_t generation_ = -1;
  bool joined_ = false;
  int64_t next_heartbeat_ns_ = 0;
  std::set<TopicPartition> assigned_;
};

}  // namespace odradek::client
