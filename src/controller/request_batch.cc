#include "controller/request_batch.h"

#include <algorithm>

namespace odradek::controller {

namespace {

using protocol::LeaderAndIsrRequest;
using protocol::StopReplicaRequest;
using protocol::UpdateMetadataRequest;

std::vector<int32_t> values(const std::vector<BrokerId>& brokers) {
  std::vector<int32_t> ids;
  ids.reserve(brokers.size());
  for (BrokerId broker : brokers) ids.push_back(broker.value);
  return ids;
}

// Topics come in order, so a partition belongs to the last topic of the list or to a new one.
template <class TopicState, class... Init>
TopicState& topic_of(std::vector<TopicState>& topics, const std::string& name) {
  if (topics.empty() || topics.back().topic_name != name) topics.emplace_back().topic_name = name;
  return topics.back();
}

Uuid id_of(const ControllerState& state, const std::string& topic) {
  auto found = state.topics.find(topic);
  return found == state.topics.end() ? Uuid{} : found->second.id;
}

template <class Partitions>
void fill_partitions(UpdateMetadataRequest& request, const ControllerState& state, const Partitions& partitions) {
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr) continue;
    bool deleting = state.is_deleting(tp.topic);
    if (!deleting && !record->has_state) continue;
    auto& topic = topic_of(request.topic_states, tp.topic);
    topic.topic_id = id_of(state, tp.topic);
    auto& partition = topic.partition_states.emplace_back();
    partition.partition_index = tp.partition;
    partition.replicas = values(record->replicas);
    partition.offline_replicas = values(without(record->replicas, [&](BrokerId broker) { return state.is_online(broker, tp); }));
    if (deleting) {
      partition.controller_epoch = state.epoch;
      partition.leader = kLeaderDuringDelete.value;
      partition.leader_epoch = 0;
      partition.isr = values(record->isr);
      partition.zk_version = 0;
    } else {
      partition.controller_epoch = record->controller_epoch;
      partition.leader = record->leader.value;
      partition.leader_epoch = record->leader_epoch.value;
      partition.isr = values(record->isr);
      partition.zk_version = record->partition_epoch;
    }
  }
}

UpdateMetadataRequest update_with_brokers(const ControllerState& state, BrokerId self) {
  UpdateMetadataRequest request;
  request.controller_id = self.value;
  request.controller_epoch = state.epoch;
  for (const auto& [id, broker] : state.live) {
    auto& live = request.live_brokers.emplace_back();
    live.id = id.value;
    live.rack = broker.info.rack;
    for (const metadata::Endpoint& endpoint : broker.info.endpoints) {
      auto& one = live.endpoints.emplace_back();
      one.host = endpoint.host;
      one.port = endpoint.port;
      one.listener = endpoint.listener;
      one.security_protocol = static_cast<int16_t>(endpoint.protocol);
    }
  }
  return request;
}

}  // namespace

void RequestBatch::leader_and_isr_to_replicas(const ControllerState& state, const TopicPartition& tp, bool is_new) {
  const PartitionRecord* record = state.find(tp);
  if (record == nullptr) return;
  for (BrokerId broker : record->replicas) {
    if (state.live.contains(broker)) leader_and_isr(broker, tp, is_new);
  }
}

void RequestBatch::leader_and_isr_of_move(const ControllerState& state, const TopicPartition& tp) {
  leader_and_isr_to_replicas(state, tp);
  const PartitionRecord* record = state.find(tp);
  if (record == nullptr) return;
  for (BrokerId broker : record->adding) {
    if (state.live.contains(broker) && !contains(record->isr, broker)) leader_and_isr(broker, tp, true);
  }
}

void RequestBatch::stop_replica(BrokerId to, const TopicPartition& tp, LeaderEpoch epoch, bool delete_partition) {
  auto [at, is_first] = stops_[to].try_emplace(tp, Stop{epoch, delete_partition});
  if (!is_first) at->second = {epoch, at->second.delete_partition || delete_partition};
}

std::vector<Outgoing> RequestBatch::build(const ControllerState& state, BrokerId self, const std::string& inter_broker_listener) const {
  std::vector<Outgoing> outgoing;
  for (const auto& [to, partitions] : leader_and_isr_) {
    auto broker = state.live.find(to);
    if (broker == state.live.end()) continue;
    LeaderAndIsrRequest request;
    request.controller_id = self.value;
    request.controller_epoch = state.epoch;
    request.broker_epoch = broker->second.epoch;
    std::set<BrokerId> leaders;
    for (const auto& [tp, is_new] : partitions) {
      const PartitionRecord* record = state.find(tp);
      if (record == nullptr || !record->has_state) continue;
      auto& topic = topic_of(request.topic_states, tp.topic);
      topic.topic_id = id_of(state, tp.topic);
      auto& partition = topic.partition_states.emplace_back();
      partition.partition_index = tp.partition;
      partition.controller_epoch = record->controller_epoch;
      partition.leader = record->leader.value;
      partition.leader_epoch = record->leader_epoch.value;
      partition.isr = values(record->isr);
      partition.partition_epoch = record->partition_epoch;
      partition.replicas = values(record->replicas);
      partition.adding_replicas = values(record->adding);
      partition.removing_replicas = values(record->removing);
      partition.is_new = is_new;
      partition.leader_recovery_state = record->recovering ? 1 : 0;
      leaders.insert(record->leader);
    }
    if (request.topic_states.empty()) continue;
    for (BrokerId leader : leaders) {
      auto live = state.live.find(leader);
      if (live == state.live.end()) continue;
      for (const metadata::Endpoint& endpoint : live->second.info.endpoints) {
        if (endpoint.listener != inter_broker_listener) continue;
        auto& one = request.live_leaders.emplace_back();
        one.broker_id = leader.value;
        one.host_name = endpoint.host;
        one.port = endpoint.port;
      }
    }
    outgoing.push_back({to, std::move(request)});
  }

  if (to_all_ || !everything_.empty() || !brokers_only_.empty()) {
    UpdateMetadataRequest brokers = update_with_brokers(state, self);
    UpdateMetadataRequest changed = brokers;
    fill_partitions(changed, state, partitions_);
    UpdateMetadataRequest everything = brokers;
    if (!everything_.empty()) fill_partitions(everything, state, state.all_partitions());
    for (const auto& [to, broker] : state.live) {
      const UpdateMetadataRequest* request = everything_.contains(to) ? &everything : to_all_ ? &changed : brokers_only_.contains(to) ? &brokers : nullptr;
      if (request == nullptr) continue;
      outgoing.push_back({to, *request});
      std::get<UpdateMetadataRequest>(outgoing.back().request).broker_epoch = broker.epoch;
    }
  }

  for (const auto& [to, partitions] : stops_) {
    auto broker = state.live.find(to);
    if (broker == state.live.end()) continue;
    StopReplicaRequest request;
    request.controller_id = self.value;
    request.controller_epoch = state.epoch;
    request.broker_epoch = broker->second.epoch;
    for (const auto& [tp, stop] : partitions) {
      auto& partition = topic_of(request.topic_states, tp.topic).partition_states.emplace_back();
      partition.partition_index = tp.partition;
      partition.leader_epoch = stop.epoch.value;
      partition.delete_partition = stop.delete_partition;
    }
    outgoing.push_back({to, std::move(request)});
  }
  return outgoing;
}

}  // namespace odradek::controller
