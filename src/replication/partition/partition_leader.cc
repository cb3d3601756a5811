// A partition that this broker leads: appends, what their answers wait for, the high watermark; the ISR is InSyncReplicas' work.
#include <fmt/format.h>

#include <utility>

#include "replication/partition/partition.h"

namespace odradek::replication {

namespace {

// How long what a producer sent to the former leader may still come here: longer than it waits for an answer there (request.timeout.ms of Java's
// client 30 s, socket.timeout.ms of librdkafka 60 s), shorter than it goes on trying (delivery.timeout.ms 120 s).
constexpr int64_t kEarlierMayComeMs = 75'000;

}  // namespace

tl::expected<LeaderAppend, storage::AppendError> Partition::append_as_leader(MutableByteView records, int16_t acks, LeaderEpoch expected,
                                                                             const storage::AppendOptions& options) {
  const RoleGate::Inside inside(gate_);
  const RoleWord word = inside.word();

  auto refuse = [&](ErrorCode code, std::string what) {
    return tl::unexpected<storage::AppendError>(storage::AppendError{Error{code, std::move(what)}, {}});
  };
  if (ErrorCode error = word.check(kNoLeaderEpoch, true); error != ErrorCode::kNone) return refuse(error, {});
  const LeaderEpoch epoch = word.epoch();
  if (expected != kNoLeaderEpoch && (expected > epoch || expected.value < leading_since_.load(std::memory_order_acquire))) {
    return refuse(ErrorCode::kNotLeaderOrFollower, "leadership changed");
  }
  if (acks == -1 && is_under_min_isr()) {
    return refuse(ErrorCode::kNotEnoughReplicas, fmt::format("The size of the current ISR of {} is {}, below min.insync.replicas {}", name_.to_string(),
                                                             isr_size_.load(std::memory_order_relaxed), min_isr()));
  }

  const storage::FlushBeforeAck before_ack = flush_before_ack_.load(std::memory_order_relaxed);
  AckNeed need;
  need.appended_in = epoch;
  need.high_watermark = acks == -1;
  if (acks == -1 && before_ack != storage::FlushBeforeAck::kNone) {
    need.flushed = AckNeed::Flushed::kInSync;
    if (const int32_t copies = flushing_copies_.load(std::memory_order_acquire); copies < min_isr()) {
      return refuse(ErrorCode::kNotEnoughReplicas, fmt::format("{} of the replicas of {} in sync tell what they have flushed, below min.insync.replicas {}",
                                                               copies, name_.to_string(), min_isr()));
    }
  } else if (acks == 1 && before_ack == storage::FlushBeforeAck::kAll) {
    need.flushed = AckNeed::Flushed::kHere;
  }

  storage::Log& log = *log_.load(std::memory_order_acquire);
  storage::AppendOptions how = options;
  how.earlier_may_be_on_the_way = took_over_lately_.load(std::memory_order_relaxed);
  auto info = log.append_as_leader(records, epoch, how);
  if (!info) return tl::unexpected<storage::AppendError>(std::move(info.error()));
  need.required = info->last_offset + 1;
  if (need.flushed != AckNeed::Flushed::kNowhere && log.flushed_offset() < need.required) log.request_flush();
  if (acks != 0 && options.origin == record::AppendOrigin::kClient) need.held_since = log.debt_hold();
  LeaderAppend done;
  done.need = need;
  done.info = std::move(*info);
  {
    base::MutexLock lock(mutex_);
    done.high_watermark_advanced = advance_high_watermark();
  }
  return done;
}

bool Partition::is_flushed(const AckNeed& need) const {
  if (need.flushed == AckNeed::Flushed::kNowhere) return true;
  if (log_.load(std::memory_order_acquire)->flushed_offset() < need.required) return false;
  return need.flushed != AckNeed::Flushed::kInSync || flushed_elsewhere_.load(std::memory_order_acquire) >= need.required.value;
}

bool Partition::has_too_few_flushed(const AckNeed& need) const {
  return need.flushed == AckNeed::Flushed::kInSync && flushing_copies_.load(std::memory_order_acquire) < min_isr();
}

std::optional<ErrorCode> Partition::ack_state(const AckNeed& need) const {
  const RoleWord word = gate_.word();
  if (ErrorCode error = word.check(kNoLeaderEpoch, true); error != ErrorCode::kNone) {
    if (error != ErrorCode::kNotLeaderOrFollower || !closing_.load(std::memory_order_acquire)) return error;
    const bool replicated = !need.high_watermark || high_watermark() >= need.required;
    const bool flushed = is_flushed(need) && !has_too_few_flushed(need);
    return replicated && flushed && need.appended_in.value >= leading_since_.load(std::memory_order_acquire) ? ErrorCode::kNone : error;
  }
  // A leader that was replaced in between may have lost the records.
  if (need.appended_in.value < leading_since_.load(std::memory_order_acquire)) return ErrorCode::kNotLeaderOrFollower;
  if (need.high_watermark && high_watermark() < need.required) return std::nullopt;
  if (!is_flushed(need)) return std::nullopt;
  if (need.held_since && log_.load(std::memory_order_acquire)->flush_count() <= *need.held_since) return std::nullopt;
  if (has_too_few_flushed(need)) return ErrorCode::kNotEnoughReplicasAfterAppend;
  return need.high_watermark && is_under_min_isr() ? ErrorCode::kNotEnoughReplicasAfterAppend : ErrorCode::kNone;
}

bool Partition::advance_high_watermark() {
  if (role() != Role::kLeader || is_under_min_isr()) return false;
  const Offset smallest = in_sync_.smallest_end(log_owner_->log_end_offset());
  if (smallest <= high_watermark()) return false;
  high_watermark_.store(smallest.value, std::memory_order_release);
  log_owner_->update_high_watermark(smallest);
  return true;
}

InSyncReplicas::Committed Partition::committed() const {
  return {high_watermark(), Offset{epoch_start_.load(std::memory_order_relaxed)}, wants_flushed()};
}

FollowerFetchEffect Partition::record_follower_fetch(BrokerId follower, const FollowerState& state, Offset leader_end, int64_t now_ms) {
  base::MutexLock lock(mutex_);
  if (ErrorCode error = check_leader(state.leader_epoch); error != ErrorCode::kNone) return {.error = error};
  InSyncReplicas::Recorded recorded = in_sync_.record_fetch(follower, state, leader_end, committed(), now_ms);
  FollowerFetchEffect& effect = recorded.effect;
  if (effect.flushed_moved || effect.change) publish_in_sync();
  if (recorded.may_advance) effect.high_watermark_advanced = advance_high_watermark();
  return std::move(effect);
}

void Partition::hold_follower(BrokerId follower, int64_t now_ms) {
  base::MutexLock lock(mutex_);
  in_sync_.hold(follower, now_ms);
}

void Partition::release_follower(BrokerId follower, int64_t now_ms) {
  base::MutexLock lock(mutex_);
  in_sync_.release(follower, now_ms);
}

std::optional<IsrChange> Partition::expand_isr() {
  base::MutexLock lock(mutex_);
  if (role() != Role::kLeader) return std::nullopt;
  auto change = in_sync_.expand(committed());
  if (change) publish_in_sync();
  return change;
}

std::optional<IsrChange> Partition::shrink_isr(int64_t now_ms, std::string* why) {
  base::MutexLock lock(mutex_);
  if (role() != Role::kLeader) return std::nullopt;
  auto change = in_sync_.shrink(log_owner_->log_end_offset(), now_ms, why);
  if (change) publish_in_sync();
  if (took_over_lately_.load(std::memory_order_relaxed) && in_sync_.now_ms() - took_over_ms_ >= kEarlierMayComeMs) {
    took_over_lately_.store(false, std::memory_order_relaxed);
    log_owner_->keep_producers(false);
  }
  return change;
}

bool Partition::on_isr_changed(LeaderEpoch epoch, const std::vector<BrokerId>& isr, int32_t partition_epoch) {
  base::MutexLock lock(mutex_);
  if (role() != Role::kLeader || epoch != leader_epoch() || !in_sync_.commit(isr, partition_epoch)) return false;
  publish_in_sync();
  return advance_high_watermark();
}

void Partition::on_isr_refused(LeaderEpoch epoch, bool wait_for_controller) {
  base::MutexLock lock(mutex_);
  if (epoch != leader_epoch()) return;  // the change belongs to a former leadership
  in_sync_.refuse(wait_for_controller);
  publish_in_sync();
}

bool Partition::is_under_replicated() const {
  return is_leader() && isr_size_.load(std::memory_order_relaxed) < replica_count_.load(std::memory_order_relaxed);
}

}  // namespace odradek::replication
