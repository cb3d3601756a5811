// Topics appear, grow and go. Source: zookeeper.md §4, interbroker.md §10.
#include <algorithm>

#include "base/log.h"
#include "base/random.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::kAnyVersion;
using metadata::StoreError;
using metadata::StoreOp;

namespace {
std::vector<BrokerId> or_none(const std::map<int32_t, std::vector<BrokerId>>& lists, int32_t partition) {
  auto found = lists.find(partition);
  return found == lists.end() ? std::vector<BrokerId>() : found->second;
}
}  // namespace

Async<bool> Controller::Impl::read_topics(std::vector<std::string> topics) {
  std::vector<std::string> nodes;
  for (const std::string& topic : topics) nodes.push_back(paths::topic(topic));
  std::function<metadata::TreeClient::SharedWatch(size_t)> watch_for = [this, &topics](size_t i) {
    return watch(EventKind::kTopicChange, [this, topic = topics[i]] { return on_topic_data_changed(topic); });
  };
  auto data = co_await tree.get_all(std::move(nodes), watch_for);
  if (!in_office()) co_return false;
  std::vector<StoreOp> with_new_id;
  for (size_t i = 0; i < topics.size(); ++i) {
    if (!data[i] && data[i].error() == StoreError::kNoNode) continue;
    if (!data[i]) co_return false;
    auto node = metadata::decode_topic(data[i]->data);
    if (!node) {
      log::error("controller", "topic {} is left out: {}", topics[i], node.error().what);
      continue;
    }
    if (!node->id) {
      // Written before topics had ids.
      node->id = base::random_uuid(runtime.random());
      with_new_id.push_back(StoreOp::set(paths::topic(topics[i]), metadata::encode_topic(*node), kAnyVersion));
    }
    state.forget_topic(topics[i]);
    TopicRecord& topic = state.topics[topics[i]];
    topic.id = *node->id;
    topic.node_version = data[i]->stat.version;
    state.names[topic.id] = topics[i];
    for (auto& [index, replicas] : node->partitions) {
      PartitionRecord& record = topic.partitions[index];
      record.replicas = std::move(replicas);
      record.adding = or_none(node->adding, index);
      record.removing = or_none(node->removing, index);
    }
  }
  co_await write_all(std::move(with_new_id));
  co_return in_office();
}

Async<bool> Controller::Impl::read_states(std::vector<TopicPartition> partitions) {
  std::vector<std::string> nodes;
  for (const TopicPartition& tp : partitions) nodes.push_back(paths::partition_state(tp.topic, tp.partition));
  auto data = co_await tree.get_all(std::move(nodes));
  if (!in_office()) co_return false;
  for (size_t i = 0; i < partitions.size(); ++i) {
    PartitionRecord* record = state.find(partitions[i]);
    if (record == nullptr) continue;
    if (!data[i] && data[i].error() == StoreError::kNoNode) {
      record->has_state = false;
      continue;
    }
    if (!data[i]) co_return false;
    auto node = metadata::decode_partition_state(data[i]->data);
    if (!node) {
      log::error("controller", "{}: {}", partitions[i].to_string(), node.error().what);
      continue;
    }
    record->has_state = true;
    record->leader = node->leader;
    record->leader_epoch = node->leader_epoch;
    record->isr = std::move(node->isr);
    record->recovering = node->recovering;
    record->controller_epoch = node->controller_epoch;
    record->partition_epoch = data[i]->stat.version;
    record->state_zxid = data[i]->stat.mzxid;
  }
  co_return true;
}

