#include "coordinator/group/group_partitions.h"

#include <algorithm>

#include "base/log.h"

namespace odradek::coordinator {
namespace {

// While a loaded shard waits for its followers it looks after these pauses: an eighth of the time that it has waited.
constexpr int64_t kShortestLookMs = 10;
constexpr int64_t kLongestLookMs = 1'000;
constexpr int64_t kSayItWaitsMs = 5'000;
constexpr int64_t kFirstRetryMs = 1'000;
constexpr int64_t kLongestRetryMs = 30'000;

}  // namespace

GroupPartitions::GroupPartitions(base::Runtime& runtime, LogAccess& log, std::function<int32_t()> partition_count, const GroupConfig& config)
    : runtime_(runtime),
      log_(log),
      partition_count_(std::move(partition_count)),
      config_(config),
      work_(runtime.make_executor("group", 2)),
      loaders_(runtime.make_executor("group-load", std::max(config.load_threads, 1))) {}

GroupPartitions::~GroupPartitions() {
  stop();
  for (const auto& slot : all()) slot->strand->close();
  // The executors wait for what was posted before the strands were closed.
  loaders_.reset();
  work_.reset();
}

void GroupPartitions::start() {
  expiry_ = std::make_unique<base::PeriodicTask>(runtime_, *work_, std::chrono::milliseconds(config_.retention_check_interval_ms), [this] {
    for (const auto& slot : all()) {
      slot->strand->run([slot] {
        if (slot->shard) slot->shard->expire_offsets();
      });
    }
  });
}

void GroupPartitions::stop() {
  if (stopped_.exchange(true, std::memory_order_acq_rel)) return;
  expiry_.reset();
  for (const auto& slot : all()) {
    slot->strand->run([this, slot] { drop(*slot, ErrorCode::kCoordinatorNotAvailable); });
  }
}

GroupPartitions::SlotPtr GroupPartitions::find(int32_t partition) {
  base::ReaderLock lock(mutex_);
  return partition >= 0 && static_cast<size_t>(partition) < slots_.size() ? slots_[static_cast<size_t>(partition)] : nullptr;
}

GroupPartitions::SlotPtr GroupPartitions::find_or_make(int32_t partition) {
  if (SlotPtr slot = find(partition)) return slot;
  base::WriterLock lock(mutex_);
  if (slots_.size() <= static_cast<size_t>(partition)) slots_.resize(static_cast<size_t>(partition) + 1);
  SlotPtr& slot = slots_[static_cast<size_t>(partition)];
  if (!slot) slot = std::make_shared<Slot>(partition, Strand::make(*work_));
  return slot;
}

std::vector<GroupPartitions::SlotPtr> GroupPartitions::all() {
  base::ReaderLock lock(mutex_);
  std::vector<SlotPtr> result;
  for (const SlotPtr& slot : slots_) {
    if (slot) result.push_back(slot);
  }
  return result;
}

int32_t GroupPartitions::partition_for(std::string_view group_id) const {
  int32_t count = partition_count_();
  return coordinator_partition(group_id, count > 0 ? count : config_.offsets_topic_partitions);
}

// --- leadership --------------------------------------------------------------------------------------------------------------

void GroupPartitions::lead(int32_t partition, LeaderEpoch epoch, bool log_is_ready) {
  SlotPtr slot = find_or_make(partition);
  Strand& strand = *slot->strand;
  strand.post([this, slot = std::move(slot), epoch, log_is_ready] { begin_load(slot, epoch, log_is_ready); });
}

void GroupPartitions::lose(int32_t partition, LeaderEpoch epoch) {
  SlotPtr slot = find(partition);
  if (!slot) return;
  Strand& strand = *slot->strand;
  strand.post([this, slot = std::move(slot), epoch] {
    if (epoch != kNoLeaderEpoch && epoch < slot->epoch) return;
    // A partition that was stopped may come back as a new one, whose epochs start again.
    slot->epoch = epoch == kNoLeaderEpoch ? kNoLeaderEpoch : std::max(slot->epoch, epoch);
    drop(*slot, ErrorCode::kNotCoordinator);
  });
}

void GroupPartitions::drop(Slot& slot, ErrorCode why) {
  if (slot.loading) {
    slot.loading = slot.awaits_log = false;
    slot.cancelled->store(true, std::memory_order_release);
  }
  if (slot.shard) {
    std::exchange(slot.shard, nullptr)->die(why);
    log::info("group", "{}: its groups are no longer served here", slot.tp.to_string());
  }
}

void GroupPartitions::begin_load(const SlotPtr& slot, LeaderEpoch epoch, bool log_is_ready) {
  const bool awaited = slot->awaits_log && epoch == slot->epoch;
  if ((epoch <= slot->epoch && !awaited) || stopped_.load(std::memory_order_acquire)) return;
  if (slot->shard && log_is_ready) {
    // The leadership goes on in a new epoch, because a follower went away. The log is as this broker wrote it, and takes what the shard
    // appends in the epoch that it began with (log_access.h): its groups go on too, as in Kafka.
    slot->epoch = epoch;
    return;
  }
  drop(*slot, ErrorCode::kNotCoordinator);
  slot->epoch = epoch;
  slot->loading = true;
  slot->awaits_log = !log_is_ready;
  slot->cancelled = std::make_shared<std::atomic<bool>>(false);
  slot->load_began_ms = runtime_.clock().monotonic_ms();
  slot->waits_since_ms = -1;
  if (log_is_ready) load(slot, epoch, slot->cancelled, kFirstRetryMs);
}

void GroupPartitions::load(const SlotPtr& slot, LeaderEpoch epoch, std::shared_ptr<std::atomic<bool>> cancelled, int64_t retry_ms) {
  loaders_->post([this, slot, epoch, cancelled = std::move(cancelled), retry_ms]() mutable {
    auto loaded = load_groups(log_, slot->tp, epoch, config_.load_buffer_bytes,
                              [cancelled] { return !cancelled->load(std::memory_order_acquire); });
    auto state = std::make_shared<Result<LoadedState>>(std::move(loaded));  // shared: with the tries below
    slot->strand->post([this, slot, epoch, cancelled = std::move(cancelled), retry_ms, state = std::move(state)]() mutable {
      finish_load(slot, epoch, std::move(cancelled), retry_ms, std::move(state));
    });
  });
}

void GroupPartitions::finish_load(const SlotPtr& slot, LeaderEpoch epoch, std::shared_ptr<std::atomic<bool>> cancelled, int64_t retry_ms,
                                  std::shared_ptr<Result<LoadedState>> state) {
  if (cancelled->load(std::memory_order_acquire)) return;
  auto bounds = *state ? log_.bounds(slot->tp, epoch) : fail(state->error());
  if (!bounds) {
    // If leadership is gone, the listener will say so; anything else is tried again.
    if (bounds.error().code != ErrorCode::kNotLeaderOrFollower) {
      log::error("group", "{}: its groups could not be loaded, next try in {} ms: {}", slot->tp.to_string(), retry_ms, bounds.error().what);
    }
    later(slot, std::chrono::milliseconds(retry_ms), [this, slot, epoch, cancelled = std::move(cancelled), retry_ms]() mutable {
      if (cancelled->load(std::memory_order_acquire)) return;
      load(slot, epoch, std::move(cancelled), std::min(2 * retry_ms, kLongestRetryMs));
    });
    return;
  }
  if (bounds->high_watermark < (*state)->end) {
    // What was read may still be lost with this leader: nobody may see it before the high watermark has passed it.
    const int64_t now_ms = runtime_.clock().monotonic_ms();
    if (slot->waits_since_ms < 0) {
      slot->waits_since_ms = now_ms;
      slot->wait_is_said = false;
    }
    const int64_t waited_ms = now_ms - slot->waits_since_ms;
    if (waited_ms >= kSayItWaitsMs && !std::exchange(slot->wait_is_said, true)) {
      log::warn("group",
                "{}: its groups are loaded but cannot be served: they were read up to offset {}, and the high watermark has stood at or below "
                "{} for {} ms. It moves on when all in-sync replicas have the rest and are as many as min.insync.replicas asks for",
                slot->tp.to_string(), (*state)->end.value, bounds->high_watermark.value, waited_ms);
    }
    const std::chrono::milliseconds pause(std::clamp(waited_ms / 8, kShortestLookMs, kLongestLookMs));
    later(slot, pause, [this, slot, epoch, cancelled = std::move(cancelled), retry_ms, state = std::move(state)]() mutable {
      finish_load(slot, epoch, std::move(cancelled), retry_ms, std::move(state));
    });
    return;
  }
  const int64_t records = (*state)->records;
  slot->shard = std::make_shared<GroupShard>(runtime_, log_, config_, counts_, slot->strand, slot->tp, epoch);
  slot->shard->start(std::move(**state));
  slot->loading = false;
  log::info("group", "{}: {} groups with {} offsets loaded from {} records in {} ms, leader epoch {}", slot->tp.to_string(),
            slot->shard->group_count(), slot->shard->offset_count(), records, runtime_.clock().monotonic_ms() - slot->load_began_ms, epoch.value);
}

}  // namespace odradek::coordinator
