// What the controller says: leaders, followers, deletions, metadata; also of partitions whose logs are still being loaded.
#include "replication/replica_manager.h"

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "storage/dir/log_dir.h"

namespace odradek::replication {

void ReplicaManager::set_broker_epoch(int64_t epoch) {
  broker_epoch_.store(epoch, std::memory_order_relaxed);
  isr_updates_->set_broker_epoch(epoch);
  if (fetchers_ != nullptr) fetchers_->set_broker_epoch(epoch);
}

void ReplicaManager::set_alter_partition_channel(AlterPartitionChannel* channel) { isr_updates_->set_channel(channel); }

void ReplicaManager::add_listener(LeadershipListener& listener) {
  base::MutexLock lock(apply_mutex_);
  listeners_.push_back(&listener);
}

void ReplicaManager::remove_listener(LeadershipListener& listener) {
  base::MutexLock lock(apply_mutex_);
  std::erase(listeners_, &listener);
}

void ReplicaManager::tell(UniqueFunction<void(LeadershipListener&)> what) {
  for (LeadershipListener* listener : listeners_) what(*listener);
}

bool ReplicaManager::is_stale_broker_epoch(int64_t epoch) const { return epoch != -1 && epoch < broker_epoch_.load(std::memory_order_relaxed); }

ErrorCode ReplicaManager::take_controller_epoch(int32_t epoch) {
  if (epoch < controller_epoch_) return ErrorCode::kStaleControllerEpoch;
  controller_epoch_ = epoch;
  return ErrorCode::kNone;
}

namespace {

std::vector<BrokerId> brokers(const std::vector<int32_t>& ids) {
  std::vector<BrokerId> result;
  result.reserve(ids.size());
  for (int32_t id : ids) result.push_back({id});
  return result;
}

PartitionState state_of(const protocol::LeaderAndIsrRequest::LeaderAndIsrPartitionState& from) {
  PartitionState state;
  state.leader = {from.leader};
  state.leader_epoch = {from.leader_epoch};
  state.partition_epoch = from.partition_epoch;
  state.isr = brokers(from.isr);
  state.replicas = brokers(from.replicas);
  state.adding = brokers(from.adding_replicas);
  state.removing = brokers(from.removing_replicas);
  state.is_new = from.is_new;
  state.recovering = from.leader_recovery_state != 0;
  return state;
}

}  // namespace

protocol::LeaderAndIsrResponse ReplicaManager::apply(const protocol::LeaderAndIsrRequest& request) {
  protocol::LeaderAndIsrResponse response;
  if (is_stale_broker_epoch(request.broker_epoch)) {
    response.error_code = static_cast<int16_t>(ErrorCode::kStaleBrokerEpoch);
    return response;
  }
  const int64_t begin_ms = runtime_.clock().monotonic_ms();
  Wakeups wakeups;  // run when the mutex is free again
  base::MutexLock lock(apply_mutex_);
  if (ErrorCode error = take_controller_epoch(request.controller_epoch); error != ErrorCode::kNone) {
    log::warn("state-change", "LeaderAndIsr of controller {} with epoch {} below {}", request.controller_id, request.controller_epoch, controller_epoch_);
    response.error_code = static_cast<int16_t>(error);
    return response;
  }
  auto apply_state = [&](const std::string& topic, const Uuid& id, const auto& state) {
    const ErrorCode error = apply_one({topic, state.partition_index}, id, state_of(state), wakeups);
    log::info("state-change", "broker {}: {}-{} has leader {}, leader epoch {}, isr [{}], partition epoch {}: {}", options_.self.value, topic, state.partition_index,
              state.leader, state.leader_epoch, fmt::join(state.isr, ","), state.partition_epoch, name_of(error));
    protocol::LeaderAndIsrResponse::LeaderAndIsrPartitionError entry;
    entry.topic_name = topic;
    entry.partition_index = state.partition_index;
    entry.error_code = static_cast<int16_t>(error);
    return entry;
  };
  // v0-v4 answer with a flat list, later ones by topic id; the encoder takes what its version has.
  for (const auto& state : request.ungrouped_partition_states) response.partition_errors.push_back(apply_state(state.topic_name, Uuid{}, state));
  for (const auto& topic : request.topic_states) {
    auto& by_id = response.topics.emplace_back();
    by_id.topic_id = topic.topic_id;
    for (const auto& state : topic.partition_states) {
      by_id.partition_errors.push_back(apply_state(topic.topic_name, topic.topic_id, state));
      response.partition_errors.push_back(by_id.partition_errors.back());
    }
  }
  if (fetchers_ != nullptr) fetchers_->apply();
  log::info("replication", "LeaderAndIsr of controller {}, epoch {}: {} partitions in {} ms", request.controller_id, request.controller_epoch,
            response.partition_errors.size(), runtime_.clock().monotonic_ms() - begin_ms);
  return response;
}

ErrorCode ReplicaManager::apply_one(const TopicPartition& tp, const Uuid& topic_id, const PartitionState& state, Wakeups& wakeups) {
  std::shared_ptr<Partition> partition = find(tp);
  if (partition != nullptr && partition->role() == Role::kOffline) return ErrorCode::kKafkaStorageError;
  std::shared_ptr<storage::Log> log = partition != nullptr ? partition->log() : nullptr;
  if (log != nullptr && !topic_id.is_zero()) {
    const Uuid known = log->topic_id();
    if (!known.is_zero() && known != topic_id) return ErrorCode::kInconsistentTopicId;
  }
  if (partition != nullptr && state.leader_epoch <= partition->leader_epoch()) {
    // The one thing that the same epoch may bring: the id of a topic from before there were ids.
    if (state.leader_epoch == partition->leader_epoch() && log != nullptr && log->topic_id().is_zero() && !topic_id.is_zero()) {
      auto set = log->set_topic_id(topic_id);
      return set ? ErrorCode::kNone : set.error().code;
    }
    return ErrorCode::kStaleControllerEpoch;
  }
  if (std::find(state.replicas.begin(), state.replicas.end(), options_.self) == state.replicas.end()) return ErrorCode::kUnknownTopicOrPartition;

  if (log == nullptr) {
    if (auto deferred = defer_one(tp, topic_id, state)) return *deferred;
    auto opened = logs_.get_or_create(tp, topic_id, logs_.find(tp) == nullptr ? options_.log_config(tp.topic) : nullptr, state.is_new);
    if (!opened) {
      log::error("replication", "{}: {}", tp.to_string(), opened.error().what);
      return opened.error().code;
    }
    log = std::move(*opened);
    if (!topic_id.is_zero() && log->topic_id().is_zero()) {
      if (auto set = log->set_topic_id(topic_id); !set) return set.error().code;
    }
  }
  const Offset high_watermark = logs_.high_watermark_checkpoint(tp).value_or(Offset{0});
  const bool is_new_here = partition == nullptr;
  if (is_new_here) {
    partition = std::make_shared<Partition>(tp, options_.self, *this, options_.replica_lag_time_max_ms);
    partition->set_counters(metrics_->of_topic(tp.topic));
  }

  const bool leads = state.leader == options_.self;
  if (fetchers_ != nullptr) fetchers_->forget(tp);
  const int64_t now_ms = runtime_.clock().monotonic_ms();
  auto changed = leads ? partition->become_leader(state, log, high_watermark, now_ms) : partition->become_follower(state, log, high_watermark);
  if (!changed) return changed.error().code;
  if (is_new_here) {
    base::WriterLock lock(map_mutex_);
    map_[Key{tp.topic, tp.partition}] = partition;
  }
  if (is_new_here || partition->future() == nullptr) go_on_moving(partition);
  wakeups.add(partition);
  if (!leads && fetchers_ != nullptr) fetchers_->follow({partition, log->topic_id(), state.leader_epoch}, state.leader);
  tell([&](LeadershipListener& listener) { leads ? listener.on_leader(tp, state.leader_epoch) : listener.on_follower(tp, state.leader_epoch); });
  return ErrorCode::kNone;
}

std::optional<ErrorCode> ReplicaManager::defer_one(const TopicPartition& tp, const Uuid& topic_id, const PartitionState& state) {
  if (!logs_.is_loading(tp)) return std::nullopt;
  auto before = deferred_.find(tp);
  if (before != deferred_.end()) {
    const bool same_epoch = state.leader_epoch == before->second.state.leader_epoch;
    if (same_epoch && before->second.topic_id.is_zero() && !topic_id.is_zero()) {
      before->second.topic_id = topic_id;
      return ErrorCode::kNone;
    }
    if (state.leader_epoch <= before->second.state.leader_epoch) return ErrorCode::kStaleControllerEpoch;
  }
  deferred_[tp] = {topic_id, state};
  if (state.leader == options_.self) {
    tell([&](LeadershipListener& listener) { listener.on_loading(tp, state.leader_epoch); });
  } else {
    tell([&](LeadershipListener& listener) { listener.on_follower(tp, state.leader_epoch); });
  }
  return ErrorCode::kNone;
}

// On a recovery thread, for each log: those that are ready when the control thread looks are taken at once.
void ReplicaManager::on_loaded(const TopicPartition& tp) {
  bool first;
  {
    base::MutexLock lock(loaded_mutex_);
    first = loaded_.empty();
    loaded_.push_back(tp);
  }
  if (first) control_executor_->post([this] { apply_deferred(); });
}

void ReplicaManager::when_loaded(Task done) {
  {
    base::MutexLock lock(apply_mutex_);
    when_loaded_.push_back(std::move(done));
  }
  apply_deferred();
}

void ReplicaManager::apply_deferred() {
  std::vector<TopicPartition> loaded;
  std::vector<Task> waiting;
  struct Run {
    std::vector<Task>& tasks;
    ~Run() {
      for (Task& task : tasks) task();
    }
  } run_unlocked{waiting};
  Wakeups wakeups;
  base::MutexLock lock(apply_mutex_);
  {
    base::MutexLock taking(loaded_mutex_);
    loaded.swap(loaded_);
  }
  for (const TopicPartition& tp : loaded) {
    auto found = deferred_.find(tp);
    if (found == deferred_.end()) continue;  // not yet told of it, or it has failed
    const Deferred deferred = std::move(found->second);
    deferred_.erase(found);
    const ErrorCode error = apply_one(tp, deferred.topic_id, deferred.state, wakeups);
    if (error == ErrorCode::kNone) continue;
    log::error("replication", "{}: its log is loaded, but it is not served: {}", tp.to_string(), name_of(error));
    tell([&](LeadershipListener& listener) { listener.on_stopped(tp); });
  }
  if (fetchers_ != nullptr) fetchers_->apply();
  if (logs_.loading() > 0 || !deferred_.empty()) return;
  some_loading_.store(false, std::memory_order_release);
  waiting.swap(when_loaded_);
}

// A copy that the former process, or a former role, left.
void ReplicaManager::go_on_moving(const std::shared_ptr<Partition>& partition) {
  auto future = logs_.find_future(partition->name());
  if (future == nullptr) return;
  if (auto taken = partition->set_future(std::move(future)); !taken) {
    log::warn("replication", "{}: its copy in another log dir cannot be used: {}", partition->name().to_string(), taken.error().what);
    return;
  }
  moves_->start(partition);
}

ErrorCode ReplicaManager::alter_log_dir(const TopicPartition& tp, const std::string& path) {
  base::MutexLock lock(apply_mutex_);
  if (ErrorCode error = logs_.check_dir(path); error != ErrorCode::kNone) return error;
  auto partition = find(tp);
  if (partition != nullptr && partition->role() == Role::kOffline) return ErrorCode::kKafkaStorageError;
  auto future = logs_.find_future(tp);
  if (future != nullptr && future->dir().path() != path) {
    moves_->cancel(tp);
    if (partition != nullptr) (void)partition->set_future(nullptr);
    if (auto removed = logs_.remove_future(tp); !removed) return removed.error().code;
    future = nullptr;
  }
  logs_.prefer_dir(tp, path);
  if (ErrorCode error = look_up(tp.topic, tp.partition, partition); error != ErrorCode::kNone) {
    return error == ErrorCode::kNotLeaderOrFollower ? ErrorCode::kReplicaNotAvailable : error;
  }
  auto log = partition->log();
  if (partition->role() == Role::kNone || log == nullptr) return ErrorCode::kReplicaNotAvailable;
  if (log->dir().path() == path || future != nullptr) return ErrorCode::kNone;
  // While a dir is offline there may be another copy in it, as Kafka says.
  if (logs_.has_offline_dir()) return ErrorCode::kKafkaStorageError;
  auto created = logs_.create_future(tp, path, log->config());
  if (!created) {
    log::warn("replication", "{} cannot move to {}: {}", tp.to_string(), path, created.error().what);
    return created.error().code;
  }
  go_on_moving(partition);
  return ErrorCode::kNone;
}

protocol::StopReplicaResponse ReplicaManager::apply(const protocol::StopReplicaRequest& request) {
  protocol::StopReplicaResponse response;
  if (is_stale_broker_epoch(request.broker_epoch)) {
    response.error_code = static_cast<int16_t>(ErrorCode::kStaleBrokerEpoch);
    return response;
  }
  Wakeups wakeups;
  base::MutexLock lock(apply_mutex_);
  if (ErrorCode error = take_controller_epoch(request.controller_epoch); error != ErrorCode::kNone) {
    response.error_code = static_cast<int16_t>(error);
    return response;
  }
  auto stop_partition = [&](const std::string& topic, int32_t index, int32_t epoch, bool remove) {
    const ErrorCode error = stop_one({topic, index}, {epoch}, remove, wakeups);
    log::debug("state-change", "StopReplica {}-{} epoch {}{}: {}", topic, index, epoch, remove ? ", delete" : "", name_of(error));
    auto& entry = response.partition_errors.emplace_back();
    entry.topic_name = topic;
    entry.partition_index = index;
    entry.error_code = static_cast<int16_t>(error);
  };
  for (const auto& partition : request.ungrouped_partitions) stop_partition(partition.topic_name, partition.partition_index, -1, request.delete_partitions);
  for (const auto& topic : request.topics) {
    for (int32_t index : topic.partition_indexes) stop_partition(topic.name, index, -1, request.delete_partitions);
  }
  for (const auto& topic : request.topic_states) {
    for (const auto& state : topic.partition_states) stop_partition(topic.topic_name, state.partition_index, state.leader_epoch, state.delete_partition);
  }
  if (fetchers_ != nullptr) fetchers_->apply();
  // The controller takes the topic out of the tree then: a folder that came back would keep a new topic of its name from this broker.
  if (auto durable = logs_.make_removals_durable(); !durable) {
    log::error("replication", "{}", durable.error().what);
    for (auto& entry : response.partition_errors) {
      if (entry.error_code == 0) entry.error_code = static_cast<int16_t>(ErrorCode::kKafkaStorageError);
    }
  }
  return response;
}

ErrorCode ReplicaManager::stop_one(const TopicPartition& tp, LeaderEpoch epoch, bool remove, Wakeups& wakeups) {
  std::shared_ptr<Partition> partition = find(tp);
  if (auto deferred = deferred_.find(tp); deferred != deferred_.end()) {
    if (epoch.value >= 0 && epoch < deferred->second.state.leader_epoch) return ErrorCode::kFencedLeaderEpoch;
    deferred_.erase(deferred);
    tell([&](LeadershipListener& listener) { listener.on_stopped(tp); });
  }
  if (partition != nullptr) {
    if (partition->role() == Role::kOffline) return ErrorCode::kKafkaStorageError;
    // -1: a controller without epochs; -2: the topic is being deleted.
    if (epoch.value >= 0 && epoch < partition->leader_epoch()) return ErrorCode::kFencedLeaderEpoch;
    const bool served = partition->role() != Role::kNone;
    if (fetchers_ != nullptr) fetchers_->forget(tp);
    moves_->cancel(tp);
    partition->stop(false);
    (void)partition->set_future(nullptr);
    wakeups.add(partition);
    if (served) tell([&](LeadershipListener& listener) { listener.on_stopped(tp); });
  }
  if (!remove) return ErrorCode::kNone;
  if (partition != nullptr) {
    base::WriterLock lock(map_mutex_);
    map_.erase(KeyView{tp.topic, tp.partition});
  }
  if (auto removed = logs_.remove_future(tp); !removed) log::error("replication", "{}: {}", tp.to_string(), removed.error().what);
  auto removed = logs_.remove_async(tp);
  if (!removed) {
    log::error("replication", "{}: {}", tp.to_string(), removed.error().what);
    return removed.error().code;
  }
  return ErrorCode::kNone;
}

protocol::UpdateMetadataResponse ReplicaManager::apply(const protocol::UpdateMetadataRequest& request) {
  protocol::UpdateMetadataResponse response;
  if (is_stale_broker_epoch(request.broker_epoch)) {
    response.error_code = static_cast<int16_t>(ErrorCode::kStaleBrokerEpoch);
    return response;
  }
  Wakeups wakeups;
  base::MutexLock lock(apply_mutex_);
  ErrorCode error = take_controller_epoch(request.controller_epoch);
  if (error == ErrorCode::kNone) {
    image_.apply(request);
    // A replica that moved away while this broker had no session: nobody tells it to stop when it registers again. Its log stays, as Kafka's does.
    for (const auto& topic : request.topic_states) {
      for (const auto& state : topic.partition_states) {
        auto partition = find(topic.topic_name, state.partition_index);
        if (partition == nullptr || partition->role() == Role::kNone || partition->role() == Role::kOffline) continue;
        if (state.leader_epoch <= partition->leader_epoch().value || std::count(state.replicas.begin(), state.replicas.end(), options_.self.value) > 0) continue;
        auto log = partition->log();
        if (log == nullptr || log->topic_id() != topic.topic_id) continue;
        log::info("replication", "{} has moved away: leader epoch {}, here {}", partition->name().to_string(), state.leader_epoch, partition->leader_epoch().value);
        (void)stop_one(partition->name(), {state.leader_epoch}, false, wakeups);
      }
    }
    if (fetchers_ != nullptr) fetchers_->brokers_changed();
  }
  response.error_code = static_cast<int16_t>(error);
  return response;
}

}  // namespace odradek::replication