Async<void> Controller::Impl::on_topics_changed() {
  auto changed = watch(EventKind::kTopicChange, [this] { return on_topics_changed(); });
  auto list = co_await tree.children(paths::kTopics, changed);
  if (!list || !in_office()) co_return;
  std::set<std::string> now(list->names.begin(), list->names.end());
  std::vector<std::string> came, went;
  for (const std::string& topic : list->names) {
    if (!state.topics.contains(topic)) came.push_back(topic);
  }
  for (const auto& [topic, record] : state.topics) {
    if (!now.contains(topic)) went.push_back(topic);
  }
  for (const std::string& topic : went) {
    // By hand: nothing is left to be told about it.
    log::warn("controller", "topic {} vanished from the tree", topic);
    state.forget_topic(topic);
    // Its marker would delete the next one of its name.
    if (state.deletions.erase(topic) != 0) co_await write(StoreOp::remove(paths::delete_topic(topic), kAnyVersion));
    if (!in_office()) co_return;
  }
  if (came.empty()) co_return;
  bool read = co_await read_topics(came);
  if (!read) co_return;
  std::vector<TopicPartition> partitions;
  for (const std::string& topic : came) {
    auto found = state.topics.find(topic);
    if (found == state.topics.end()) continue;
    log::info("controller", "topic {} is new: id {}, {} partitions", topic, found->second.id.to_string(), found->second.partitions.size());
    for (const auto& [index, record] : found->second.partitions) partitions.push_back({topic, index});
  }
  co_await create_partitions(std::move(partitions));
}

// More partitions, or another topic of that name.
Async<void> Controller::Impl::on_topic_data_changed(std::string topic) {
  auto changed = watch(EventKind::kTopicChange, [this, topic] { return on_topic_data_changed(topic); });
  auto data = co_await tree.get(paths::topic(topic), changed);
  auto known = state.topics.find(topic);
  if (!data || !in_office() || known == state.topics.end() || state.is_deleting(topic)) co_return;
  auto node = metadata::decode_topic(data->data);
  if (!node) {
    log::error("controller", "topic {}: {}", topic, node.error().what);
    co_return;
  }
  std::vector<TopicPartition> added;
  if (node->id && *node->id != known->second.id) {
    state.forget_topic(topic);
    known = state.topics.try_emplace(topic).first;
    known->second.id = *node->id;
    state.names[*node->id] = topic;
  }
  known->second.node_version = data->stat.version;
  for (auto& [index, replicas] : node->partitions) {
    auto [record, is_new] = known->second.partitions.try_emplace(index);
    if (!is_new) continue;
    record->second.replicas = std::move(replicas);
    record->second.adding = or_none(node->adding, index);
    record->second.removing = or_none(node->removing, index);
    added.push_back({topic, index});
  }
  if (!added.empty()) co_await create_partitions(std::move(added));
}

// The nodes of new partitions, then their states.
Async<void> Controller::Impl::create_partitions(std::vector<TopicPartition> partitions) {
  if (partitions.empty()) co_return;
  std::vector<StoreOp> folders, nodes;
  const std::string* topic = nullptr;
  for (const TopicPartition& tp : partitions) {
    if (topic == nullptr || *topic != tp.topic) folders.push_back(StoreOp::create(paths::partitions(tp.topic), {}));
    topic = &tp.topic;
    nodes.push_back(StoreOp::create(paths::partition(tp.topic, tp.partition), {}));
  }
  for (std::vector<StoreOp>* ops : {&folders, &nodes}) {
    auto writes = co_await write_together(std::move(*ops));
    if (!in_office()) co_return;
    for (const Write& write : writes) {
      if (!write && write.error != StoreError::kNodeExists) log::error("controller", "a partition's node could not be made: {}", name_of(write.error));
    }
  }
  co_await create_states(std::move(partitions));
}

// --- deletion ----------------------------------------------------------------------------------------------------------------------------

Async<void> Controller::Impl::on_deletions_changed() {
  auto changed = watch(EventKind::kTopicDeletion, [this] { return on_deletions_changed(); });
  auto list = co_await tree.children(paths::kDeleteTopics, changed);
  if (!list || !in_office()) co_return;
  std::vector<StoreOp> removals;
  for (const std::string& topic : list->names) {
    if (!state.topics.contains(topic) || !options.delete_topics) {
      removals.push_back(StoreOp::remove(paths::delete_topic(topic), kAnyVersion));
    } else if (!state.is_deleting(topic)) {
      log::info("controller", "topic {} is to be deleted", topic);
      state.deletions.try_emplace(topic);
    }
  }
  if (!removals.empty()) {
    co_await write_all(std::move(removals));
    if (!in_office()) co_return;
  }
  co_await resume_deletions();
}

