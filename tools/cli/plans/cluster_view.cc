#include "cli/plans/cluster_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "protocol/messages/describe_log_dirs.h"
#include "protocol/messages/list_partition_reassignments.h"

namespace odradek::cli {

using protocol::DescribeLogDirsRequest;
using protocol::DescribeLogDirsResponse;
using protocol::ListPartitionReassignmentsRequest;
using protocol::ListPartitionReassignmentsResponse;

std::vector<int32_t> OngoingReassignment::target() const {
  std::vector<int32_t> left;
  for (int32_t each : replicas) {
    if (std::count(removing.begin(), removing.end(), each) == 0) left.push_back(each);
  }
  return left;
}

int64_t ClusterView::size_of(const TopicPartition& partition) const {
  auto found = partitions.find(partition);
  if (found == partitions.end()) return 0;
  if (auto size = sizes.find({found->second.leader, partition}); size != sizes.end()) return size->second;
  int64_t largest = 0;
  for (int32_t broker : found->second.replicas) {
    if (auto size = sizes.find({broker, partition}); size != sizes.end()) largest = std::max(largest, size->second);
  }
  return largest;
}

std::vector<int32_t> ClusterView::wanted_replicas(const TopicPartition& partition) const {
  auto moving = ongoing.find(partition);
  return moving == ongoing.end() ? partitions.at(partition).replicas : moving->second.target();
}

std::set<int32_t> ClusterView::named() const {
  std::set<int32_t> ids;
  for (const auto& [name, partition] : partitions) ids.insert(partition.replicas.begin(), partition.replicas.end());
  return ids;
}

std::vector<PlacementBroker> ClusterView::placement_brokers(const std::set<int32_t>& ids) const {
  std::vector<PlacementBroker> result;
  for (int32_t id : ids) result.push_back({id, brokers.contains(id) ? brokers.at(id).rack : std::nullopt});
  return result;
}

std::vector<Placed> ClusterView::placed(const std::set<std::string>& topics) const {
  std::vector<Placed> result;
  for (const auto& [name, partition] : partitions) {
    result.push_back({name, wanted_replicas(name), size_of(name), !topics.empty() && !topics.contains(name.topic)});
  }
  return result;
}

Result<std::map<TopicPartition, OngoingReassignment>> list_reassignments(client::Cluster& cluster) {
  ListPartitionReassignmentsRequest request;
  auto answer = cluster.ask<ListPartitionReassignmentsResponse>(client::TheController{}, request, [](const auto& response) { return code_of(response.error_code); });
  if (!answer) return fail(std::move(answer.error()));
  if (answer->message.error_code != 0) return fail(code_of(answer->message.error_code), "reassignments: " + answer->message.error_message.value_or(""));
  std::map<TopicPartition, OngoingReassignment> ongoing;
  for (const auto& topic : answer->message.topics) {
    for (const auto& partition : topic.partitions) {
      ongoing[{topic.name, partition.partition_index}] = {partition.replicas, partition.adding_replicas, partition.removing_replicas};
    }
  }
  return ongoing;
}

void read_log_dirs(client::Cluster& cluster, const std::set<int32_t>& brokers, ClusterView& view) {
  for (int32_t id : brokers) {
    BrokerView& broker = view.brokers[id];
    broker.log_dirs.clear();
    DescribeLogDirsRequest request;
    request.topics.reset();
    auto answer = cluster.ask<DescribeLogDirsResponse>(client::TheBroker{BrokerId{id}}, request);
    broker.answers = answer && answer->message.error_code == 0;
    if (!broker.answers) {
      broker.why_not = answer ? std::string(name_of(code_of(answer->message.error_code))) : answer.error().what;
      continue;
    }
    for (const auto& dir : answer->message.results) {
      LogDirView& seen = broker.log_dirs.emplace_back();
      seen.path = dir.log_dir;
      seen.error = code_of(dir.error_code);
      seen.total_bytes = dir.total_bytes;
      seen.usable_bytes = dir.usable_bytes;
      for (const auto& topic : dir.topics) {
        for (const auto& partition : topic.partitions) {
          seen.bytes += partition.partition_size;
          if (partition.is_future_key) continue;
          ++seen.replicas;
          view.sizes[{id, {topic.name, partition.partition_index}}] = partition.partition_size;
        }
      }
    }
    std::sort(broker.log_dirs.begin(), broker.log_dirs.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  }
}

Result<ClusterView> read_cluster(client::Cluster& cluster, LogDirs log_dirs) {
  auto metadata = cluster.metadata(std::nullopt);
  if (!metadata) return fail(std::move(metadata.error()));
  ClusterView view;
  view.cluster_id = cluster.cluster_id();
  view.controller = quorum_leader(cluster, client::AnyBroker{}).value_or(cluster.controller().value);
  std::set<int32_t> ids;
  for (const auto& [id, broker] : cluster.brokers()) {
    ids.insert(id.value);
    view.brokers[id.value] = {.address = fmt::format("{}:{}", broker.address.host, broker.address.port), .rack = broker.rack, .answers = true, .why_not = {}, .log_dirs = {}};
  }
  for (const auto& topic : metadata->topics) {
    for (const auto& partition : topic.partitions) {
      view.partitions[{topic.name.value_or(""), partition.partition_index}] = {partition.leader_id, partition.leader_epoch, partition.replica_nodes, partition.isr_nodes,
                                                                               partition.offline_replicas, topic.is_internal};
    }
  }
  auto ongoing = list_reassignments(cluster);
  if (!ongoing) return fail(std::move(ongoing.error()));
  view.ongoing = std::move(*ongoing);
  if (log_dirs == LogDirs::kYes) read_log_dirs(cluster, ids, view);
  return view;
}

std::string shown_bytes(int64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 || value >= 99.95 ? fmt::format("{:.0f} {}", value, kUnits[unit]) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string shown_seconds(double seconds) {
  auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace odradek::cli
