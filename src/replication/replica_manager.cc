#include "replication/replica_manager.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "replication/fetch_pipeline.h"
#include "storage/log_dir.h"

namespace odradek::replication {

namespace {
std::string to_text(const std::vector<BrokerId>& ids) {
  std::string text;
  for (BrokerId id : ids) text += (text.empty() ? "" : ",") + std::to_string(id.value);
  return "[" + text + "]";
}
}  // namespace

// --- wake-ups ---------------------------------------------------------------------------------------------------------------

void Wakeups::add(const std::shared_ptr<Partition>& partition) {
  if (partition->append_waiters().has_waiters() || partition->fetch_waiters().has_waiters()) partitions_.push_back(partition);
}

void Wakeups::run() {
  // A wake-up may cause others, in this object no more.
  std::vector<std::shared_ptr<Partition>> partitions = std::move(partitions_);
  partitions_.clear();
  for (const auto& partition : partitions) {
    partition->append_waiters().wake();
    partition->fetch_waiters().wake();
  }
}

// --- parked operations --------------------------------------------------------------------------------------------------------

class ReplicaManager::ParkedProduce final : public Parked {
 public:
  struct Item {
    std::shared_ptr<Partition> partition;
    size_t result = 0;
    bool waiting = true;
  };

  ParkedProduce(std::span<const ProducePartition> partitions, std::vector<ProduceResult> results,
                UniqueFunction<void(std::vector<ProduceResult>)> done)
      : results_(std::move(results)), done_callback_(std::move(done)) {
    for (size_t i = 0; i < results_.size(); ++i) {
      if (results_[i].error == ErrorCode::kNone) items_.push_back({partitions[i].partition, i});
    }
    waiting_ = items_.size();
    reserve(items_.size());
  }

 protected:
  void join_lists() override {
    for (uint32_t i = 0; i < items_.size(); ++i) join(items_[i].partition->append_waiters(), i);
  }
  void check_all() override {
    for (uint32_t i = 0; i < items_.size(); ++i) check(i);
    if (items_.empty()) complete();
  }
  void check(uint32_t tag) override {
    {
      base::MutexLock lock(mutex_);
      Item& item = items_[tag];
      if (!item.waiting || is_done()) return;
      ProduceResult& result = results_[item.result];
      auto state = item.partition->ack_state(result.need);
      if (!state) return;
      result.error = *state;
      item.waiting = false;
      if (--waiting_ != 0) return;
    }
    complete();
  }
  void finish(bool) override {
    std::vector<ProduceResult> results;
    {
      base::MutexLock lock(mutex_);
      for (Item& item : items_) {
        if (!item.waiting) continue;
        // The records stay. Who was only held back because of the debt gets what it was promised without it.
        AckNeed need = results_[item.result].need;
        need.held_since.reset();
        results_[item.result].error = item.partition->ack_state(need).value_or(ErrorCode::kRequestTimedOut);
      }
      results = std::move(results_);
    }
    done_callback_(std::move(results));
  }

 private:
  std::vector<Item> items_;  // partition and result never change once parked
  base::Mutex mutex_;
  std::vector<ProduceResult> results_ GUARDED_BY(mutex_);
  size_t waiting_ GUARDED_BY(mutex_) = 0;
  UniqueFunction<void(std::vector<ProduceResult>)> done_callback_;
};

class ReplicaManager::ParkedFetch final : public Parked {
 public:
  ParkedFetch(ReplicaManager& manager, const FetchParams& params, std::vector<FetchPartition> partitions,
              UniqueFunction<void(std::vector<ReadResult>)> done)
      : manager_(manager), params_(params), partitions_(std::move(partitions)), done_callback_(std::move(done)) {
    if (params_.min_bytes > 1) seen_.resize(partitions_.size());
    reserve(partitions_.size());
  }

