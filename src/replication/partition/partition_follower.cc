// A partition that this broker follows: the log becomes what the leader's is.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "record/frame.h"
#include "replication/partition/partition.h"

namespace odradek::replication {

// Inside the gate, so that no change of role comes in between.
class Partition::Following {
 public:
  Following(const Partition& partition, LeaderEpoch expected)
      : name_(partition.name_),
        inside_(partition.gate_),
        legal_(inside_.word().role() == Role::kFollower && (expected == kNoLeaderEpoch || expected == inside_.word().epoch())) {}

  explicit operator bool() const { return legal_; }
  tl::unexpected<Error> refusal() const {
    return fail(ErrorCode::kNotLeaderOrFollower, name_.to_string() + ": no follower in this epoch");
  }

 private:
  const TopicPartition& name_;
  const RoleGate::Inside inside_;
  const bool legal_;
};

Result<FollowerAppend> Partition::append_as_follower(ByteView records, LeaderEpoch expected, Offset leader_high_watermark, Offset leader_log_start,
                                                     std::span<const storage::EpochEntry> epochs) {
  Following following(*this, expected);
  if (!following) return following.refusal();
  base::MutexLock one(follower_mutex_);
  storage::Log& log = *log_.load(std::memory_order_acquire);
  FollowerAppend done;
  // Nothing in this log is a record that the leader still has.
  const Offset end = log.log_end_offset();
  const bool all_deleted = end <= leader_log_start && end > log.log_start_offset();
  std::optional<Offset> again;
  if (!records.empty() && (all_deleted || end == log.log_start_offset())) {
    // The leader's next batch begins below the end of this log: its log start lies inside that batch. Such a log is empty, or it was cut there
    // because the leader forgot, with its records, where an older epoch ended. (Kafka 3.9 gives the partition up in the second case.)
    ByteView rest = records;
    auto first = record::next_frame(rest);
    if (first && *first && (*first).is_batch() && first->base_offset() < end && first->last_offset() >= end) again = first->base_offset();
  }
  // A leader that forgot its older epochs cannot say whether the records here are those that it had. The ones above the high watermark, of
  // earlier leaders, may be others: below the log start they would stand hidden, and be there again after a power cut that takes the log
  // start's checkpoint back.
  if (!again && all_deleted && high_watermark() < end && log.latest_epoch() != kNoLeaderEpoch && log.latest_epoch() < expected) again = end;
  if (again) {
    if (all_deleted) {
      log::warn("replication", "{} begins at {} on the leader, not below the own end {}: everything is dropped", name_.to_string(),
                leader_log_start.value, end.value);
    }
    if (auto restarted = restart_log(log, *again); !restarted) return fail(std::move(restarted.error()));
  }
  if (!records.empty()) {
    // Before the records: an epoch whose records are missing is true of the leader's log all the same.
    for (const storage::EpochEntry& entry : epochs) log.assign_epoch_start(entry.epoch, std::max(entry.start, log.log_end_offset()));
    auto appended = log.append_as_follower(records);
    if (!appended) return fail(std::move(appended.error().error));
    done.info = std::move(*appended);
    if (flush_before_ack_.load(std::memory_order_relaxed) != storage::FlushBeforeAck::kNone && log.flushed_offset() < log.log_end_offset()) {
      log.request_flush();
    }
  }
  {
    base::MutexLock lock(mutex_);
    const Offset reachable = std::min(leader_high_watermark, log.log_end_offset());
    if (reachable > high_watermark()) {
      high_watermark_.store(reachable.value, std::memory_order_release);
      log.update_high_watermark(reachable);
      done.high_watermark_advanced = true;
    }
    heard_in_.store(expected.value, std::memory_order_release);
  }
  const Offset start = std::min(leader_log_start, high_watermark());
  if (start > log.log_start_offset()) {
    if (auto moved = log.maybe_advance_start_offset(start); !moved) return fail(std::move(moved.error()));
  }
  return done;
}

Offset Partition::lower_high_watermark() {
  base::MutexLock lock(mutex_);
  const Offset end = log_owner_->log_end_offset();
  if (high_watermark() > end) high_watermark_.store(end.value, std::memory_order_release);
  return end;
}

Result<Offset> Partition::start_following(LeaderEpoch expected) {
  {
    Following following(*this, expected);
    if (!following) return following.refusal();
    storage::Log& log = *log_.load(std::memory_order_acquire);
    if (log.latest_epoch() != kNoLeaderEpoch || high_watermark() >= log.log_end_offset()) return log.log_end_offset();
  }
  return truncate_as_follower(high_watermark(), expected);
}

Result<Offset> Partition::truncate_as_follower(Offset to, LeaderEpoch expected) {
  Following following(*this, expected);
  if (!following) return following.refusal();
  base::MutexLock one(follower_mutex_);
  storage::Log& log = *log_.load(std::memory_order_acquire);
  base::MutexLock copying(future_mutex_);
  if (auto cut = log.truncate_to(std::max(to, Offset{0})); !cut) return fail(std::move(cut.error()));
  cut_future(log.log_end_offset());
  return lower_high_watermark();
}

Result<FollowerCut> Partition::cut_to_leader(EpochEnd leader, Offset leader_log_start, LeaderEpoch expected) {
  const auto log = this->log();
  FollowerCut cut{.from = log->log_end_offset(), .to = high_watermark()};
  if (leader.end.value >= 0) {
    auto [epoch, own_end] = log->end_offset_for_epoch(leader.epoch);
    cut.to = epoch == kNoLeaderEpoch ? leader.end : epoch == leader.epoch ? std::min(own_end, leader.end) : own_end;
    cut.to = std::min(cut.to, cut.from);
  }
  // All that would be left is below one of the log starts. Below the leader's it may differ from what the leader had there; below the own one
  // it would stand in a file with the leader's records, and the records that the leader still has below it would be missing here.
  if (cut.to < cut.from && leader_log_start.value >= 0 && cut.to <= std::max(log->log_start_offset(), leader_log_start)) {
    if (auto restarted = restart_as_follower(leader_log_start, expected); !restarted) return fail(std::move(restarted.error()));
    cut.to = leader_log_start;
    cut.restarted = cut.changed = true;
    return cut;
  }
  const LeaderEpoch before = log->latest_epoch();
  auto end = truncate_as_follower(cut.to, expected);
  if (!end) return fail(std::move(end.error()));
  cut.to = *end;
  cut.changed = cut.to != cut.from || log->latest_epoch() != before;
  return cut;
}

Result<void> Partition::restart_as_follower(Offset at, LeaderEpoch expected) {
  Following following(*this, expected);
  if (!following) return following.refusal();
  base::MutexLock one(follower_mutex_);
  storage::Log& log = *log_.load(std::memory_order_acquire);
  return restart_log(log, at);
}

Result<void> Partition::restart_log(storage::Log& log, Offset at) {
  base::MutexLock copying(future_mutex_);
  if (auto restarted = log.truncate_fully_and_start_at(at); !restarted) return restarted;
  if (auto copy = future()) (void)copy->truncate_fully_and_start_at(at);  // a dir that fails ends the copy
  base::MutexLock lock(mutex_);
  high_watermark_.store(at.value, std::memory_order_release);
  return {};
}

}  // namespace odradek::replication
