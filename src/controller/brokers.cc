// Brokers come, go, shut down, lose log dirs. Source: interbroker.md §4, §5, §9, §13.
#include "base/log.h"
#include "controller/controller_impl.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"
#include "model/error_code.h"

namespace odradek::controller {

namespace paths = metadata::paths;
using metadata::StoreError;
using metadata::StoreOp;

void Controller::Impl::open_queue(BrokerId id) {
  uint64_t held = office;
  // An answer may stand in line behind the event that this broker has started again: it says nothing of the broker as it is then.
  auto lives = [this, id, life = state.live.at(id).epoch] {
    auto broker = state.live.find(id);
    return broker != state.live.end() && broker->second.epoch == life;
  };
  Answered answered;
  answered.leader_and_isr = [this, id, held, lives](const protocol::LeaderAndIsrRequest& request, const protocol::LeaderAndIsrResponse& response) {
    if (response.error_code != 0) {
      log::warn("controller", "broker {} answered LeaderAndIsr with {}", id.value, name_of(static_cast<ErrorCode>(response.error_code)));
      return;
    }
    std::map<Uuid, std::string> names;
    for (const auto& topic : request.topic_states) names[topic.topic_id] = topic.topic_name;
    std::vector<std::pair<TopicPartition, ErrorCode>> errors;
    for (const auto& topic : response.topics) {
      for (const auto& partition : topic.partition_errors) {
        errors.push_back({{names[topic.topic_id], partition.partition_index}, static_cast<ErrorCode>(partition.error_code)});
      }
    }
    if (held != office) return;
    post_in_office(EventKind::kLeaderAndIsrResponse, [this, id, errors, lives]() -> Async<void> {
      if (lives()) co_await on_leader_and_isr_answer(id, errors);
    });
  };
  answered.stop_replica = [this, id, held, lives](const protocol::StopReplicaRequest& request, const protocol::StopReplicaResponse& response) {
    // Only deletions wait for it.
    std::map<TopicPartition, ErrorCode> codes;
    for (const auto& error : response.partition_errors) codes[{error.topic_name, error.partition_index}] = static_cast<ErrorCode>(error.error_code);
    std::vector<std::pair<TopicPartition, ErrorCode>> errors;
    for (const auto& topic : request.topic_states) {
      for (const auto& partition : topic.partition_states) {
        if (!partition.delete_partition) continue;
        TopicPartition tp{topic.topic_name, partition.partition_index};
        auto code = codes.find(tp);
        ErrorCode error = response.error_code != 0 ? static_cast<ErrorCode>(response.error_code) : code == codes.end() ? ErrorCode::kNone : code->second;
        errors.push_back({std::move(tp), error});
      }
    }
    if (errors.empty() || held != office) return;
    post_in_office(EventKind::kTopicDeletion, [this, id, errors, lives]() -> Async<void> {
      if (lives()) co_await on_stop_replica_answer(id, errors);
    });
  };
  answered.update_metadata = [id](int16_t error) {
    if (error != 0) log::warn("controller", "broker {} answered UpdateMetadata with {}", id.value, name_of(static_cast<ErrorCode>(error)));
  };
  queues[id] = std::make_unique<BrokerQueue>(runtime, executor, channels(state.live.at(id).info), options.retry_backoff_ms, std::move(answered));
}

void Controller::Impl::send(const RequestBatch& batch) {
  for (Outgoing& outgoing : batch.build(state, options.self, options.inter_broker_listener)) {
    auto queue = queues.find(outgoing.to);
    if (queue != queues.end()) queue->second->push(std::move(outgoing.request));
  }
}

// All registered brokers, with watches on the list and on each node. Nullopt: not readable.
Async<std::optional<std::map<BrokerId, LiveBroker>>> Controller::Impl::read_brokers() {
  auto changed = watch(EventKind::kBrokerChange, [this] { return on_brokers_changed(); });
  auto list = co_await tree.children(paths::kBrokerIds, changed);
  if (!list) co_return std::nullopt;
  std::vector<BrokerId> ids;
  std::vector<std::string> nodes;
  for (const std::string& name : list->names) {
    int64_t number = paths::sequence_number(name);
    if (number < 0 || number > INT32_MAX || std::to_string(number) != name) continue;
    ids.push_back({static_cast<int32_t>(number)});
    nodes.push_back(paths::broker(ids.back()));
  }
  std::function<metadata::TreeClient::SharedWatch(size_t)> watch_for = [this, &ids](size_t i) {
    return watch(EventKind::kBrokerChange, [this, id = ids[i]] { return on_broker_data_changed(id); });
  };
  auto data = co_await tree.get_all(std::move(nodes), watch_for);
  std::map<BrokerId, LiveBroker> brokers;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!data[i] && data[i].error() == StoreError::kNoNode) continue;
    if (!data[i]) co_return std::nullopt;
    auto info = metadata::decode_broker(ids[i], data[i]->data);
    if (!info) {
      // One broken node must not hide the others.
      log::error("controller", "broker {} is left out: {}", ids[i].value, info.error().what);
      continue;
    }
    brokers[ids[i]] = {std::move(*info), data[i]->stat.czxid, data[i]->stat.ctime_ms};
  }
  co_return brokers;
}

