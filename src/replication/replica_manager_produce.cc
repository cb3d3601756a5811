// Appends and deletions of records, and who waits for the high watermark, a flush or the low watermark because of them.
#include "replication/replica_manager.h"

#include <algorithm>
#include <chrono>

namespace odradek::replication {

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

}  // namespace odradek::replication