 protected:
  void join_lists() override {
    for (uint32_t i = 0; i < partitions_.size(); ++i) join(partitions_[i].partition->fetch_waiters(), i);
  }
  void check_all() override {
    for (uint32_t i = 0; i < partitions_.size() && !is_done(); ++i) check(i);
  }
  void check(uint32_t tag) override {
    if (!is_done() && has_enough(tag)) complete();
  }
  // A new read: what was seen while it was parked only said that it is worth while.
  void finish(bool) override {
    // What it waited for is at the ends of the logs, in the page cache.
    FetchOutcome outcome = manager_.read_partitions(params_, partitions_, true);
    done_callback_(std::move(outcome.results));
  }

 private:
  bool has_enough(uint32_t tag) {
    const FetchPartition& asked = partitions_[tag];
    const Partition& partition = *asked.partition;
    if (params_.leader_only ? partition.check_leader(asked.current_leader_epoch) != ErrorCode::kNone
                            : partition.role() != Role::kLeader && partition.role() != Role::kFollower) {
      return true;
    }
    if (params_.replica_id.value >= 0 && asked.told_high_watermark.value >= 0 && partition.high_watermark() > asked.told_high_watermark) return true;
    const ReadBound bound = params_.bound();
    if (partition.readable_end(bound) > asked.fetch_offset && manager_.holds_back(partition, params_.replica_id)) return false;
    if (partition.readable_end(bound) <= asked.fetch_offset) return partition.readable_end(ReadBound::kLogEnd) < asked.fetch_offset;
    if (params_.min_bytes <= 1) return true;
    ReadResult read = partition.read({.from = asked.fetch_offset,
                                      .max_bytes = asked.max_bytes,
                                      .at_least_one_batch = params_.at_least_one_batch,
                                      .bound = bound,
                                      .current_leader_epoch = asked.current_leader_epoch,
                                      .last_fetched_epoch = asked.last_fetched_epoch,
                                      .leader_only = params_.leader_only});
    if (read.error != ErrorCode::kNone || read.diverging) return true;
    base::MutexLock lock(mutex_);
    seen_total_ += read.records.size - seen_[tag];
    seen_[tag] = read.records.size;
    return seen_total_ >= std::min(params_.min_bytes, params_.max_bytes);
  }

  ReplicaManager& manager_;
  const FetchParams params_;
  const std::vector<FetchPartition> partitions_;
  UniqueFunction<void(std::vector<ReadResult>)> done_callback_;
  base::Mutex mutex_;
  std::vector<int64_t> seen_ GUARDED_BY(mutex_);  // bytes found so far, per partition
  int64_t seen_total_ GUARDED_BY(mutex_) = 0;
};

class ReplicaManager::ParkedDelete final : public Parked {
 public:
  struct Item {
    std::shared_ptr<Partition> partition;
    Offset target;
    size_t result = 0;
    bool waiting = true;
  };
  ParkedDelete(std::vector<Item> items, std::vector<Deleted> results, UniqueFunction<void(std::vector<Deleted>)> done)
      : items_(std::move(items)), results_(std::move(results)), waiting_(items_.size()), done_callback_(std::move(done)) {
    reserve(items_.size());
  }

 protected:
  void join_lists() override {
    for (uint32_t i = 0; i < items_.size(); ++i) join(items_[i].partition->append_waiters(), i);
  }
  void check_all() override {
    for (uint32_t i = 0; i < items_.size(); ++i) check(i);
    if (items_.empty()) complete();
  }
  void check(uint32_t tag) override {
    {
      base::MutexLock lock(mutex_);
      Item& item = items_[tag];
      if (!item.waiting || is_done()) return;
      Deleted& result = results_[item.result];
      const ErrorCode error = item.partition->check_leader(kNoLeaderEpoch);
      const Offset low = item.partition->low_watermark();
      if (error == ErrorCode::kNone && low < item.target) return;
      result = error == ErrorCode::kNone ? Deleted{ErrorCode::kNone, low} : Deleted{error};
      item.waiting = false;
      if (--waiting_ != 0) return;
    }
    complete();
  }
  void finish(bool) override {
    std::vector<Deleted> results;
    {
      base::MutexLock lock(mutex_);
      for (Item& item : items_) {
        if (item.waiting) results_[item.result] = {ErrorCode::kRequestTimedOut, item.partition->low_watermark()};
      }
      results = std::move(results_);
    }
    done_callback_(std::move(results));
  }

