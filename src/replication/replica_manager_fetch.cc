// Reads of consumers and followers, and who waits for data.
#include "replication/replica_manager.h"

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"

namespace odradek::replication {

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
    const bool joins = std::count(effect.change->isr.begin(), effect.change->isr.end(), follower) > 0;
    log::info("replication", "{}: {} {} (log end {}, high watermark {}); ISR to be {}", partition->name().to_string(), follower.value,
              joins ? "has caught up" : "has lost records below the high watermark", state.log_end.value, partition->high_watermark().value, to_text(effect.change->isr));
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

}  // namespace odradek::replication
