#include "coordinator/group/group_coordinator.h"

#include <utility>

#include "base/clock.h"
#include "base/random.h"
#include "base/uuid.h"
#include "coordinator/group/group_partitions.h"
#include "metrics/catalog.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/sync_group.h"

namespace odradek::coordinator {
namespace {

int16_t code(ErrorCode error) { return static_cast<int16_t>(error); }

}  // namespace

GroupCoordinator::GroupCoordinator(base::Runtime& runtime, LogAccess& log, std::function<int32_t()> offsets_partitions, GroupConfig config)
    : runtime_(runtime), config_(config), partitions_(std::make_unique<GroupPartitions>(runtime, log, std::move(offsets_partitions), config_)) {}

GroupCoordinator::~GroupCoordinator() = default;

void GroupCoordinator::start() { partitions_->start(); }
void GroupCoordinator::stop() { partitions_->stop(); }

void GroupCoordinator::register_metrics(metrics::Registry& registry) {
  GroupCounts& counts = partitions_->counts();
  auto show = [&](const metrics::MetricDef& def, std::function<double()> value) {
    metrics_.push_back(registry.callback(def, {}, std::move(value)));
  };
  show(metrics::kNumGroups, [&counts] { return static_cast<double>(counts.total()); });
  const std::pair<const metrics::MetricDef&, GroupState> states[] = {{metrics::kNumGroupsPreparingRebalance, GroupState::kPreparingRebalance},
                                                                     {metrics::kNumGroupsCompletingRebalance, GroupState::kCompletingRebalance},
                                                                     {metrics::kNumGroupsStable, GroupState::kStable},
                                                                     {metrics::kNumGroupsEmpty, GroupState::kEmpty},
                                                                     {metrics::kNumGroupsDead, GroupState::kDead}};
  for (const auto& [def, state] : states) show(def, [&count = counts.of(state)] { return static_cast<double>(count.load(std::memory_order_relaxed)); });
  show(metrics::kNumOffsets, [&counts] { return static_cast<double>(counts.offsets.load(std::memory_order_relaxed)); });
  show(metrics::kOffsetCommits, [&counts] { return static_cast<double>(counts.commits.load(std::memory_order_relaxed)); });
  show(metrics::kOffsetExpirations, [&counts] { return static_cast<double>(counts.expirations.load(std::memory_order_relaxed)); });
  show(metrics::kGroupRebalances, [&counts] { return static_cast<double>(counts.rebalances.load(std::memory_order_relaxed)); });
}

int32_t GroupCoordinator::partition_for(std::string_view group_id) const { return partitions_->partition_for(group_id); }

// --- membership --------------------------------------------------------------------------------------------------------------

void GroupCoordinator::join_group(protocol::JoinGroupRequest request, const ClientInfo& client, Reply<protocol::JoinGroupResponse> reply) {
  JoinRequest join;
  join.member_id = std::move(request.member_id);
  join.instance_id = std::move(request.group_instance_id);
  join.client_id = client.client_id;
  join.client_host = client.client_host;
  join.session_timeout_ms = request.session_timeout_ms;
  join.rebalance_timeout_ms = client.version == 0 ? request.session_timeout_ms : request.rebalance_timeout_ms;
  join.protocol_type = std::move(request.protocol_type);
  join.protocols.reserve(request.protocols.size());
  for (auto& protocol : request.protocols) join.protocols.push_back({std::move(protocol.name), std::move(protocol.metadata)});
  join.require_known_member_id = client.version >= 4 && !join.instance_id;
  join.supports_skip_assignment = client.version >= 9;
  if (join.member_id.empty()) join.uuid = base::to_java_text(base::random_uuid(runtime_.random()));

  JoinAnswer answer = [version = client.version, reply = std::move(reply)](JoinResult result) mutable {
    protocol::JoinGroupResponse response;
    response.error_code = code(result.error);
    response.generation_id = result.generation;
    response.protocol_type = std::move(result.protocol_type);
    response.protocol_name = std::move(result.protocol_name);
    if (version < 7 && !response.protocol_name) response.protocol_name = "";
    response.leader = std::move(result.leader);
    response.skip_assignment = result.skip_assignment;
    response.member_id = std::move(result.member_id);
    response.members.reserve(result.members.size());
    for (auto& member : result.members) {
      auto& to = response.members.emplace_back();
      to.member_id = std::move(member.member_id);
      to.group_instance_id = std::move(member.instance_id);
      to.metadata = std::move(member.metadata);
    }
    reply(std::move(response));
  };
  const GroupConfig& config = config_;
  std::string group_id = std::move(request.group_id);
  std::string_view route = group_id;
  partitions_->on_shard(route, false,
                  [&config, join = std::move(join), answer = std::move(answer), group_id = std::string(route)](GroupShard* shard, ErrorCode why) mutable {
                    if (shard != nullptr &&
                        (join.session_timeout_ms < config.min_session_timeout_ms || join.session_timeout_ms > config.max_session_timeout_ms)) {
                      why = ErrorCode::kInvalidSessionTimeout;
                    }
                    if (why != ErrorCode::kNone) return answer(JoinResult{.error = why, .member_id = std::move(join.member_id)});
                    shard->join(group_id, std::move(join), std::move(answer));
                  });
}

void GroupCoordinator::sync_group(protocol::SyncGroupRequest request, const ClientInfo& client, Reply<protocol::SyncGroupResponse> reply) {
  SyncAnswer answer = [reply = std::move(reply)](SyncResult result) mutable {
    protocol::SyncGroupResponse response;
    response.error_code = code(result.error);
    response.protocol_type = std::move(result.protocol_type);
    response.protocol_name = std::move(result.protocol_name);
    response.assignment = std::move(result.assignment);
    reply(std::move(response));
  };
  if (client.version >= 5 && (!request.protocol_type || !request.protocol_name)) {
    return answer(SyncResult{.error = ErrorCode::kInconsistentGroupProtocol});
  }
  SyncRequest sync;
  sync.member_id = std::move(request.member_id);
  sync.generation = request.generation_id;
  sync.instance_id = std::move(request.group_instance_id);
  sync.protocol_type = std::move(request.protocol_type);
  sync.protocol_name = std::move(request.protocol_name);
  sync.assignments.reserve(request.assignments.size());
  for (auto& assignment : request.assignments) sync.assignments.emplace_back(std::move(assignment.member_id), std::move(assignment.assignment));
  partitions_->on_shard(request.group_id, false,
                  [sync = std::move(sync), answer = std::move(answer), group_id = request.group_id](GroupShard* shard, ErrorCode why) mutable {
                    // What the members agreed on is gone with the former coordinator: they have to join again, and old clients know no
                    // other error that says so.
                    if (why == ErrorCode::kCoordinatorLoadInProgress) why = ErrorCode::kRebalanceInProgress;
                    if (why != ErrorCode::kNone) return answer(SyncResult{.error = why});
                    shard->sync(group_id, std::move(sync), std::move(answer));
                  });
}

void GroupCoordinator::heartbeat(protocol::HeartbeatRequest request, const ClientInfo&, Reply<protocol::HeartbeatResponse> reply) {
  std::string_view route = request.group_id;
  std::string group_id(route);
  partitions_->on_shard(group_id, false, [request = std::move(request), reply = std::move(reply)](GroupShard* shard, ErrorCode why) mutable {
    // Nobody expires while the group is being loaded.
    if (why == ErrorCode::kCoordinatorLoadInProgress) why = ErrorCode::kNone;
    if (shard != nullptr) why = shard->heartbeat(request.group_id, request.member_id, request.generation_id, request.group_instance_id);
    protocol::HeartbeatResponse response;
    response.error_code = code(why);
    reply(std::move(response));
  });
}

void GroupCoordinator::leave_group(protocol::LeaveGroupRequest request, const ClientInfo& client, Reply<protocol::LeaveGroupResponse> reply) {
  if (client.version < 3) {
    request.members.clear();
    request.members.emplace_back().member_id = std::move(request.member_id);
  }
  std::string group_id = request.group_id;
  partitions_->on_shard(group_id, false,
                  [request = std::move(request), version = client.version, reply = std::move(reply)](GroupShard* shard, ErrorCode why) mutable {
                    protocol::LeaveGroupResponse response;
                    response.error_code = code(why);
                    if (shard != nullptr) {
                      auto results = shard->leave(request.group_id, request.members);
                      for (size_t i = 0; i < results.size(); ++i) {
                        auto& to = response.members.emplace_back();
                        to.member_id = std::move(request.members[i].member_id);
                        to.group_instance_id = std::move(request.members[i].group_instance_id);
                        to.error_code = code(results[i]);
                      }
                      // Before v3 there is one member, and its error is the answer.
                      if (version < 3) response.error_code = response.members.front().error_code;
                    }
                    reply(std::move(response));
                  });
}

// --- leadership --------------------------------------------------------------------------------------------------------------

void GroupCoordinator::on_partitions_deleted(std::vector<TopicPartition> partitions) {
  auto shared = std::make_shared<const std::vector<TopicPartition>>(std::move(partitions));  // shared: by all shards
  for (const auto& slot : partitions_->all()) {
    slot->strand->post([slot, shared] {
      if (slot->shard) slot->shard->remove_partitions(*shared);
    });
  }
}

void GroupCoordinator::on_leader(const TopicPartition& tp, LeaderEpoch epoch) {
  if (tp.topic == kGroupMetadataTopic) partitions_->lead(tp.partition, epoch, true);
}

void GroupCoordinator::on_loading(const TopicPartition& tp, LeaderEpoch epoch) {
  if (tp.topic == kGroupMetadataTopic) partitions_->lead(tp.partition, epoch, false);
}

void GroupCoordinator::on_follower(const TopicPartition& tp, LeaderEpoch epoch) {
  if (tp.topic == kGroupMetadataTopic) partitions_->lose(tp.partition, epoch);
}

void GroupCoordinator::on_stopped(const TopicPartition& tp) {
  if (tp.topic == kGroupMetadataTopic) partitions_->lose(tp.partition, kNoLeaderEpoch);
}

}  // namespace odradek::coordinator
