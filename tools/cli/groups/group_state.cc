#include "cli/groups/group_state.h"

#include <algorithm>

#include "client/offsets.h"
#include "protocol/messages/consumer_group_describe.h"
#include "protocol/messages/consumer_protocol_assignment.h"
#include "protocol/messages/describe_groups.h"
#include "protocol/messages/offset_fetch.h"

namespace odradek::cli {
namespace {

using protocol::DescribeGroupsRequest;
using protocol::DescribeGroupsResponse;
using protocol::OffsetFetchRequest;
using protocol::OffsetFetchResponse;

client::Target coordinator(const std::string& group) { return client::TheCoordinator{client::CoordinatorType::kGroup, group}; }

// Groups of the protocol of KIP-848 do not exist for DescribeGroups. Changes nothing if the group is none of these.
Result<void> read_members_of_new_protocol(client::Cluster& cluster, GroupState& group) {
  protocol::ConsumerGroupDescribeRequest request;
  request.group_ids = {group.name};
  auto answer = cluster.ask<protocol::ConsumerGroupDescribeResponse>(coordinator(group.name), request, [](const protocol::ConsumerGroupDescribeResponse& response) {
    return response.groups.empty() ? ErrorCode::kNone : static_cast<ErrorCode>(response.groups[0].error_code);
  });
  if (!answer && answer.error().code != ErrorCode::kUnsupportedVersion) return fail(std::move(answer.error()));
  if (!answer || answer->message.groups.size() != 1 || answer->message.groups[0].error_code != 0) return {};
  auto& described = answer->message.groups[0];
  group.state = described.group_state;
  group.protocol_type = "consumer";
  group.assignor = described.assignor_name;
  for (auto& each : described.members) {
    GroupState::Member member{each.member_id, each.client_id, each.client_host, each.instance_id, {}};
    for (const auto& topic : each.assignment.topic_partitions) {
      for (int32_t partition : topic.partitions) member.assigned.push_back({topic.topic_name, partition});
    }
    std::sort(member.assigned.begin(), member.assigned.end());
    for (const TopicPartition& partition : member.assigned) group.partitions[partition];
    group.members.push_back(std::move(member));
  }
  return {};
}

Result<void> read_members(client::Cluster& cluster, GroupState& group) {
  DescribeGroupsRequest request;
  request.groups = {group.name};
  auto answer = cluster.ask<DescribeGroupsResponse>(coordinator(group.name), request, [](const DescribeGroupsResponse& response) {
    return response.groups.empty() ? ErrorCode::kNone : static_cast<ErrorCode>(response.groups[0].error_code);
  });
  if (!answer) return fail(std::move(answer.error()));
  if (answer->message.groups.size() != 1) return fail(ErrorCode::kUnknownServerError, "the answer does not name group " + group.name);
  auto& described = answer->message.groups[0];
  auto code = static_cast<ErrorCode>(described.error_code);
  group.state = code == ErrorCode::kGroupIdNotFound ? "Dead" : described.group_state;
  if (code != ErrorCode::kNone && code != ErrorCode::kGroupIdNotFound) return fail(code, "group " + group.name + ": " + described.error_message.value_or(""));
  if (group.state == "Dead") return read_members_of_new_protocol(cluster, group);
  group.protocol_type = described.protocol_type;
  group.assignor = described.protocol_data;
  for (auto& each : described.members) {
    GroupState::Member member{each.member_id, each.client_id, each.client_host, each.group_instance_id, {}};
    bool readable = described.protocol_type == "consumer" && !each.member_assignment.empty();
    if (auto assignment = readable ? protocol::decode_versioned<protocol::ConsumerProtocolAssignment>(each.member_assignment)
                                   : Result<protocol::ConsumerProtocolAssignment>(fail(ErrorCode::kInvalidRequest, ""))) {
      for (const auto& topic : assignment->assigned_partitions) {
        for (int32_t partition : topic.partitions) member.assigned.push_back({topic.topic, partition});
      }
    }
    std::sort(member.assigned.begin(), member.assigned.end());
    for (const TopicPartition& partition : member.assigned) group.partitions[partition];
    group.members.push_back(std::move(member));
  }
  return {};
}

Result<void> read_commits(client::Cluster& cluster, GroupState& group) {
  OffsetFetchRequest request;
  request.group_id = group.name;  // up to v7
  request.topics.reset();
  auto& asked = request.groups.emplace_back();
  asked.group_id = group.name;
  asked.topics.reset();
  constexpr int16_t kLastWithNames = 9;
  auto connection = cluster.hold(coordinator(group.name));
  if (!connection) return fail(std::move(connection.error()));
  auto answer = (*connection)->ask<OffsetFetchResponse>(request, kLastWithNames);
  if (!answer) return fail(std::move(answer.error()));
  auto take = [&](const auto& topics) {
    for (const auto& topic : topics) {
      for (const auto& partition : topic.partitions) {
        if (partition.error_code != 0 || partition.committed_offset < 0) continue;
        auto& offsets = group.partitions[{topic.name, partition.partition_index}];
        offsets.committed = partition.committed_offset;
        offsets.metadata = partition.metadata.value_or("");
      }
    }
  };
  int16_t code = answer->message.error_code;
  if (answer->version >= 8) {
    for (const auto& each : answer->message.groups) {
      code = each.error_code;
      take(each.topics);
    }
  } else {
    take(answer->message.topics);
  }
  if (code != 0) return fail(static_cast<ErrorCode>(code), "offsets of group " + group.name);
  return {};
}

}  // namespace

Result<GroupState> read_group(client::Cluster& cluster, const std::string& name) {
  GroupState group;
  group.name = name;
  if (auto read = read_members(cluster, group); !read) return fail(std::move(read.error()));
  if (auto read = read_commits(cluster, group); !read) return fail(std::move(read.error()));
  std::map<TopicPartition, int64_t> wanted;
  for (const auto& [partition, offsets] : group.partitions) wanted[partition] = client::kLatestTimestamp;
  auto ends = client::list_offsets(cluster, wanted);
  if (!ends) return fail(std::move(ends.error()));
  for (const auto& [partition, end] : *ends) {
    if (end.error == ErrorCode::kNone) group.partitions[partition].end = end.offset.value;
  }
  return group;
}

}  // namespace odradek::cli
