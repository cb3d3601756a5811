#include "client/group_member.h"

#include <algorithm>

#include "protocol/messages/consumer_protocol_assignment.h"
#include "protocol/messages/consumer_protocol_subscription.h"
#include "protocol/messages/heartbeat.h"
#include "protocol/messages/join_group.h"
#include "protocol/messages/leave_group.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"
#include "protocol/messages/sync_group.h"

namespace odradek::client {

using namespace protocol;  // NOLINT: nearly all names here are messages

namespace {
constexpr int16_t kLastWithNames = 9;  // later versions of OffsetCommit and OffsetFetch name topics by id
constexpr std::string_view kRange = "range", kCooperative = "cooperative-sticky";

template <class Response>
ErrorCode code_in(const Response& response) {
  return static_cast<ErrorCode>(response.error_code);
}

// ConsumerProtocol's topics with partitions, from a sorted range.
template <class Topics, class Partitions>
void put(Topics& topics, const Partitions& partitions) {
  for (const TopicPartition& each : partitions) {
    if (topics.empty() || topics.back().topic != each.topic) topics.emplace_back().topic = each.topic;
    topics.back().partitions.push_back(each.partition);
  }
}
}  // namespace

Result<std::unique_ptr<GroupMember>> GroupMember::make(net::Dialer& dialer, base::Random& random, ClusterOptions cluster, GroupMemberOptions options,
                                                       GroupListener listener) {
  // A join is answered when all members have come, which takes the rebalance timeout at most.
  cluster.connection.request_timeout = std::chrono::milliseconds(options.rebalance_timeout_ms + 10'000);
  auto made = Cluster::make(dialer, random, std::move(cluster));
  if (!made) return fail(std::move(made.error()));
  return std::unique_ptr<GroupMember>(new GroupMember(std::move(*made), std::move(options), std::move(listener)));
}

bool GroupMember::upset(ErrorCode code) {
  if (code == ErrorCode::kUnknownMemberId || code == ErrorCode::kIllegalGeneration) {
    give_up({assigned_.begin(), assigned_.end()}, true);
    if (code == ErrorCode::kUnknownMemberId) member_id_.clear();
    generation_ = -1;
  } else if (code != ErrorCode::kRebalanceInProgress) {
    return false;
  }
  joined_ = false;
  return true;
}

void GroupMember::give_up(const std::vector<TopicPartition>& partitions, bool lost) {
  if (partitions.empty()) return;
  listener_.on_revoked(partitions, lost);
  for (const TopicPartition& partition : partitions) assigned_.erase(partition);
}

Result<void> GroupMember::work() {
  if (!joined_) return join();
  if (now_ns() < next_heartbeat_ns_) return {};
  next_heartbeat_ns_ = now_ns() + int64_t{options_.heartbeat_ms} * 1'000'000;
  HeartbeatRequest request;
  request.group_id = options_.group;
  request.generation_id = generation_;
  request.member_id = member_id_;
  request.group_instance_id = options_.instance_id;
  auto answer = cluster_->ask<HeartbeatResponse>(coordinator(), request, code_in<HeartbeatResponse>);
  if (!answer) return fail(std::move(answer.error()));
  ErrorCode code = code_in(answer->message);
  if (code == ErrorCode::kNone) return {};
  return upset(code) ? join() : Result<void>(fail(code, "heartbeat in group " + options_.group));
}

Result<void> GroupMember::join() {
  if (!options_.cooperative) give_up({assigned_.begin(), assigned_.end()}, false);
  for (;;) {
    auto done = join_once();
    if (!done) return fail(std::move(done.error()));
    if (*done) break;
  }
  next_heartbeat_ns_ = now_ns() + int64_t{options_.heartbeat_ms} * 1'000'000;
  return {};
}

Result<bool> GroupMember::join_once() {
  ConsumerProtocolSubscription subscription;
  subscription.topics = options_.topics;
  std::sort(subscription.topics.begin(), subscription.topics.end());
  put(subscription.owned_partitions, assigned_);
  subscription.generation_id = generation_;
  JoinGroupRequest request;
  request.group_id = options_.group;
  request.session_timeout_ms = options_.session_timeout_ms;
  request.rebalance_timeout_ms = options_.rebalance_timeout_ms;
  request.member_id = member_id_;
  request.group_instance_id = options_.instance_id;
  request.protocol_type = "consumer";
  request.protocols.push_back({.name = std::string(options_.cooperative ? kCooperative : kRange), .metadata = encode_versioned(subscription, options_.cooperative ? 2 : 1)});
  auto joined = cluster_->ask<JoinGroupResponse>(coordinator(), request, [](const JoinGroupResponse& response) {
    ErrorCode code = code_in(response);
    return code == ErrorCode::kRebalanceInProgress ? ErrorCode::kNone : code;
  });
  if (!joined) return fail(std::move(joined.error()));
  const JoinGroupResponse& group = joined->message;
  if (ErrorCode code = code_in(group); code == ErrorCode::kMemberIdRequired) {
    member_id_ = group.member_id;
    return false;
  } else if (code != ErrorCode::kNone) {
    if (!upset(code)) return fail(code, "group " + options_.group);
    return false;
  }
  member_id_ = group.member_id;
  generation_ = group.generation_id;
  SyncGroupRequest sync;
  sync.group_id = options_.group;
  sync.generation_id = generation_;
  sync.member_id = member_id_;
  sync.group_instance_id = options_.instance_id;
  sync.protocol_type = "consumer";
  sync.protocol_name = group.protocol_name;
  if (group.leader == member_id_ && !group.skip_assignment) {
    std::map<std::string, Bytes> subscriptions;
    std::map<std::string, std::optional<std::string>> instances;
    for (const auto& member : group.members) {
      subscriptions[member.member_id] = member.metadata;
      instances[member.member_id] = member.group_instance_id;
    }
    auto shares = share_out(group.protocol_name.value_or(""), subscriptions, instances);
    if (!shares) return fail(std::move(shares.error()));
    for (auto& [id, bytes] : *shares) sync.assignments.push_back({.member_id = id, .assignment = std::move(bytes)});
  }
  auto synced = cluster_->ask<SyncGroupResponse>(coordinator(), sync, [](const SyncGroupResponse& response) {
    ErrorCode code = code_in(response);
    return code == ErrorCode::kRebalanceInProgress ? ErrorCode::kNone : code;
  });
  if (!synced) return fail(std::move(synced.error()));
  if (ErrorCode code = code_in(synced->message); code != ErrorCode::kNone) {
    if (!upset(code)) return fail(code, "group " + options_.group);
    return false;
  }
  joined_ = true;
  if (auto taken = take(synced->message.assignment); !taken) return fail(std::move(taken.error()));
  return joined_;
}

Result<std::map<std::string, Bytes>> GroupMember::share_out(const std::string& protocol, const std::map<std::string, Bytes>& subscriptions,
                                                            const std::map<std::string, std::optional<std::string>>& instances) {
  std::vector<GroupMate> members;
  std::set<std::string> topics;
  for (const auto& [id, bytes] : subscriptions) {
    auto subscription = decode_versioned<ConsumerProtocolSubscription>(bytes);
    if (!subscription) return fail(std::move(subscription.error()));
    GroupMate member{.id = id, .instance_id = instances.at(id), .topics = subscription->topics, .owned = {}, .generation = subscription->generation_id};
    for (const auto& topic : subscription->owned_partitions) {
      for (int32_t partition : topic.partitions) member.owned.push_back({topic.topic, partition});
    }
    topics.insert(member.topics.begin(), member.topics.end());
    members.push_back(std::move(member));
  }
  auto metadata = cluster_->metadata(std::vector<std::string>(topics.begin(), topics.end()));
  if (!metadata) return fail(std::move(metadata.error()));
  std::map<std::string, int32_t> partitions;
  for (const auto& topic : metadata->topics) {
    if (topic.error_code == 0 && topic.name) partitions[*topic.name] = static_cast<int32_t>(topic.partitions.size());
  }
  auto assignment = protocol == kCooperative ? assign_cooperative(std::move(members), partitions) : assign_range(std::move(members), partitions);
  std::map<std::string, Bytes> result;
  for (const auto& [id, share] : assignment) {
    ConsumerProtocolAssignment one;
    put(one.assigned_partitions, share);
    result[id] = encode_versioned(one, 1);
  }
  return result;
}

Result<void> GroupMember::take(const Bytes& bytes) {
  std::set<TopicPartition> now;
  if (!bytes.empty()) {
    auto assignment = decode_versioned<ConsumerProtocolAssignment>(bytes);
    if (!assignment) return fail(std::move(assignment.error()));
    for (const auto& topic : assignment->assigned_partitions) {
      for (int32_t partition : topic.partitions) now.insert({topic.topic, partition});
    }
  }
  std::vector<TopicPartition> gone, added;
  std::set_difference(assigned_.begin(), assigned_.end(), now.begin(), now.end(), std::back_inserter(gone));
  std::set_difference(now.begin(), now.end(), assigned_.begin(), assigned_.end(), std::back_inserter(added));
  give_up(gone, false);
  assigned_ = std::move(now);
  if (!added.empty()) {
    if (auto done = listener_.on_assigned(added); !done) return done;
  }
  if (!gone.empty()) joined_ = false;  // the next round gives them to others
  return {};
}

Result<std::map<TopicPartition, Offset>> GroupMember::committed(const std::vector<TopicPartition>& partitions) {
  OffsetFetchRequest request;
  request.group_id = options_.group;
  request.topics.emplace();
  auto& group = request.groups.emplace_back();
  group.group_id = options_.group;
  group.topics.emplace();
  std::map<TopicPartition, Offset> result;
  for (const TopicPartition& each : partitions) {
    result[each] = {-1};
    if (request.topics->empty() || request.topics->back().name != each.topic) {
      request.topics->emplace_back().name = each.topic;
      group.topics->emplace_back().name = each.topic;
    }
    request.topics->back().partition_indexes.push_back(each.partition);
    group.topics->back().partition_indexes.push_back(each.partition);
  }
  auto connection = cluster_->hold(coordinator());
  if (!connection) return fail(std::move(connection.error()));
  auto answer = (*connection)->ask<OffsetFetchResponse>(request, kLastWithNames);
  if (!answer) return fail(std::move(answer.error()));
  ErrorCode code = answer->version < 8 ? code_in(answer->message) : ErrorCode::kNone;
  auto take_offsets = [&](const auto& topics) {
    for (const auto& topic : topics) {
      for (const auto& partition : topic.partitions) {
        if (partition.error_code != 0) code = code_in(partition);
        result[{topic.name, partition.partition_index}] = {partition.committed_offset};
      }
    }
  };
  take_offsets(answer->message.topics);
  for (const auto& each : answer->message.groups) {
    if (each.error_code != 0) code = code_in(each);
    take_offsets(each.topics);
  }
  if (code != ErrorCode::kNone) return fail(code, "committed offsets of group " + options_.group);
  return result;
}

Result<void> GroupMember::commit(const std::map<TopicPartition, Offset>& offsets) {
  if (offsets.empty()) return {};
  OffsetCommitRequest request;
  request.group_id = options_.group;
  request.generation_id_or_member_epoch = generation_;
  request.member_id = member_id_;
  request.group_instance_id = options_.instance_id;
  for (const auto& [each, offset] : offsets) {
    if (request.topics.empty() || request.topics.back().name != each.topic) request.topics.emplace_back().name = each.topic;
    auto& partition = request.topics.back().partitions.emplace_back();
    partition.partition_index = each.partition;
    partition.committed_offset = offset.value;
    partition.committed_metadata = "";
  }
  auto connection = cluster_->hold(coordinator());
  if (!connection) return fail(std::move(connection.error()));
  auto answer = (*connection)->ask<OffsetCommitResponse>(request, kLastWithNames);
  if (!answer) return fail(std::move(answer.error()));
  for (const auto& topic : answer->message.topics) {
    for (const auto& partition : topic.partitions) {
      if (partition.error_code != 0) return fail(code_in(partition), "commit of " + topic.name + "-" + std::to_string(partition.partition_index));
    }
  }
  return {};
}

Result<void> GroupMember::leave() {
  give_up({assigned_.begin(), assigned_.end()}, false);
  if (member_id_.empty() || options_.instance_id) return {};  // a static member comes back
  LeaveGroupRequest request;
  request.group_id = options_.group;
  request.member_id = member_id_;  // up to v2
  request.members.push_back({.member_id = member_id_, .reason = "the command ended"});
  auto answer = cluster_->ask<LeaveGroupResponse>(coordinator(), request);
  if (!answer) return fail(std::move(answer.error()));
  return {};
}

}  // namespace odradek::client
