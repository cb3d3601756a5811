#include "client/offsets.h"

#include "protocol/messages/list_offsets.h"

namespace odradek::client {
namespace {

using protocol::ListOffsetsRequest;
using protocol::ListOffsetsResponse;

ListOffsetsRequest request_for(const std::map<TopicPartition, int64_t>& timestamps, const std::vector<TopicPartition>& partitions, IsolationLevel isolation) {
  ListOffsetsRequest request;
  request.replica_id = -1;
  request.isolation_level = static_cast<int8_t>(isolation);
  request.timeout_ms = 30'000;
  for (const TopicPartition& each : partitions) {
    if (request.topics.empty() || request.topics.back().name != each.topic) request.topics.emplace_back().name = each.topic;
    auto& partition = request.topics.back().partitions.emplace_back();
    partition.partition_index = each.partition;
    partition.timestamp = timestamps.at(each);
  }
  return request;
}

}  // namespace

Result<std::map<TopicPartition, ListedOffset>> list_offsets(Cluster& cluster, const std::map<TopicPartition, int64_t>& timestamps,
                                                            IsolationLevel isolation) {
  std::map<TopicPartition, ListedOffset> result;
  std::vector<TopicPartition> open;
  for (const auto& [partition, timestamp] : timestamps) open.push_back(partition);
  constexpr int kRounds = 8;
  bool waited = false;  // the patience is for all together: one partition without a leader has used it up
  for (int round = 0; !open.empty() && round < kRounds; ++round) {
    if (round > 0) cluster.dialer().pause_until(cluster.dialer().clock().monotonic_ns() + cluster.backoff_ns(round));
    std::map<BrokerId, std::vector<TopicPartition>> by_leader;
    std::vector<TopicPartition> again;
    for (const TopicPartition& partition : open) {
      auto leader = cluster.leader(partition, !waited);
      if (!leader && leader.error().code == ErrorCode::kNetworkException) return fail(std::move(leader.error()));
      if (leader) {
        by_leader[*leader].push_back(partition);
      } else {
        result[partition].error = leader.error().code;
        waited |= leader.error().code == ErrorCode::kLeaderNotAvailable;
      }
    }
    for (const auto& [leader, partitions] : by_leader) {
      auto connection = cluster.hold(TheBroker{leader});
      auto answer = connection ? (*connection)->ask<ListOffsetsResponse>(request_for(timestamps, partitions, isolation))
                               : Result<Answer<ListOffsetsResponse>>(fail(std::move(connection.error())));
      if (!answer && !may_pass(answer.error().code)) return fail(std::move(answer.error()));
      for (const TopicPartition& partition : partitions) result[partition].error = answer ? ErrorCode::kUnknownServerError : answer.error().code;
      if (answer) {
        for (const auto& topic : answer->message.topics) {
          for (const auto& each : topic.partitions) {
            ListedOffset listed{static_cast<ErrorCode>(each.error_code), {each.offset}, each.timestamp};
            if (answer->version == 0 && !each.old_style_offsets.empty()) listed.offset = {each.old_style_offsets[0]};
            result[{topic.name, each.partition_index}] = listed;
          }
        }
      }
      for (const TopicPartition& partition : partitions) {
        if (!may_pass(result[partition].error)) continue;
        cluster.forget_leader(partition);
        again.push_back(partition);
      }
    }
    open = std::move(again);
  }
  return result;
}

}  // namespace odradek::client
