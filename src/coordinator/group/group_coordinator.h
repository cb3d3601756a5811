// The group coordinator of this broker: consumer groups and their committed offsets, kept in the partitions of __consumer_offsets
// that it leads. Routes a group id to its partition's shard (group_partitions.h), and puts answers and errors where each version has them.
// Sources: group_coordinator.cc (membership), group_coordinator_offsets.cc, group_coordinator_admin.cc.
// Each call answers exactly once, on the calling thread or another one. An answer leaves when the high watermark has passed what
// was written for it (group_shard.h). While a shard loads: COORDINATOR_LOAD_IN_PROGRESS in the form that each API allows.
// Thread: any; a call takes a shard's turn for some microseconds and never waits for the disk.
// Source: behaviours.md §6, disk.md §7; a 3.9 broker with group.coordinator.new.enable=false.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.h"
#include "base/function.h"
#include "base/result.h"
#include "coordinator/group/group_config.h"
#include "coordinator/runtime/log_access.h"
#include "metrics/registry.h"
#include "model/error_code.h"
#include "model/types.h"
#include "replication/leadership.h"

namespace odradek::protocol {
struct JoinGroupRequest;
struct JoinGroupResponse;
struct SyncGroupRequest;
struct SyncGroupResponse;
struct HeartbeatRequest;
struct HeartbeatResponse;
struct LeaveGroupRequest;
struct LeaveGroupResponse;
struct OffsetCommitRequest;
struct OffsetCommitResponse;
struct OffsetFetchRequest;
struct OffsetFetchResponse;
struct DescribeGroupsRequest;
struct DescribeGroupsResponse;
struct ListGroupsRequest;
struct ListGroupsResponse;
struct DeleteGroupsRequest;
struct DeleteGroupsResponse;
struct OffsetDeleteRequest;
struct OffsetDeleteResponse;
}  // namespace odradek::protocol

namespace odradek::coordinator {

class GroupPartitions;

// Who asks. `version` is the request's: it decides where errors stand in the answer.
struct ClientInfo {
  std::string client_id;
  std::string client_host;  // "/127.0.0.1", as Java prints an address
  int16_t version = 0;
};

template <class Response>
using Reply = UniqueFunction<void(Response)>;

class GroupCoordinator : public replication::LeadershipListener {
 public:
  // `offsets_partitions`: how many partitions __consumer_offsets has now, 0 while it does not exist. Called on any thread; cheap.
  GroupCoordinator(base::Runtime& runtime, LogAccess& log, std::function<int32_t()> offsets_partitions, GroupConfig config);
  ~GroupCoordinator() override;

  void start();
  // Shows the counts of groups and offsets; `registry` outlives the coordinator.
  void register_metrics(metrics::Registry& registry);
  // Everything that waits is answered with COORDINATOR_NOT_AVAILABLE, and so is every later call.
  void stop();

  // Of __consumer_offsets.
  int32_t partition_for(std::string_view group_id) const;

  void join_group(protocol::JoinGroupRequest request, const ClientInfo& client, Reply<protocol::JoinGroupResponse> reply);
  void sync_group(protocol::SyncGroupRequest request, const ClientInfo& client, Reply<protocol::SyncGroupResponse> reply);
  void heartbeat(protocol::HeartbeatRequest request, const ClientInfo& client, Reply<protocol::HeartbeatResponse> reply);
  void leave_group(protocol::LeaveGroupRequest request, const ClientInfo& client, Reply<protocol::LeaveGroupResponse> reply);
  // v1 and later. The topics must exist: the caller has answered for the others.
  void commit_offsets(protocol::OffsetCommitRequest request, const ClientInfo& client, Reply<protocol::OffsetCommitResponse> reply);
  // v1 and later.
  void fetch_offsets(protocol::OffsetFetchRequest request, const ClientInfo& client, Reply<protocol::OffsetFetchResponse> reply);
  void describe_groups(protocol::DescribeGroupsRequest request, const ClientInfo& client, Reply<protocol::DescribeGroupsResponse> reply);
  void list_groups(protocol::ListGroupsRequest request, const ClientInfo& client, Reply<protocol::ListGroupsResponse> reply);
  void delete_groups(protocol::DeleteGroupsRequest request, const ClientInfo& client, Reply<protocol::DeleteGroupsResponse> reply);
  // The topics must exist: the caller has answered for the others.
  void delete_offsets(protocol::OffsetDeleteRequest request, const ClientInfo& client, Reply<protocol::OffsetDeleteResponse> reply);

  // Offsets of partitions that no longer exist are removed from every group here.
  void on_partitions_deleted(std::vector<TopicPartition> partitions);

  // LeadershipListener; partitions of other topics are ignored.
  void on_leader(const TopicPartition& tp, LeaderEpoch epoch) override;
  void on_loading(const TopicPartition& tp, LeaderEpoch epoch) override;
  void on_follower(const TopicPartition& tp, LeaderEpoch epoch) override;
  void on_stopped(const TopicPartition& tp) override;

 private:
  base::Runtime& runtime_;
  const GroupConfig config_;
  const std::unique_ptr<GroupPartitions> partitions_;
  std::vector<metrics::Registration> metrics_;  // read the counts of the shards
};

}  // namespace odradek::coordinator