 private:
  std::vector<Item> items_;
  base::Mutex mutex_;
  std::vector<Deleted> results_ GUARDED_BY(mutex_);
  size_t waiting_ GUARDED_BY(mutex_);
  UniqueFunction<void(std::vector<Deleted>)> done_callback_;
};

// --- life -------------------------------------------------------------------------------------------------------------------

ReplicaManager::ReplicaManager(base::Runtime& runtime, storage::LogManager& logs, metadata::ImageHolder& image, ReplicaManagerOptions options,
                               metrics::Registry& metrics)
    : runtime_(runtime),
      logs_(logs),
      image_(image),
      options_(std::move(options)),
      control_executor_(runtime.make_executor("replica-control", 1)),
      executor_(runtime.make_executor("purgatory", 1)),
      quotas_(runtime.clock(), options_.throttle_window, options_.log_dirs_throttle_window),
      produces_(runtime, *executor_),
      fetches_(runtime, *executor_),
      deletions_(runtime, *executor_),
      metrics_(std::make_shared<ReplicaMetrics>(metrics)) {
  isr_updates_ = std::make_unique<IsrUpdates>(runtime, *executor_, options_.self, [this](const auto& partition, const auto& before) {
    count_isr_change(partition, before);
    expand_isr(partition);
    Wakeups wakeups;
    wakeups.add(partition);
  });
  for (auto [metric, quota] : {std::pair(&metrics::kLeaderReplicationRate, &quotas_.leader), std::pair(&metrics::kFollowerReplicationRate, &quotas_.follower),
                               std::pair(&metrics::kAlterLogDirsReplicationRate, &quotas_.log_dirs)}) {
    gauges_.push_back(metrics.callback(*metric, {}, [quota = quota] { return quota->bytes_per_second(); }));
  }
  pipelines_ = std::make_unique<FetchPipelines>(runtime, *this);
  const int32_t log_dirs = static_cast<int32_t>(logs_.dir_paths().size());
  moves_ = std::make_unique<LogDirMoves>(runtime, logs_, quotas_.log_dirs, options_.log_dir_threads > 0 ? options_.log_dir_threads : log_dirs);
  if (options_.leader_links != nullptr) {
    FetcherOptions fetcher = options_.fetcher;
    fetcher.self = options_.self;
    // Consumers read from followers too.
    fetchers_ = std::make_unique<ReplicaFetchers>(runtime, fetcher, *options_.leader_links, *this, quotas_.follower, metrics, [](const std::shared_ptr<Partition>& partition) {
      Wakeups wakeups;
      wakeups.add(partition);
    });
  }
}

ReplicaManager::~ReplicaManager() {
  logs_.on_loaded(nullptr);
  logs_.on_dir_offline(nullptr);
  logs_.on_room(nullptr);
  metrics_->close();
  gauges_.clear();
  stop();
  pipelines_.reset();
  isr_updates_.reset();
  control_executor_.reset();
  fetchers_.reset();
  for (Purgatory* purgatory : {&produces_, &fetches_, &deletions_}) purgatory->drain();
  // Time-outs that were posted run now.
  executor_.reset();
}

void ReplicaManager::start() {
  metrics_->open([this] { return partitions(); });
  isr_timer_ = std::make_unique<base::PeriodicTask>(runtime_, *executor_, std::chrono::milliseconds(std::max<int64_t>(options_.replica_lag_time_max_ms / 2, 1)),
                                                    [this] { check_isrs(); });
  some_loading_.store(true, std::memory_order_release);
  logs_.on_loaded([this](const TopicPartition& tp) { on_loaded(tp); });
  control_executor_->post([this] { apply_deferred(); });  // perhaps nothing is left to wait for
  // On another thread: the one that reports may be one that the partitions wait for.
  logs_.on_dir_offline([this](const std::string&, const std::vector<TopicPartition>& lost, bool) {
    control_executor_->post([this, lost] {
      take_offline(lost);
      apply_deferred();
      if (options_.on_log_dirs_changed) options_.on_log_dirs_changed();
    });
  });
  logs_.on_room([this] {
    if (options_.on_log_dirs_changed) options_.on_log_dirs_changed();
  });
}

void ReplicaManager::stop() {
  isr_timer_.reset();
  isr_updates_->set_channel(nullptr);
  if (fetchers_ != nullptr) fetchers_->stop();
  moves_->stop();
  for (const auto& partition : partitions()) {
    partition->close();
    if (auto log = partition->log(); log != nullptr && partition->append_waiters().has_waiters()) (void)log->flush();
    partition->append_waiters().wake();
    partition->fetch_waiters().wake();
  }
  pipelines_->stop();
}

// --- who is here --------------------------------------------------------------------------------------------------------------

std::shared_ptr<Partition> ReplicaManager::find(std::string_view topic, int32_t partition) const {
  base::ReaderLock lock(map_mutex_);
  auto found = map_.find(KeyView{topic, partition});
  return found == map_.end() ? nullptr : found->second;
}

ErrorCode ReplicaManager::look_up(std::string_view topic, int32_t partition, std::shared_ptr<Partition>& found) const {
  found = find(topic, partition);
  if (found != nullptr) return ErrorCode::kNone;
  hasten(topic, partition);
  return image_.current()->find_partition(topic, partition) != nullptr ? ErrorCode::kNotLeaderOrFollower : ErrorCode::kUnknownTopicOrPartition;
}

bool ReplicaManager::is_loading(std::string_view topic, int32_t partition) const {
  return some_loading_.load(std::memory_order_acquire) && find(topic, partition) == nullptr;
}

bool ReplicaManager::hasten(std::string_view topic, int32_t partition) const {
  if (!is_loading(topic, partition)) return false;
  logs_.hasten({std::string(topic), partition});
  return true;
}

Result<std::shared_ptr<Partition>> ReplicaManager::leader_or_error(const TopicPartition& tp, LeaderEpoch current_leader_epoch) const {
  std::shared_ptr<Partition> partition;
  ErrorCode error = look_up(tp.topic, tp.partition, partition);
  if (error == ErrorCode::kNone) error = partition->check_leader(current_leader_epoch);
  if (error != ErrorCode::kNone) return fail(error, tp.to_string());
  return partition;
}

std::vector<std::shared_ptr<Partition>> ReplicaManager::partitions() const {
  base::ReaderLock lock(map_mutex_);
  std::vector<std::shared_ptr<Partition>> all;
  all.reserve(map_.size());
  for (const auto& [key, partition] : map_) all.push_back(partition);
  return all;
}

bool ReplicaManager::is_alive(BrokerId broker) const { return image_.current()->is_alive(broker); }

// --- from the controller --------------------------------------------------------------------------------------------------------

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
  if (!logs_.is_loading(tp) && logs_.find(tp) == nullptr) return ErrorCode::kNone;
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
  base::MutexLock lock(apply_mutex_);
  ErrorCode error = take_controller_epoch(request.controller_epoch);
  if (error == ErrorCode::kNone) {
    image_.apply(request);
    if (fetchers_ != nullptr) fetchers_->brokers_changed();
  }
  response.error_code = static_cast<int16_t>(error);
  return response;
}

