// Roles, and what both know. The leader: partition_leader.cc; a follower: partition_follower.cc; readers: partition_read.cc; a copy of the log
// in another log dir: partition_move.cc.
#include "replication/partition/partition.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace odradek::replication {

Partition::Partition(TopicPartition name, BrokerId self, const LiveBrokers& live, int64_t lag_ms)
    : name_(std::move(name)), self_(self), in_sync_(self, live, lag_ms) {}

Result<void> Partition::check_change(const PartitionState& state) const {
  if (std::find(state.replicas.begin(), state.replicas.end(), self_) == state.replicas.end()) {
    return fail(ErrorCode::kUnknownTopicOrPartition, name_.to_string() + ": this broker is not a replica");
  }
  if (state.leader_epoch <= leader_epoch()) return fail(ErrorCode::kStaleControllerEpoch, name_.to_string() + ": leader epoch not above the known one");
  return {};
}

void Partition::take_log(std::shared_ptr<storage::Log> log, Offset high_watermark) {
  if (log_owner_ != nullptr) return;
  CHECK(log != nullptr);
  log_owner_ = std::move(log);
  high_watermark_.store(std::clamp(high_watermark, log_owner_->log_start_offset(), log_owner_->log_end_offset()).value, std::memory_order_release);
  log_owner_->update_high_watermark(this->high_watermark());
  const auto config = log_owner_->config();
  min_isr_.store(config->min_insync_replicas, std::memory_order_relaxed);
  flush_before_ack_.store(config->flush_before_ack, std::memory_order_relaxed);
  set_throttled(*config);
  log_owner_->set_flush_listener(weak_from_this());
  log_.store(log_owner_.get(), std::memory_order_release);
}

void Partition::publish_in_sync() {
  isr_size_.store(static_cast<int32_t>(in_sync_.isr().size()), std::memory_order_relaxed);
  replica_count_.store(static_cast<int32_t>(in_sync_.replicas().size()), std::memory_order_relaxed);
  const InSyncReplicas::Flushed flushed = in_sync_.flushed();
  flushed_elsewhere_.store(flushed.elsewhere, std::memory_order_release);
  flushing_copies_.store(flushed.copies, std::memory_order_release);
}

Result<void> Partition::become_leader(const PartitionState& state, std::shared_ptr<storage::Log> log, Offset high_watermark, int64_t now_ms) {
  base::MutexLock change(gate_.change_mutex);
  if (auto legal = check_change(state); !legal) return legal;
  const bool led_before = is_leader();
  const bool takes_over = role() == Role::kFollower;
  gate_.close();
  base::MutexLock lock(mutex_);
  take_log(std::move(log), high_watermark);
  leader_ = state.leader;
  const Offset start = log_owner_->log_end_offset();
  log_owner_->assign_epoch_start(state.leader_epoch, start);
  epoch_start_.store(start.value, std::memory_order_release);
  in_sync_.lead(state, led_before, start, now_ms);
  publish_in_sync();
  if (takes_over) {
    took_over_ms_ = in_sync_.now_ms();
    took_over_lately_.store(true, std::memory_order_relaxed);
    log_owner_->keep_producers(true);
  }
  if (!led_before) leading_since_.store(state.leader_epoch.value, std::memory_order_release);
  gate_.open(RoleWord(Role::kLeader, state.leader_epoch));
  advance_high_watermark();
  return {};
}

Result<void> Partition::become_follower(const PartitionState& state, std::shared_ptr<storage::Log> log, Offset high_watermark) {
  base::MutexLock change(gate_.change_mutex);
  if (auto legal = check_change(state); !legal) return legal;
  gate_.close();
  base::MutexLock lock(mutex_);
  take_log(std::move(log), high_watermark);
  log_owner_->keep_producers(false);
  leader_ = state.leader;
  in_sync_.follow(state);
  publish_in_sync();
  gate_.open(RoleWord(Role::kFollower, state.leader_epoch));
  return {};
}

void Partition::stop(bool offline) {
  base::MutexLock change(gate_.change_mutex);
  gate_.close();
  base::MutexLock lock(mutex_);
  in_sync_.stop();
  gate_.open(RoleWord(offline ? Role::kOffline : Role::kNone, leader_epoch()));
}

void Partition::close() {
  if (role() == Role::kLeader) closing_.store(true, std::memory_order_release);
  stop(false);
}

BrokerId Partition::leader() const {
  base::MutexLock lock(mutex_);
  return leader_;
}
int32_t Partition::partition_epoch() const {
  base::MutexLock lock(mutex_);
  return in_sync_.partition_epoch();
}
std::vector<BrokerId> Partition::isr() const {
  base::MutexLock lock(mutex_);
  return in_sync_.isr();
}
bool Partition::has_in_isr(BrokerId broker) const {
  base::MutexLock lock(mutex_);
  return in_sync_.has_in_isr(broker);
}
std::vector<BrokerId> Partition::replicas() const {
  base::MutexLock lock(mutex_);
  return in_sync_.replicas();
}
std::shared_ptr<storage::Log> Partition::log() const {
  base::MutexLock lock(mutex_);
  return log_owner_;
}

}  // namespace odradek::replication
