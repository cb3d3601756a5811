// Elections that are asked for: by administrators, by old tools, by the balance of preferred leaders. Source: interbroker.md §12.
#include <algorithm>

#include "base/log.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::StoreError;
using metadata::StoreOp;

Async<std::map<TopicPartition, ErrorCode>> Controller::Impl::elect(std::vector<TopicPartition> partitions, bool unclean) {
  std::map<TopicPartition, ErrorCode> results;
  std::vector<StateChange> changes;
  for (const TopicPartition& tp : partitions) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr) {
      results[tp] = ErrorCode::kUnknownTopicOrPartition;
    } else if (state.is_deleting(tp.topic)) {
      results[tp] = ErrorCode::kInvalidTopicException;
    } else if (unclean) {
      if (is_led(*record, online_for(tp))) {
        results[tp] = ErrorCode::kElectionNotNeeded;
        continue;
      }
      Leadership next = elect_among_online(*record, online_for(tp), true);
      if (!record->has_state || next.leader == kNoBroker) {
        results[tp] = ErrorCode::kEligibleLeadersNotAvailable;
      } else {
        note_if_unclean(tp, *record, next);
        changes.push_back({tp, std::move(next)});
      }
    } else {
      if (record->has_state && !record->replicas.empty() && record->leader == record->replicas.front()) {
        results[tp] = ErrorCode::kElectionNotNeeded;
        continue;
      }
      auto next = elect_preferred(*record, online_for(tp));
      if (!record->has_state || !next) {
        results[tp] = ErrorCode::kPreferredLeaderNotAvailable;
      } else {
        changes.push_back({tp, std::move(*next)});
      }
    }
  }
  if (changes.empty()) co_return results;
  auto errors = co_await write_states(changes);
  RequestBatch batch;
  for (size_t i = 0; i < changes.size(); ++i) {
    results[changes[i].tp] = errors[i] == StoreError::kNone ? ErrorCode::kNone : in_office() ? ErrorCode::kUnknownServerError : ErrorCode::kNotController;
    if (errors[i] != StoreError::kNone) continue;
    batch.leader_and_isr_to_replicas(state, changes[i].tp);
    batch.update_metadata(changes[i].tp);
  }
  if (in_office()) send(batch);
  co_return results;
}

Async<void> Controller::Impl::handle_elect_leaders(protocol::ElectLeadersRequest request, Reply<protocol::ElectLeadersResponse> reply) {
  protocol::ElectLeadersResponse response;
  std::vector<TopicPartition> partitions;
  if (request.topic_partitions) {
    for (const auto& topic : *request.topic_partitions) {
      for (int32_t partition : topic.partitions) partitions.push_back({topic.topic, partition});
    }
  } else {
    partitions = state.all_partitions();
    // A partition that never had a leader is in no broker's metadata, and Kafka elects among what stands there.
    std::erase_if(partitions, [&](const TopicPartition& tp) { return !state.find(tp)->has_state; });
  }
  bool all = !request.topic_partitions.has_value();
  std::map<TopicPartition, ErrorCode> results;
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
    for (const TopicPartition& tp : partitions) results[tp] = ErrorCode::kNotController;
  } else {
    results = co_await elect(partitions, request.election_type == 1);
  }
  for (const auto& [tp, error] : results) {
    // Of all partitions only those where something was to do.
    if (all && (error == ErrorCode::kElectionNotNeeded || error == ErrorCode::kInvalidTopicException)) continue;
    if (response.replica_election_results.empty() || response.replica_election_results.back().topic != tp.topic) {
      response.replica_election_results.emplace_back().topic = tp.topic;
    }
    auto& result = response.replica_election_results.back().partition_result.emplace_back();
    result.partition_id = tp.partition;
    result.error_code = wire(error);
    if (error != ErrorCode::kNone) result.error_message = explain(error);
  }
  reply(std::move(response));
}

// Preferred leaders get their partitions back where a broker leads too few of its own.
Async<void> Controller::Impl::balance_leaders() {
  std::map<BrokerId, std::vector<TopicPartition>> preferred, elsewhere;
  for (const TopicPartition& tp : state.all_partitions()) {
    const PartitionRecord* record = state.find(tp);
    if (!record->has_state || record->replicas.empty() || state.is_deleting(tp.topic)) continue;
    BrokerId first = record->replicas.front();
    preferred[first].push_back(tp);
    if (record->leader != first) elsewhere[first].push_back(tp);
  }
  std::vector<TopicPartition> wanted;
  for (auto& [broker, partitions] : elsewhere) {
    if (!state.is_live(broker)) continue;
    if (partitions.size() * 100 <= preferred[broker].size() * static_cast<size_t>(options.leader_imbalance_percent)) continue;
    for (TopicPartition& tp : partitions) {
      if (!state.find(tp)->is_reassigning()) wanted.push_back(std::move(tp));
    }
  }
  if (!wanted.empty()) {
    log::info("controller", "{} partitions go back to their preferred leaders", wanted.size());
    co_await elect(std::move(wanted), false);
  }
}

// What old tools leave in the tree.
Async<void> Controller::Impl::on_preferred_election_node() {
  auto changed = watch(EventKind::kManualLeaderBalance, [this] { return on_preferred_election_node(); });
  auto exists = co_await tree.exists(paths::kPreferredElection, changed);
  if (!exists || !in_office()) co_return;
  auto node = co_await tree.get(paths::kPreferredElection);
  if (!node || !in_office()) co_return;
  auto partitions = metadata::decode_partition_list(node->data);
  if (partitions) {
    co_await elect(std::move(*partitions), false);
  } else {
    log::error("controller", "{}: {}", paths::kPreferredElection, partitions.error().what);
  }
  if (!in_office()) co_return;
  co_await write(StoreOp::remove(paths::kPreferredElection, metadata::kAnyVersion));
}

}  // namespace odradek::controller