// --- produce ------------------------------------------------------------------------------------------------------------------

ProduceOutcome ReplicaManager::append(const ProduceParams& params, std::span<ProducePartition> partitions) {
  ProduceOutcome outcome;
  outcome.results.resize(partitions.size());
  for (size_t i = 0; i < partitions.size(); ++i) {
    ProduceResult& result = outcome.results[i];
    const std::shared_ptr<Partition>& partition = partitions[i].partition;
    if (partition == nullptr) {
      result.error = partitions[i].error;
      continue;
    }
    auto appended = partition->append_as_leader(partitions[i].records, params.acks, kNoLeaderEpoch, params.append);
    if (!appended) {
      metrics_->append_failed(partition->counters(), appended.error().error.code, partitions[i].records.size());
      result.error = appended.error().error.code;
      result.message = std::move(appended.error().error.what);
      result.record_errors = std::move(appended.error().records);
      continue;
    }
    metrics_->appended(partition->counters(), appended->info);
    result.info = std::move(appended->info);
    result.need = appended->need;
    outcome.wakeups.add(partition);
    if (params.acks != 0) {
      if (result.need.held_since) metrics_->held_produces->inc();
      auto state = partition->ack_state(result.need);
      if (!state) {
        outcome.must_wait = true;
      } else if (params.acks == -1) {
        result.error = *state;
      }
    }
  }
  return outcome;
}

