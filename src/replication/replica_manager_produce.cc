// Appends and deletions of records, and who waits for the high watermark, a flush or the low watermark because of them.
#include "replication/replica_manager.h"

#include <algorithm>
#include <chrono>

namespace odradek::replication {

namespace {

// Waits for something of each of some partitions, in their lists of appends; the results of those that wait come one by one.
template <class Item, class Result>
class ParkedAtPartitions : public Parked {
 public:
  using Done = UniqueFunction<void(std::vector<Result>)>;

 protected:
  // `results` by reference: who makes the items from them in the same call has done so before they move.
  ParkedAtPartitions(std::vector<Item> items, std::vector<Result>&& results, Done done)
      : items_(std::move(items)), results_(std::move(results)), waiting_(items_.size()), done_callback_(std::move(done)) {
    reserve(items_.size());
  }
  // Whether what `item` waits for is here, or never will be: then *result says so.
  virtual bool settle(const Item& item, Result& result) = 0;
  // The time is up.
  virtual void give_up(const Item& item, Result& result) = 0;

 private:
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
      if (!item.waiting || is_done() || !settle(item, results_[item.result])) return;
      item.waiting = false;
      if (--waiting_ != 0) return;
    }
    complete();
  }
  void finish(bool) override {
    std::vector<Result> results;
    {
      base::MutexLock lock(mutex_);
      for (const Item& item : items_) {
        if (item.waiting) give_up(item, results_[item.result]);
      }
      results = std::move(results_);
    }
    done_callback_(std::move(results));
  }

  std::vector<Item> items_;  // but for `waiting` they never change once parked
  base::Mutex mutex_;
  std::vector<Result> results_ GUARDED_BY(mutex_);
  size_t waiting_ GUARDED_BY(mutex_);
  Done done_callback_;
};

struct ProduceItem {
  std::shared_ptr<Partition> partition;
  size_t result = 0;
  bool waiting = true;
};

struct DeleteItem {
  std::shared_ptr<Partition> partition;
  Offset target;
  size_t result = 0;
  bool waiting = true;
};

}  // namespace

class ReplicaManager::ParkedProduce final : public ParkedAtPartitions<ProduceItem, ProduceResult> {
 public:
  ParkedProduce(std::span<const ProducePartition> partitions, std::vector<ProduceResult> results, Done done)
      : ParkedAtPartitions(items_of(partitions, results), std::move(results), std::move(done)) {}

 private:
  static std::vector<ProduceItem> items_of(std::span<const ProducePartition> partitions, const std::vector<ProduceResult>& results) {
    std::vector<ProduceItem> items;
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i].error == ErrorCode::kNone) items.push_back({partitions[i].partition, i});
    }
    return items;
  }
  bool settle(const ProduceItem& item, ProduceResult& result) override {
    auto state = item.partition->ack_state(result.need);
    if (state) result.error = *state;
    return state.has_value();
  }
  // The records stay. Who was only held back because of the debt gets what it was promised without it.
  void give_up(const ProduceItem& item, ProduceResult& result) override {
    AckNeed need = result.need;
    need.held_since.reset();
    result.error = item.partition->ack_state(need).value_or(ErrorCode::kRequestTimedOut);
  }
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

class ReplicaManager::ParkedDelete final : public ParkedAtPartitions<DeleteItem, Deleted> {
 public:
  ParkedDelete(std::vector<DeleteItem> items, std::vector<Deleted> results, Done done)
      : ParkedAtPartitions(std::move(items), std::move(results), std::move(done)) {}

 private:
  bool settle(const DeleteItem& item, Deleted& result) override {
    const ErrorCode error = item.partition->check_leader(kNoLeaderEpoch);
    const Offset low = item.partition->low_watermark();
    if (error == ErrorCode::kNone && low < item.target) return false;
    result = error == ErrorCode::kNone ? Deleted{ErrorCode::kNone, low} : Deleted{error};
    return true;
  }
  void give_up(const DeleteItem& item, Deleted& result) override { result = {ErrorCode::kRequestTimedOut, item.partition->low_watermark()}; }
};

void ReplicaManager::delete_records(std::vector<Deletion> deletions, int32_t timeout_ms, UniqueFunction<void(std::vector<Deleted>)> done) {
  std::vector<Deleted> results(deletions.size());
  std::vector<DeleteItem> items;
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
