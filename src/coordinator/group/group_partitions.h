// The partitions of __consumer_offsets that this broker leads: finds the shard of a group, loads it when leadership comes, drops it when
// it goes. A load that fails is tried again with growing pauses; a loaded shard is seen when the high watermark has passed what was
// read; a long wait for that is said once.
// Threads: any call on any; "group-N" run what has no thread of its own (timers, commits by followers, leadership, retention) and what
// is left of a busy strand's turn, "group-load-N" read.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/result.h"
#include "coordinator/group/group_config.h"
#include "coordinator/group/group_counts.h"
#include "coordinator/group/group_loader.h"
#include "coordinator/group/group_shard.h"
#include "coordinator/runtime/log_access.h"
#include "coordinator/runtime/strand.h"
#include "model/error_code.h"
#include "model/types.h"

namespace odradek::coordinator {

class GroupPartitions {
 public:
  // One partition of __consumer_offsets. Everything but the constants only on the strand.
  struct Slot {
    Slot(int32_t partition, std::shared_ptr<Strand> strand) : tp{std::string(kGroupMetadataTopic), partition}, strand(std::move(strand)) {}
    const TopicPartition tp;
    const std::shared_ptr<Strand> strand;  // shared: see Strand::make
    LeaderEpoch epoch = kNoLeaderEpoch;
    bool loading = false;
    bool awaits_log = false;  // `loading`, and not even the log is there
    // Of `epoch`, asked by the loading thread between reads; set when the load is given up.
    std::shared_ptr<std::atomic<bool>> cancelled;
    int64_t load_began_ms = 0;
    int64_t waits_since_ms = -1;  // loaded since, but not committed; -1: not so
    bool wait_is_said = false;
    std::shared_ptr<GroupShard> shard;  // set: this broker leads and everything is loaded
  };
  using SlotPtr = std::shared_ptr<Slot>;  // shared: loads and requests on their way hold theirs

  // `partition_count`: of __consumer_offsets as it is now, 0 while it does not exist. `config` outlives it.
  GroupPartitions(base::Runtime& runtime, LogAccess& log, std::function<int32_t()> partition_count, const GroupConfig& config);
  ~GroupPartitions();

  // From now on offsets expire.
  void start();
  // Drops all; what waits gets COORDINATOR_NOT_AVAILABLE, and so does every later call.
  void stop();
  bool is_stopped() const { return stopped_.load(std::memory_order_acquire); }

  GroupCounts& counts() { return counts_; }
  int32_t partition_for(std::string_view group_id) const;
  // By partition; those that were led here at some time.
  std::vector<SlotPtr> all();
  // Calls `work(shard, kNone)` on the shard's strand, or `work(nullptr, why)`: INVALID_GROUP_ID, COORDINATOR_NOT_AVAILABLE,
  // COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR.
  template <class Work>
  void on_shard(std::string_view group_id, bool empty_id_allowed, Work work) {
    if (group_id.empty() && !empty_id_allowed) return work(nullptr, ErrorCode::kInvalidGroupId);
    if (stopped_.load(std::memory_order_acquire)) return work(nullptr, ErrorCode::kCoordinatorNotAvailable);
    SlotPtr slot = find(partition_for(group_id));
    if (!slot) return work(nullptr, ErrorCode::kNotCoordinator);
    Strand& strand = *slot->strand;
    strand.run([this, slot = std::move(slot), work = std::move(work)]() mutable {
      if (slot->shard) return work(slot->shard.get(), ErrorCode::kNone);
      if (slot->loading) return work(nullptr, ErrorCode::kCoordinatorLoadInProgress);
      work(nullptr, stopped_.load(std::memory_order_acquire) ? ErrorCode::kCoordinatorNotAvailable : ErrorCode::kNotCoordinator);
    });
  }

  // Both return before anything has changed, for the caller may hold locks; calls that come later find it done.
  // `log_is_ready`: else the same epoch comes again when it is.
  void lead(int32_t partition, LeaderEpoch epoch, bool log_is_ready);
  // kNoLeaderEpoch: the partition was stopped.
  void lose(int32_t partition, LeaderEpoch epoch);

 private:
  SlotPtr find(int32_t partition);
  SlotPtr find_or_make(int32_t partition);

  // On the slot's strand.
  void drop(Slot& slot, ErrorCode why);
  void begin_load(const SlotPtr& slot, LeaderEpoch epoch, bool log_is_ready);
  void load(const SlotPtr& slot, LeaderEpoch epoch, std::shared_ptr<std::atomic<bool>> cancelled, int64_t retry_ms);
  void finish_load(const SlotPtr& slot, LeaderEpoch epoch, std::shared_ptr<std::atomic<bool>> cancelled, int64_t retry_ms,
                   std::shared_ptr<Result<LoadedState>> state);
  template <class F>
  void later(const SlotPtr& slot, std::chrono::milliseconds delay, F task) {
    runtime_.timers().after(delay, [strand = slot->strand, task = std::move(task)]() mutable { strand->post(std::move(task)); });
  }

  base::Runtime& runtime_;
  LogAccess& log_;
  const std::function<int32_t()> partition_count_;
  const GroupConfig& config_;

  base::SharedMutex mutex_;
  std::vector<SlotPtr> slots_ GUARDED_BY(mutex_);  // by partition; null: never led here
  std::atomic<bool> stopped_{false};
  GroupCounts counts_;

  std::unique_ptr<base::Executor> work_;
  std::unique_ptr<base::Executor> loaders_;
  std::unique_ptr<base::PeriodicTask> expiry_;
};

}  // namespace odradek::coordinator