void ReplicaManager::wait_for_acks(const ProduceParams& params, std::span<const ProducePartition> partitions, std::vector<ProduceResult> results,
                                   UniqueFunction<void(std::vector<ProduceResult>)> done) {
  produces_.park(std::make_shared<ParkedProduce>(partitions, std::move(results), std::move(done)), std::max(params.timeout_ms, 0));
}

Result<Offset> ReplicaManager::append_internal(const TopicPartition& tp, Bytes batch, LeaderEpoch expected,
                                               UniqueFunction<void(ErrorCode, Offset first)> committed) {
  std::shared_ptr<Partition> partition;
  auto refuse = [&](Error error) -> Result<Offset> {
    committed(error.code, Offset{-1});
    return fail(std::move(error));
  };
  if (ErrorCode error = look_up(tp.topic, tp.partition, partition); error != ErrorCode::kNone) return refuse({error, tp.to_string()});
  storage::AppendOptions options;
  options.origin = record::AppendOrigin::kCoordinator;
  auto appended = partition->append_as_leader(batch, -1, expected, options);
  if (!appended) return refuse(std::move(appended.error().error));
  Wakeups wakeups;
  wakeups.add(partition);
  const Offset first = appended->info.first_offset;
  if (auto state = partition->ack_state(appended->need)) {
    committed(*state, first);
    return first;
  }
  std::vector<ProduceResult> results(1);
  results[0].need = appended->need;
  results[0].info = std::move(appended->info);
  ProducePartition waiting;
  waiting.partition = partition;
  // No time-out of its own: the coordinator decides how long its client waits. The leadership ends before this does.
  produces_.park(std::make_shared<ParkedProduce>(std::span<const ProducePartition>(&waiting, 1), std::move(results),
                                                 [committed = std::move(committed), first](std::vector<ProduceResult> results) mutable {
                                                   committed(results[0].error, first);
                                                 }),
                 std::chrono::milliseconds(std::chrono::hours(24)).count());
  return first;
}

// --- fetch --------------------------------------------------------------------------------------------------------------------

// As Kafka's RackAwareReplicaSelector: the leader if it is in the rack or nobody is, else who has most of those that are.
BrokerId ReplicaManager::nearer_replica(const Partition& partition, Offset from, const std::string& rack) const {
  const auto image = image_.current();
  auto in_rack = [&](BrokerId id) {
    const auto* broker = image->find_broker(id);
    return broker != nullptr && broker->rack == rack;
  };
  if (in_rack(options_.self)) return kNoBroker;
  const ReplicaView* best = nullptr;
  const auto views = partition.replicas_holding(from, runtime_.clock().monotonic_ms());
  for (const ReplicaView& view : views) {
    if (!in_rack(view.id)) continue;
    if (best == nullptr || std::tuple(view.log_end, -view.caught_up_ms_ago, view.id) > std::tuple(best->log_end, -best->caught_up_ms_ago, best->id)) best = &view;
  }
  return best == nullptr ? kNoBroker : best->id;
}

bool ReplicaManager::holds_back(const Partition& partition, BrokerId follower) const {
  return follower.value >= 0 && partition.leader_throttled() && quotas_.leader.is_exceeded() && !partition.has_in_isr(follower);
}