Async<void> Controller::Impl::on_brokers_changed() {
  auto now = co_await read_brokers();
  if (!now || !in_office()) co_return;
  std::vector<BrokerId> came, went, changed;
  for (const auto& [id, broker] : *now) {
    auto known = state.live.find(id);
    if (known == state.live.end()) {
      came.push_back(id);
    } else if (known->second.epoch != broker.epoch) {
      // Gone and back before it was noticed.
      went.push_back(id);
      came.push_back(id);
    }
  }
  for (const auto& [id, broker] : state.live) {
    if (!now->contains(id)) went.push_back(id);
  }
  if (!went.empty()) {
    co_await brokers_went(std::move(went));
    if (!in_office()) co_return;
  }
  if (!came.empty()) {
    for (BrokerId id : came) state.live[id] = (*now)[id];
    co_await brokers_came(std::move(came));
  }
}

Async<void> Controller::Impl::on_broker_data_changed(BrokerId id) {
  auto changed = watch(EventKind::kBrokerChange, [this, id] { return on_broker_data_changed(id); });
  auto node = co_await tree.get(paths::broker(id), changed);
  auto known = state.live.find(id);
  if (!node || !in_office() || known == state.live.end() || known->second.epoch != node->stat.czxid) co_return;
  auto info = metadata::decode_broker(id, node->data);
  if (!info) {
    log::error("controller", "broker {}: {}", id.value, info.error().what);
    co_return;
  }
  if (info->endpoints == known->second.info.endpoints && info->rack == known->second.info.rack) co_return;
  known->second.info = std::move(*info);
  queues[id]->move_to(channels(known->second.info));
  RequestBatch batch;
  batch.update_brokers();
  send(batch);
}

