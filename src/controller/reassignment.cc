// Replicas move: targets join, catch up, take over; the others leave. Source: interbroker.md §11, behaviours.md §13 (KIP-455).
#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::StoreError;
using metadata::StoreOp;

namespace {
std::vector<int32_t> values(const std::vector<BrokerId>& brokers) {
  std::vector<int32_t> ids;
  for (BrokerId broker : brokers) ids.push_back(broker.value);
  return ids;
}
}  // namespace

// The topic's node as its records say. Partitions that were added to it a moment ago, of which the event has yet to come, stay.
Async<bool> Controller::Impl::write_assignment(std::string topic) {
  metadata::TopicNode node;
  for (;;) {
    auto found = state.topics.find(topic);
    if (found == state.topics.end()) co_return false;
    node.id = found->second.id;
    for (const auto& [index, record] : found->second.partitions) {
      node.partitions[index] = record.replicas;
      node.adding.erase(index);
      node.removing.erase(index);
      if (!record.adding.empty()) node.adding[index] = record.adding;
      if (!record.removing.empty()) node.removing[index] = record.removing;
    }
    auto written = co_await write(StoreOp::set(paths::topic(topic), metadata::encode_topic(node), found->second.node_version));
    if (!in_office()) co_return false;
    found = state.topics.find(topic);
    if (written && found != state.topics.end()) found->second.node_version = written.stat.version;
    if (written) co_return true;
    auto now = co_await tree.get(paths::topic(topic));
    if (!in_office()) co_return false;
    auto decoded = now ? metadata::decode_topic(now->data) : Result<metadata::TopicNode>(metadata::TopicNode{});
    found = state.topics.find(topic);
    const bool again = written.error == StoreError::kBadVersion && now && decoded && found != state.topics.end() && decoded->id == found->second.id;
    if (!again) {
      log::error("controller", "the assignment of {} could not be written: {}", topic, name_of(written.error));
      co_return false;
    }
    node = std::move(*decoded);
    found->second.node_version = now->stat.version;
  }
}

// `targets` nullopt: back to where it came from.
Async<ErrorCode> Controller::Impl::start_reassignment(TopicPartition tp, std::optional<std::vector<BrokerId>> targets) {
  PartitionRecord* record = state.find(tp);
  if (record == nullptr || !record->has_state || state.is_deleting(tp.topic)) co_return ErrorCode::kUnknownTopicOrPartition;
  std::vector<BrokerId> origin = record->original_replicas();
  if (!targets) {
    if (!record->is_reassigning()) co_return ErrorCode::kNoReassignmentInProgress;
    targets = origin;
  }
  std::set<BrokerId> distinct(targets->begin(), targets->end());
  if (targets->empty() || distinct.size() != targets->size()) co_return ErrorCode::kInvalidReplicaAssignment;
  for (BrokerId target : *targets) {
    if (!contains(record->replicas, target) && !state.is_live(target)) co_return ErrorCode::kInvalidReplicaAssignment;
  }
  std::vector<BrokerId> all = *targets;
  for (BrokerId broker : origin) {
    if (!contains(all, broker)) all.push_back(broker);
  }
  std::vector<BrokerId> given_up = without(record->replicas, [&](BrokerId broker) { return contains(all, broker); });
  // Who is given up deletes its log: with the last one in sync all that was acknowledged would go. Refused, as a KRaft controller does.
  const bool loses_isr = !given_up.empty() && without(record->isr, [&](BrokerId broker) { return contains(given_up, broker); }).empty();
  if (loses_isr && !(options.unclean_election(tp.topic) && std::any_of(all.begin(), all.end(), online_for(tp)))) {
    log::warn("controller", "{}: its replicas stay as they are: only those that would go are in sync", tp.to_string());
    co_return ErrorCode::kInvalidReplicaAssignment;
  }
  // A new epoch makes the leader take the new set; replicas of a former plan that nobody wants any more leave. The epoch is written before
  // the set: whoever takes office between the two has an epoch to tell that no broker knows, with the set that stands in the tree then.
  // (The other way round a leader that is told the new set in its old epoch keeps the old one, and those who join never get in sync.)
  Leadership next = leadership_of(*record);
  next.isr = without(next.isr, [&](BrokerId broker) { return contains(given_up, broker); });
  if (contains(given_up, next.leader) || next.isr.empty()) {
    PartitionRecord left = *record;
    left.replicas = all;
    left.leader = kNoBroker;  // it stays so if nobody in sync is online: not with one that is no replica
    left.isr = next.isr;
    next = elect_among_online(left, online_for(tp), options.unclean_election(tp.topic));
    note_if_unclean(tp, *record, next);
  }
  std::vector<StateChange> change;
  change.push_back({tp, next});
  auto errors = co_await write_states(std::move(change));
  if (!in_office()) co_return ErrorCode::kNotController;
  record = state.find(tp);
  if (record == nullptr) co_return ErrorCode::kUnknownTopicOrPartition;
  if (errors.front() != StoreError::kNone) co_return ErrorCode::kUnknownServerError;

  const PartitionRecord before = *record;
  record->replicas = all;
  record->adding = without(all, [&](BrokerId broker) { return contains(origin, broker); });
  record->removing = without(all, [&](BrokerId broker) { return contains(*targets, broker); });
  bool written = co_await write_assignment(tp.topic);
  if (!in_office()) co_return ErrorCode::kNotController;
  record = state.find(tp);
  if (record == nullptr) co_return ErrorCode::kUnknownTopicOrPartition;
  if (!written) {
    record->replicas = before.replicas;
    record->adding = before.adding;
    record->removing = before.removing;
    RequestBatch as_before;  // but for the epoch
    as_before.leader_and_isr_to_replicas(state, tp);
    as_before.update_metadata(tp);
    send(as_before);
    co_return ErrorCode::kUnknownServerError;
  }
  log::info("controller", "{}: reassignment started, {} replicas join, {} leave", tp.to_string(), record->adding.size(), record->removing.size());
  RequestBatch batch;
  batch.leader_and_isr_of_move(state, tp);
  batch.update_metadata(tp);
  for (BrokerId broker : given_up) batch.stop_replica(broker, tp, record->leader_epoch, true);
  send(batch);
  co_await advance_reassignment(tp);
  co_return ErrorCode::kNone;
}