Async<void> Controller::Impl::resume_deletions() {
  RequestBatch first, second;
  std::vector<std::string> finished;
  for (auto& [topic, deletion] : state.deletions) {
    auto found = state.topics.find(topic);
    if (found == state.topics.end()) continue;
    // It waits for the end of moves, as a 3.9 broker does; they go on meanwhile (is_deletion_begun).
    const auto& partitions = found->second.partitions;
    auto moves = [](const auto& one) { return one.second.is_reassigning() && one.second.has_state; };
    if (!deletion.begun && std::any_of(partitions.begin(), partitions.end(), moves)) continue;
    size_t replicas = 0;
    for (const auto& [index, record] : partitions) {
      TopicPartition tp{topic, index};
      if (!deletion.begun) first.update_metadata(tp);
      for (BrokerId broker : record.replicas) {
        ++replicas;
        std::pair<BrokerId, int32_t> replica{broker, index};
        if (!deletion.begun) first.stop_replica(broker, tp, kEpochDuringDelete, false);
        if (!state.live.contains(broker) || deletion.done.contains(replica) || deletion.failed.contains(replica)) continue;
        if (deletion.asked.insert(replica).second) second.stop_replica(broker, tp, kEpochDuringDelete, true);
      }
    }
    deletion.begun = true;
    if (deletion.done.size() == replicas) finished.push_back(topic);
  }
  send(first);
  send(second);
  for (const std::string& topic : finished) {
    co_await finish_deletion(topic);
    if (!in_office()) co_return;
  }
}

Async<void> Controller::Impl::on_stop_replica_answer(BrokerId from, std::vector<std::pair<TopicPartition, ErrorCode>> errors) {
  for (const auto& [tp, error] : errors) {
    auto deletion = state.deletions.find(tp.topic);
    if (deletion == state.deletions.end()) continue;
    std::pair<BrokerId, int32_t> replica{from, tp.partition};
    if (deletion->second.asked.erase(replica) == 0) continue;
    if (error == ErrorCode::kNone) {
      deletion->second.done.insert(replica);
    } else {
      log::warn("controller", "broker {} could not delete {}: {}; it is tried again when the broker comes back", from.value, tp.to_string(), name_of(error));
      deletion->second.failed.insert(replica);
    }
  }
  co_await resume_deletions();
}

Async<bool> Controller::Impl::remove_nodes(std::vector<std::string> nodes) {
  std::vector<StoreOp> ops;
  for (std::string& node : nodes) ops.push_back(StoreOp::remove(node, kAnyVersion));
  auto writes = co_await write_together(std::move(ops));
  if (!in_office()) co_return false;
  bool all = true;
  for (size_t i = 0; i < writes.size(); ++i) {
    if (writes[i] || writes[i].error == StoreError::kNoNode) continue;
    log::error("controller", "{} could not be removed: {}", nodes[i], name_of(writes[i].error));
    all = false;
  }
  co_return all;
}

// Every replica is gone: the nodes go, in the order of a 3.9 broker. Each layer when the one below it is gone: with the connection a part
// of the removals may be lost, and is repeated after the others. The topic counts as deleted only when its node is gone, else it would be
// there again for the next controller, without its configs.
Async<void> Controller::Impl::finish_deletion(std::string topic) {
  auto found = state.topics.find(topic);
  if (found == state.topics.end()) co_return;
  std::vector<std::vector<std::string>> layers(4);
  for (const auto& [index, record] : found->second.partitions) {
    layers[0].push_back(paths::partition_state(topic, index));
    layers[1].push_back(paths::partition(topic, index));
  }
  layers[2].push_back(paths::partitions(topic));
  layers[3].push_back(paths::topic(topic));
  bool gone = false;
  for (std::vector<std::string>& layer : layers) {
    gone = co_await remove_nodes(std::move(layer));
    if (!in_office()) co_return;
  }
  if (!gone) {
    log::error("controller", "topic {} is not deleted: its node is still there; it is tried again with the next change of a broker or deletion", topic);
    co_return;
  }
  layers.assign(2, {});
  layers[0].push_back(paths::topic_config(topic));
  layers[0].push_back(paths::own_topic_config(topic));
  layers[1].push_back(paths::delete_topic(topic));
  for (std::vector<std::string>& layer : layers) {
    co_await remove_nodes(std::move(layer));
    if (!in_office()) co_return;
  }
  log::info("controller", "topic {} is deleted", topic);
  state.forget_topic(topic);
  state.deletions.erase(topic);
}

}  // namespace odradek::controller