// They are in state.live already.
Async<void> Controller::Impl::brokers_came(std::vector<BrokerId> ids) {
  std::vector<TopicPartition> theirs;
  RequestBatch first;
  for (BrokerId id : ids) {
    log::info("controller", "broker {} came, epoch {}", id.value, state.live[id].epoch);
    open_queue(id);
    std::erase_if(state.offline_replicas, [&](const auto& replica) { return replica.first == id; });
    for (auto& [topic, deletion] : state.deletions) {
      std::erase_if(deletion.failed, [&](const auto& replica) { return replica.first == id; });
      std::erase_if(deletion.asked, [&](const auto& replica) { return replica.first == id; });
    }
    first.update_everything(id);
    for (TopicPartition& tp : state.partitions_on(id)) theirs.push_back(std::move(tp));
  }
  first.update_brokers();
  send(first);

  RequestBatch second;
  std::vector<TopicPartition> without_state;
  for (const TopicPartition& tp : theirs) {
    const PartitionRecord* record = state.find(tp);
    if (state.is_deletion_begun(tp.topic)) continue;
    if (!record->has_state) {
      without_state.push_back(tp);
      continue;
    }
    for (BrokerId id : ids) {
      if (contains(record->replicas, id)) second.leader_and_isr(id, tp);
    }
    second.update_metadata(tp);
  }
  send(second);
  if (!without_state.empty()) {
    co_await create_states(std::move(without_state));
    if (!in_office()) co_return;
  }
  // Partitions without a leader may have one now; nobody leaves an ISR by this.
  std::vector<TopicPartition> leaderless;
  for (const TopicPartition& tp : theirs) {
    const PartitionRecord* record = state.find(tp);
    if (record != nullptr && record->has_state && record->leader == kNoBroker) leaderless.push_back(tp);
  }
  co_await settle_partitions(std::move(leaderless));
  if (!in_office()) co_return;
  for (const TopicPartition& tp : theirs) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr || !record->is_reassigning()) continue;
    co_await advance_reassignment(tp);
    if (!in_office()) co_return;
  }
  co_await resume_deletions();
}

Async<void> Controller::Impl::brokers_went(std::vector<BrokerId> ids) {
  std::vector<TopicPartition> touched;
  for (BrokerId id : ids) {
    log::info("controller", "broker {} is gone", id.value);
    state.live.erase(id);
    state.shutting_down.erase(id);
    queues.erase(id);
    for (TopicPartition& tp : state.partitions_on(id)) touched.push_back(std::move(tp));
    for (auto& [topic, deletion] : state.deletions) {
      std::erase_if(deletion.asked, [&](const auto& replica) { return replica.first == id; });
    }
  }
  // Everybody hears who is gone, even if no partition changes.
  RequestBatch batch;
  batch.update_brokers();
  send(batch);
  co_await settle_partitions(std::move(touched));
}

namespace {

// Of a broker that hears nothing the others are not made to wait longer.
constexpr auto kToldWait = std::chrono::milliseconds(1'000);

// An answer that goes out when the last who keeps it has gone.
class AnswerWhenTold {
 public:
  AnswerWhenTold(Reply<protocol::ControlledShutdownResponse> reply, protocol::ControlledShutdownResponse response)
      : reply_(std::move(reply)), response_(std::move(response)) {}
  ~AnswerWhenTold() { answer(); }
  AnswerWhenTold(const AnswerWhenTold&) = delete;
  void answer() {
    if (reply_) std::exchange(reply_, nullptr)(std::move(response_));
  }

 private:
  Reply<protocol::ControlledShutdownResponse> reply_;
  protocol::ControlledShutdownResponse response_;
};

}  // namespace

Async<void> Controller::Impl::handle_controlled_shutdown(protocol::ControlledShutdownRequest request,
                                                         Reply<protocol::ControlledShutdownResponse> reply) {
  protocol::ControlledShutdownResponse response;
  BrokerId id{request.broker_id};
  auto broker = state.live.find(id);
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
  } else if (broker == state.live.end()) {
    response.error_code = wire(ErrorCode::kBrokerNotAvailable);
  } else if (request.broker_epoch != -1 && request.broker_epoch < broker->second.epoch) {
    response.error_code = wire(ErrorCode::kStaleBrokerEpoch);
  }
  if (response.error_code != 0) co_return reply(std::move(response));