bool Controller::Impl::is_catching_up(const PartitionRecord& record) const {
  if (!record.is_reassigning() || !record.has_state) return false;
  const std::vector<BrokerId> targets = record.target_replicas();
  return !std::all_of(targets.begin(), targets.end(), [&](BrokerId target) { return contains(record.isr, target); });
}

Async<void> Controller::Impl::resume_reassignments() {
  std::vector<StateChange> changes;
  for (const auto& [name, topic] : state.topics) {
    for (const auto& [index, record] : topic.partitions) {
      if (is_catching_up(record) && record.controller_epoch != state.epoch) changes.push_back({{name, index}, leadership_of(record)});
    }
  }
  if (!changes.empty()) co_await write_states(std::move(changes));
}

Async<void> Controller::Impl::advance_reassignment(TopicPartition tp) {
  PartitionRecord* record = state.find(tp);
  if (record == nullptr || !record->is_reassigning() || !record->has_state || state.is_deletion_begun(tp.topic)) co_return;
  if (is_catching_up(*record)) co_return;
  std::vector<BrokerId> targets = record->target_replicas();
  auto next = elect_for_reassignment(*record, targets, online_for(tp));
  if (!next) co_return;
  if (contains(targets, record->leader) && state.is_online(record->leader, tp)) next->leader = record->leader;

  std::vector<BrokerId> leaving = record->removing;
  const PartitionRecord before = *record;
  // A state that could not be written may have a leader or members among those that leave: nobody is told to delete anything, and the next
  // answer of the leader, or the next controller, brings it here again.
  auto is_written = [&](const std::vector<StoreError>& writes) {
    if (writes.front() == StoreError::kNone) return true;
    log::error("controller", "{}: the reassignment stands still: its state could not be written", tp.to_string());
    if (PartitionRecord* now = state.find(tp)) {
      now->replicas = before.replicas;
      now->adding = before.adding;
      now->removing = before.removing;
    }
    return false;
  };
  record->replicas = targets;
  record->adding.clear();
  record->removing.clear();
  std::vector<StateChange> first;
  first.push_back({tp, *next});
  auto errors = co_await write_states(std::move(first));
  if (!in_office() || !is_written(errors)) co_return;
  RequestBatch taken_over;
  taken_over.leader_and_isr_to_replicas(state, tp);
  taken_over.update_metadata(tp);
  send(taken_over);

  record = state.find(tp);
  if (record == nullptr) co_return;
  Leadership shrunk = leadership_of(*record);
  shrunk.isr = without(shrunk.isr, [&](BrokerId broker) { return contains(leaving, broker); });
  if (shrunk.isr.size() != record->isr.size()) {
    std::vector<StateChange> second;
    second.push_back({tp, shrunk});
    errors = co_await write_states(std::move(second));
    if (!in_office() || !is_written(errors)) co_return;
    RequestBatch batch;
    batch.leader_and_isr_to_replicas(state, tp);
    send(batch);
  }
  record = state.find(tp);
  if (record == nullptr) co_return;
  RequestBatch stop, remove;
  for (BrokerId broker : leaving) {
    stop.stop_replica(broker, tp, record->leader_epoch, false);
    remove.stop_replica(broker, tp, record->leader_epoch, true);
  }
  send(stop);
  send(remove);
  co_await write_assignment(tp.topic);
  if (!in_office()) co_return;
  RequestBatch done;
  done.update_metadata(tp);
  send(done);
  log::info("controller", "{}: reassignment done", tp.to_string());
  if (state.is_deleting(tp.topic)) co_await resume_deletions();
}