FetchOutcome ReplicaManager::read_partitions(const FetchParams& params, std::span<const FetchPartition> partitions, bool may_wait_for_disk) {
  FetchOutcome outcome;
  outcome.results.reserve(partitions.size());
  ReadParams read;
  read.at_least_one_batch = params.at_least_one_batch;
  read.bound = params.bound();
  read.may_wait_for_disk = may_wait_for_disk;
  read.leader_only = params.leader_only;
  int64_t left = params.max_bytes;
  int64_t bytes = 0;
  for (const FetchPartition& asked : partitions) {
    if (asked.partition == nullptr) {
      outcome.results.emplace_back().error = asked.error;
      outcome.satisfied = true;
      continue;
    }
    read.from = asked.fetch_offset;
    read.max_bytes = static_cast<int32_t>(std::clamp<int64_t>(left, 0, std::max(asked.max_bytes, 0)));
    read.current_leader_epoch = asked.current_leader_epoch;
    read.last_fetched_epoch = asked.last_fetched_epoch;
    if (holds_back(*asked.partition, params.replica_id)) {
      read.max_bytes = 0;
      read.at_least_one_batch = false;
    }
    const BrokerId nearer = params.rack.empty() ? kNoBroker : nearer_replica(*asked.partition, asked.fetch_offset, params.rack);
    if (nearer != kNoBroker) {
      read.max_bytes = 0;
      read.at_least_one_batch = false;
    }
    ReadResult& result = outcome.results.emplace_back(asked.partition->read(read));
    read.at_least_one_batch = params.at_least_one_batch && bytes == 0;
    if (nearer != kNoBroker && result.error == ErrorCode::kNone) {
      result.preferred_replica = nearer;
      outcome.satisfied = true;
    }
    TopicCounters* counters = asked.partition->counters();
    if (counters != nullptr) counters->fetch_requests->inc();
    if (result.cold.size > 0) outcome.cold.push_back(std::move(result.cold));
    if (result.error != ErrorCode::kNone || result.diverging) {
      outcome.satisfied = true;
      if (counters != nullptr && result.error == ErrorCode::kKafkaStorageError) counters->failed_fetch_requests->inc();
    }
    if (result.records.size > 0) {
      read.at_least_one_batch = false;
      left -= result.records.size;
      bytes += result.records.size;
      if (counters != nullptr && params.replica_id.value < 0) counters->bytes_out->inc(static_cast<uint64_t>(result.records.size));
    }
    if (params.replica_id.value >= 0 && asked.told_high_watermark.value >= 0 && result.high_watermark > asked.told_high_watermark) {
      outcome.satisfied = true;
    }
  }
  metrics_->all().fetch_requests->inc(partitions.size());
  if (params.replica_id.value < 0) {
    metrics_->all().bytes_out->inc(static_cast<uint64_t>(bytes));
  } else {
    metrics_->replication_bytes_out->inc(static_cast<uint64_t>(bytes));
  }
  // Nothing at all is an answer only if there is nothing to be had from the disk either.
  const bool may_be_empty = outcome.cold.empty();
  if (partitions.empty() || (bytes >= params.min_bytes && (bytes > 0 || may_be_empty)) || (params.max_wait_ms <= 0 && may_be_empty)) {
    outcome.satisfied = true;
  }
  return outcome;
}

FetchOutcome ReplicaManager::read_ahead(const FetchParams& params, std::span<const FetchPartition> partitions, bool may_wait_for_disk) {
  FetchOutcome outcome = read_partitions(params, partitions, may_wait_for_disk);
  if (outcome.satisfied && !outcome.cold.empty()) {
    // There is enough to answer; the rest comes in the meantime, so that it is not left behind again and again.
    load(outcome.cold, [] {});
    outcome.cold.clear();
  }
  return outcome;
}