  state.shutting_down.insert(id);
  std::vector<TopicPartition> shared;
  RequestBatch stops;
  for (const TopicPartition& tp : state.partitions_on(id)) {
    const PartitionRecord* record = state.find(tp);
    if (!record->has_state || record->replicas.size() < 2 || state.is_deleting(tp.topic)) continue;
    shared.push_back(tp);
    if (record->leader != id) stops.stop_replica(id, tp, record->leader_epoch, false);
  }
  send(stops);
  co_await settle_partitions(shared);
  if (!in_office()) {
    response.error_code = wire(ErrorCode::kNotController);
    co_return reply(std::move(response));
  }
  for (const TopicPartition& tp : shared) {
    const PartitionRecord* record = state.find(tp);
    if (record == nullptr || record->leader != id) continue;
    auto& left = response.remaining_partitions.emplace_back();
    left.topic_name = tp.topic;
    left.partition_index = tp.partition;
  }
  // Who stops now is not named any more by anybody whom a client asks.
  auto answer = std::make_shared<AnswerWhenTold>(std::move(reply), std::move(response));
  for (auto& [other, queue] : queues) {
    if (other != id) queue->keep_until_answered(answer);
  }
  runtime.timers().after(kToldWait, executor.posting([weak = std::weak_ptr(answer)] {
    if (auto late = weak.lock()) late->answer();
  }));
}

// A broker whose log dirs went offline or have room again: ask it what it has, by sending everything it holds.
Async<void> Controller::Impl::on_log_dir_events() {
  auto changed = watch(EventKind::kLogDirChange, [this] { return on_log_dir_events(); });
  auto list = co_await tree.children(paths::kLogDirEvents, changed);
  if (!list) co_return;
  std::vector<std::string> nodes;
  for (const std::string& name : list->names) nodes.push_back(paths::child(paths::kLogDirEvents, name));
  auto data = co_await tree.get_all(nodes);
  if (!in_office()) co_return;
  std::set<BrokerId> brokers;
  for (const auto& node : data) {
    if (!node) continue;
    auto broker = metadata::decode_log_dir_event(node->data);
    if (broker) brokers.insert(*broker);
  }
  RequestBatch batch;
  for (BrokerId id : brokers) {
    log::warn("controller", "broker {}: its log dirs have changed", id.value);
    for (const TopicPartition& tp : state.partitions_on(id)) {
      // What it has deleted already it would make again.
      if (!state.is_deletion_begun(tp.topic)) batch.leader_and_isr(id, tp);
    }
  }
  send(batch);
  std::vector<StoreOp> removals;
  for (std::string& node : nodes) removals.push_back(StoreOp::remove(std::move(node), metadata::kAnyVersion));
  co_await write_together(std::move(removals));
}

Async<void> Controller::Impl::on_leader_and_isr_answer(BrokerId from, std::vector<std::pair<TopicPartition, ErrorCode>> errors) {
  std::vector<TopicPartition> went, came;
  for (const auto& [tp, error] : errors) {
    if (state.find(tp) == nullptr || !state.live.contains(from)) continue;
    if (error == ErrorCode::kKafkaStorageError) {
      if (state.offline_replicas.insert({from, tp}).second) went.push_back(tp);
    } else if (error == ErrorCode::kNone) {
      if (state.offline_replicas.erase({from, tp}) != 0) came.push_back(tp);
    } else if (error != ErrorCode::kStaleControllerEpoch) {
      log::warn("controller", "broker {} answered LeaderAndIsr for {} with {}", from.value, tp.to_string(), name_of(error));
    }
  }
  if (!went.empty()) {
    log::warn("controller", "broker {}: {} replicas are offline", from.value, went.size());
    RequestBatch batch;
    for (const TopicPartition& tp : went) {
      batch.stop_replica(from, tp, state.find(tp)->leader_epoch, false);
      batch.update_metadata(tp);
    }
    send(batch);
    co_await settle_partitions(std::move(went));
    if (!in_office()) co_return;
  }
  if (!came.empty()) {
    log::info("controller", "broker {}: {} replicas are online again", from.value, came.size());
    co_await settle_partitions(std::move(came));
  }
}

}  // namespace odradek::controller