Async<void> Controller::Impl::handle_alter_reassignments(protocol::AlterPartitionReassignmentsRequest request,
                                                         Reply<protocol::AlterPartitionReassignmentsResponse> reply) {
  protocol::AlterPartitionReassignmentsResponse response;
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
    co_return reply(std::move(response));
  }
  // A partition named twice counts as named last.
  std::map<TopicPartition, std::optional<std::vector<BrokerId>>> wanted;
  for (const auto& topic : request.topics) {
    for (const auto& partition : topic.partitions) {
      auto& targets = wanted[{topic.name, partition.partition_index}];
      targets.reset();
      if (!partition.replicas) continue;
      targets.emplace();
      for (int32_t id : *partition.replicas) targets->push_back({id});
    }
  }
  for (const auto& [tp, targets] : wanted) {
    ErrorCode error = ErrorCode::kNotController;
    if (in_office()) error = co_await start_reassignment(tp, targets);
    if (response.responses.empty() || response.responses.back().name != tp.topic) response.responses.emplace_back().name = tp.topic;
    auto& result = response.responses.back().partitions.emplace_back();
    result.partition_index = tp.partition;
    result.error_code = wire(error);
    result.error_message.reset();
    if (error == ErrorCode::kNone) continue;
    std::vector<BrokerId> live;
    for (const auto& [id, broker] : state.live) live.push_back(id);
    const PartitionRecord* record = state.find(tp);
    result.error_message = explain_reassignment(error, tp, targets, record != nullptr ? record->replicas : std::vector<BrokerId>{}, live);
  }
  reply(std::move(response));
}

// What old tools leave in the tree: started here, then it goes on as any other.
Async<void> Controller::Impl::on_reassign_node() {
  auto changed = watch(EventKind::kReassignment, [this] { return on_reassign_node(); });
  auto exists = co_await tree.exists(paths::kReassignPartitions, changed);
  if (!exists || !in_office()) co_return;
  auto node = co_await tree.get(paths::kReassignPartitions);
  if (!node || !in_office()) co_return;
  auto wanted = metadata::decode_reassignment(node->data);
  if (!wanted) {
    log::error("controller", "{}: {}", paths::kReassignPartitions, wanted.error().what);
  } else {
    for (const auto& one : *wanted) {
      ErrorCode error = co_await start_reassignment(one.tp, one.replicas);
      if (!in_office()) co_return;
      if (error != ErrorCode::kNone) log::error("controller", "{} cannot be reassigned: {}", one.tp.to_string(), name_of(error));
    }
  }
  co_await write(StoreOp::remove(paths::kReassignPartitions, metadata::kAnyVersion));
}

protocol::ListPartitionReassignmentsResponse Controller::Impl::list_reassignments(const protocol::ListPartitionReassignmentsRequest& request) const {
  protocol::ListPartitionReassignmentsResponse response;
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
    response.error_message = "This is not the correct controller for this cluster.";
    return response;
  }
  std::set<TopicPartition> moving;  // each once, however often it is named
  if (request.topics) {
    for (const auto& topic : *request.topics) {
      auto known = state.topics.find(topic.name);
      if (known == state.topics.end()) continue;
      for (int32_t index : topic.partition_indexes) {
        auto partition = known->second.partitions.find(index);
        if (partition != known->second.partitions.end() && partition->second.is_reassigning()) moving.insert({topic.name, index});
      }
    }
  } else {
    for (const auto& [name, topic] : state.topics) {
      for (const auto& [index, record] : topic.partitions) {
        if (record.is_reassigning()) moving.insert({name, index});
      }
    }
  }
  for (const TopicPartition& tp : moving) {
    const PartitionRecord* record = state.find(tp);
    if (response.topics.empty() || response.topics.back().name != tp.topic) response.topics.emplace_back().name = tp.topic;
    auto& one = response.topics.back().partitions.emplace_back();
    one.partition_index = tp.partition;
    one.replicas = values(record->replicas);
    one.adding_replicas = values(record->adding);
    one.removing_replicas = values(record->removing);
  }
  return response;
}

}  // namespace odradek::controller