FetchOutcome ReplicaManager::read(const FetchParams& params, std::span<const FetchPartition> partitions, bool may_wait_for_disk) {
  FetchOutcome outcome = read_ahead(params, partitions, may_wait_for_disk);
  if (params.replica_id.value < 0) return outcome;
  const bool waits_for_disk = !outcome.cold.empty();
  const int64_t held_ms = params.received_ms > 0 ? std::max<int64_t>(0, runtime_.clock().monotonic_ms() - params.received_ms) : 0;
  for (size_t i = 0; i < partitions.size(); ++i) {
    const ReadResult& result = outcome.results[i];
    // Its log only proves what ours holds too.
    if (result.error != ErrorCode::kNone || result.diverging) continue;
    const FetchPartition& asked = partitions[i];
    FollowerState state{.log_end = asked.fetch_offset, .log_start = asked.log_start_offset, .broker_epoch = params.replica_epoch};
    const bool has_records = asked.fetch_offset < result.log_end_offset;
    if (has_records) state.held_ms = held_ms;
    const ErrorCode error = note_follower(asked.partition, params.replica_id, state, result.log_end_offset, outcome.wakeups);
    if (error == ErrorCode::kNone) {
      if (has_records && waits_for_disk) asked.partition->hold_follower(params.replica_id, runtime_.clock().monotonic_ms());
      continue;
    }
    outcome.results[i] = ReadResult{};
    // Kafka asks for patience only from a follower that named the epoch.
    const bool unknown = error == ErrorCode::kUnknownLeaderEpoch && asked.current_leader_epoch == kNoLeaderEpoch;
    outcome.results[i].error = unknown ? ErrorCode::kNotLeaderOrFollower : error;
    outcome.satisfied = true;
  }
  return outcome;
}

ErrorCode ReplicaManager::note_follower(const std::shared_ptr<Partition>& partition, BrokerId follower, const FollowerState& state, Offset leader_end,
                                        Wakeups& wakeups) {
  FollowerFetchEffect effect = partition->record_follower_fetch(follower, state, leader_end, runtime_.clock().monotonic_ms());
  if (effect.high_watermark_advanced || effect.low_watermark_moved || effect.flushed_moved) wakeups.add(partition);
  if (effect.change) {
    log::info("replication", "{}: {} has caught up (log end {}, high watermark {}); ISR to be {}", partition->name().to_string(), follower.value,
              state.log_end.value, partition->high_watermark().value, to_text(effect.change->isr));
    submit(partition, std::move(*effect.change));
  }
  return effect.error;
}

void ReplicaManager::load(const std::vector<base::FileSlice>& cold, Task done) {
  struct Left {
    std::atomic<size_t> slices;
    Task done;
  };
  // Shared: by the loads that run, of which the last one goes on.
  auto left = std::make_shared<Left>();
  left->slices = cold.size();
  left->done = std::move(done);
  for (const base::FileSlice& slice : cold) {
    logs_.slice_loader().load(slice, [left] {
      if (left->slices.fetch_sub(1, std::memory_order_acq_rel) == 1) left->done();
    });
  }
}

std::weak_ptr<Parked> ReplicaManager::wait_for_data(const FetchParams& params, std::vector<FetchPartition> partitions,
                                                    UniqueFunction<void(std::vector<ReadResult>)> done) {
  auto parked = std::make_shared<ParkedFetch>(*this, params, std::move(partitions), std::move(done));
  fetches_.park(parked, params.max_wait_ms);
  return parked;
}

// --- delete records -----------------------------------------------------------------------------------------------------------

void ReplicaManager::delete_records(std::vector<Deletion> deletions, int32_t timeout_ms, UniqueFunction<void(std::vector<Deleted>)> done) {
  std::vector<Deleted> results(deletions.size());
  std::vector<ParkedDelete::Item> items;
  Wakeups wakeups;
  for (size_t i = 0; i < deletions.size(); ++i) {
    const Deletion& deletion = deletions[i];
    auto partition = leader_or_error(deletion.tp, kNoLeaderEpoch);
    if (!partition) {
      results[i].error = partition.error().code;
      continue;
    }
    auto target = (*partition)->delete_records(deletion.before);
    if (!target) {
      results[i].error = target.error().code;
      continue;
    }
    wakeups.add(*partition);
    items.push_back({*partition, *target, i});
  }
  deletions_.park(std::make_shared<ParkedDelete>(std::move(items), std::move(results), std::move(done)), std::max(timeout_ms, 0));
}

