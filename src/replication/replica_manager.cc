#include "replication/replica_manager.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "storage/dir/log_dir.h"

namespace odradek::replication {

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

std::shared_ptr<Partition> ReplicaManager::find_leader(const Uuid& topic, int32_t partition) const {
  for (const auto& candidate : partitions()) {
    if (candidate->name().partition != partition || !candidate->is_leader()) continue;
    auto log = candidate->log();
    if (log != nullptr && log->topic_id() == topic) return candidate;
  }
  return nullptr;
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
    if (fetchers_ != nullptr) fetchers_->reconfigured(tp);
  }
  if (auto future = logs_.find_future(tp)) future->update_config(config);
  if (auto log = logs_.find(tp)) log->update_config(std::move(config));
}

size_t ReplicaManager::parked_fetches() const { return fetches_.size(); }
size_t ReplicaManager::parked_produces() const { return produces_.size(); }

}  // namespace odradek::replication
