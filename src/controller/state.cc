#include "controller/state.h"

#include <algorithm>

namespace odradek::controller {

bool contains(const std::vector<BrokerId>& brokers, BrokerId broker) { return std::find(brokers.begin(), brokers.end(), broker) != brokers.end(); }

std::vector<BrokerId> PartitionRecord::target_replicas() const {
  return without(replicas, [&](BrokerId broker) { return contains(removing, broker); });
}
std::vector<BrokerId> PartitionRecord::original_replicas() const {
  return without(replicas, [&](BrokerId broker) { return contains(adding, broker); });
}

PartitionRecord* ControllerState::find(const TopicPartition& tp) {
  return const_cast<PartitionRecord*>(static_cast<const ControllerState*>(this)->find(tp));
}
const PartitionRecord* ControllerState::find(const TopicPartition& tp) const {
  auto topic = topics.find(tp.topic);
  if (topic == topics.end()) return nullptr;
  auto partition = topic->second.partitions.find(tp.partition);
  return partition == topic->second.partitions.end() ? nullptr : &partition->second;
}

std::vector<TopicPartition> ControllerState::all_partitions() const {
  std::vector<TopicPartition> all;
  for (const auto& [name, topic] : topics) {
    for (const auto& [index, partition] : topic.partitions) all.push_back({name, index});
  }
  return all;
}

std::vector<TopicPartition> ControllerState::partitions_on(BrokerId broker) const {
  std::vector<TopicPartition> on;
  for (const auto& [name, topic] : topics) {
    for (const auto& [index, partition] : topic.partitions) {
      if (contains(partition.replicas, broker)) on.push_back({name, index});
    }
  }
  return on;
}

void ControllerState::forget_topic(const std::string& topic) {
  auto found = topics.find(topic);
  if (found == topics.end()) return;
  names.erase(found->second.id);
  std::erase_if(offline_replicas, [&](const auto& replica) { return replica.second.topic == topic; });
  topics.erase(found);
}

}  // namespace odradek::controller