// --- housekeeping -------------------------------------------------------------------------------------------------------------

void ReplicaManager::submit(const std::shared_ptr<Partition>& partition, IsrChange change) {
  auto log = partition->log();
  isr_updates_->submit(partition, log != nullptr ? log->topic_id() : Uuid{}, std::move(change));
}

void ReplicaManager::check_isrs() {
  const int64_t now_ms = runtime_.clock().monotonic_ms();
  for (const auto& partition : partitions()) {
    std::string why;
    if (auto change = partition->shrink_isr(now_ms, &why)) {
      log::info("replication", "{}: out of sync: {}; ISR to be {}", partition->name().to_string(), why, to_text(change->isr));
      submit(partition, std::move(*change));
    } else {
      expand_isr(partition);
    }
  }
}

void ReplicaManager::expand_isr(const std::shared_ptr<Partition>& partition) {
  if (auto change = partition->expand_isr()) {
    log::info("replication", "{}: followers that have caught up waited; ISR to be {}", partition->name().to_string(), to_text(change->isr));
    submit(partition, std::move(*change));
  }
}

void ReplicaManager::count_isr_change(const std::shared_ptr<Partition>& partition, const std::vector<BrokerId>& before) {
  const std::vector<BrokerId> now = partition->isr();
  if (now == before) return;
  log::info("replication", "{}: ISR {} is now {}, partition epoch {}", partition->name().to_string(), to_text(before), to_text(now), partition->partition_epoch());
  if (now.size() < before.size()) metrics_->isr_shrinks->inc();
  if (now.size() > before.size()) metrics_->isr_expands->inc();
}

void ReplicaManager::take_offline(const std::vector<TopicPartition>& partitions) {
  Wakeups wakeups;
  base::MutexLock lock(apply_mutex_);
  for (const TopicPartition& tp : partitions) {
    std::shared_ptr<Partition> partition = find(tp);
    if (partition == nullptr && deferred_.erase(tp) > 0) {
      partition = std::make_shared<Partition>(tp, options_.self, *this, options_.replica_lag_time_max_ms);
      partition->set_counters(metrics_->of_topic(tp.topic));
      base::WriterLock map_lock(map_mutex_);
      map_[Key{tp.topic, tp.partition}] = partition;
    }
    if (partition == nullptr || partition->role() == Role::kOffline) continue;
    if (fetchers_ != nullptr) fetchers_->forget(tp);
    moves_->cancel(tp);
    partition->stop(true);
    wakeups.add(partition);
    tell([&](LeadershipListener& listener) { listener.on_stopped(tp); });
  }
  if (fetchers_ != nullptr) fetchers_->apply();
}

void ReplicaManager::set_fetcher_count(int32_t fetchers) {
  if (fetchers_ != nullptr) fetchers_->resize(fetchers);
}

void ReplicaManager::update_log_config(const TopicPartition& tp, std::shared_ptr<const storage::LogConfig> config) {
  Wakeups wakeups;  // a lower min.insync.replicas may let the next append move the high watermark; who waits looks again
  if (auto partition = find(tp)) {
    partition->set_min_insync_replicas(config->min_insync_replicas);
    partition->set_flush_before_ack(config->flush_before_ack);
    partition->set_throttled(*config);
    wakeups.add(partition);
  }
  if (auto future = logs_.find_future(tp)) future->update_config(config);
  if (auto log = logs_.find(tp)) log->update_config(std::move(config));
}

size_t ReplicaManager::parked_fetches() const { return fetches_.size(); }
size_t ReplicaManager::parked_produces() const { return produces_.size(); }

}  // namespace odradek::replication
