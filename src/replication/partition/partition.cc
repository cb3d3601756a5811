#include "replication/partition/partition.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "record/frame.h"
#include "storage/dir/log_dir.h"

namespace odradek::replication {

namespace {

// How long a producer goes on sending what a former leader did not acknowledge: delivery.timeout.ms of Kafka's client.
constexpr int64_t kEarlierMayComeMs = 120'000;

constexpr int64_t kLatest = -1, kEarliest = -2, kMaxTimestamp = -3, kEarliestLocal = -4;

}  // namespace

Partition::Partition(TopicPartition name, BrokerId self, const LiveBrokers& live, int64_t lag_ms)
    : name_(std::move(name)), self_(self), in_sync_(self, live, lag_ms) {}

// --- roles ------------------------------------------------------------------------------------------------------------------

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

// --- leader -----------------------------------------------------------------------------------------------------------------

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

std::optional<ErrorCode> Partition::ack_state(const AckNeed& need) const {
  const RoleWord word = gate_.word();
  if (ErrorCode error = word.check(kNoLeaderEpoch, true); error != ErrorCode::kNone) {
    if (error != ErrorCode::kNotLeaderOrFollower || !closing_.load(std::memory_order_acquire)) return error;
    const bool replicated = !need.high_watermark || high_watermark() >= need.required;
    const bool flushed = need.flushed == AckNeed::Flushed::kNowhere || log_.load(std::memory_order_acquire)->flushed_offset() >= need.required;
    return replicated && flushed && need.appended_in.value >= leading_since_.load(std::memory_order_acquire) ? ErrorCode::kNone : error;
  }
  // A leader that was replaced in between may have lost the records.
  if (need.appended_in.value < leading_since_.load(std::memory_order_acquire)) return ErrorCode::kNotLeaderOrFollower;
  if (need.high_watermark && high_watermark() < need.required) return std::nullopt;
  const storage::Log& log = *log_.load(std::memory_order_acquire);
  if (need.flushed != AckNeed::Flushed::kNowhere && log.flushed_offset() < need.required) return std::nullopt;
  if (need.held_since && log.flush_count() <= *need.held_since) return std::nullopt;
  if (need.flushed == AckNeed::Flushed::kInSync) {
    if (flushed_elsewhere_.load(std::memory_order_acquire) < need.required.value) return std::nullopt;
    if (flushing_copies_.load(std::memory_order_acquire) < min_isr()) return ErrorCode::kNotEnoughReplicasAfterAppend;
  }
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
  if (in_sync_.now_ms() - took_over_ms_ >= kEarlierMayComeMs) took_over_lately_.store(false, std::memory_order_relaxed);
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

int32_t Partition::min_isr() const {
  return std::min(min_isr_.load(std::memory_order_relaxed), replica_count_.load(std::memory_order_relaxed));
}

// --- readers ----------------------------------------------------------------------------------------------------------------

Offset Partition::readable_end(ReadBound bound) const {
  storage::Log* log = log_.load(std::memory_order_acquire);
  if (log == nullptr) return {-1};
  switch (bound) {
    case ReadBound::kLogEnd: return log->log_end_offset();
    case ReadBound::kHighWatermark: return high_watermark();
    case ReadBound::kLastStable: return log->last_stable_offset(high_watermark());
  }
  return {-1};
}

ReadResult Partition::read(const ReadParams& params) const {
  ReadResult result;
  const RoleWord word = gate_.word();
  if (result.error = word.check(params.current_leader_epoch, params.leader_only); result.error != ErrorCode::kNone) return result;
  // A follower that has not heard its leader in this epoch only knows an old high watermark, below what consumers have seen (Kafka's serves it).
  if (params.bound != ReadBound::kLogEnd && word.role() == Role::kFollower &&
      heard_in_.load(std::memory_order_acquire) != word.epoch().value) {
    result.error = ErrorCode::kNotLeaderOrFollower;
    return result;
  }
  storage::Log& log = *log_.load(std::memory_order_acquire);

  const Offset high_watermark = this->high_watermark();
  result.log_end_offset = log.log_end_offset();
  result.log_start_offset = log.log_start_offset();
  result.last_stable_offset = log.last_stable_offset(high_watermark);
  result.high_watermark = high_watermark;
  result.upper_bound = params.bound == ReadBound::kLogEnd         ? result.log_end_offset
                       : params.bound == ReadBound::kHighWatermark ? high_watermark
                                                                   : result.last_stable_offset;
  result.next_offset = params.from;

  auto out_of_range = [&] {
    ReadResult none;
    none.error = ErrorCode::kOffsetOutOfRange;
    return none;
  };
  if (params.from < result.log_start_offset) return out_of_range();
  // Before the end of the log: who has read beyond it, from a leader that lost records, must learn where to go back to.
  if (params.last_fetched_epoch != kNoLeaderEpoch) {
    auto [epoch, end] = log.end_offset_for_epoch(params.last_fetched_epoch);
    if (epoch == kNoLeaderEpoch || end.value < 0) return out_of_range();
    if (epoch < params.last_fetched_epoch || end < params.from) {
      result.diverging = EpochEnd{epoch, end};
      return result;
    }
  }
  if (params.from > result.log_end_offset) return out_of_range();
  // Nothing new, or no room for it: no look into the log.
  if (params.from >= result.upper_bound || (params.max_bytes <= 0 && !params.at_least_one_batch)) return result;

  const auto held = log.shared_from_this();  // it may be swapped away meanwhile
  auto read = log.read(params.from, params.max_bytes, result.upper_bound, params.at_least_one_batch, params.may_wait_for_disk ? nullptr : &result.cold);
  if (!read && log.dir().online() && (gate_.word().is_changing() || log_.load(std::memory_order_acquire) != &log)) {
    // Its folder has just got another name.
    gate_.wait_for_change();
    if (log_.load(std::memory_order_acquire) != &log) return this->read(params);
  }
  if (!read) {
    ReadResult none;
    none.error = read.error().code;
    return none;
  }
  result.records = std::move(read->slice);
  if (result.records.size > 0) result.next_offset = read->next_offset;
  // What lies above the high watermark is only worth something while this broker leads.
  if (params.bound == ReadBound::kLogEnd && !gate_.word().is_same_role(word)) {
    ReadResult none;
    none.error = gate_.word().check(params.current_leader_epoch, params.leader_only);
    if (none.error != ErrorCode::kNone) return none;
  }
  return result;
}

Result<ListedOffset> Partition::list_offset(int64_t timestamp, ReadBound bound, LeaderEpoch current_leader_epoch, bool leader_only) const {
  const RoleWord word = gate_.word();
  if (ErrorCode error = word.check(current_leader_epoch, leader_only); error != ErrorCode::kNone) return fail(error, {});
  const auto held = log_.load(std::memory_order_acquire)->shared_from_this();
  storage::Log& log = *held;
  const Offset upper = readable_end(bound);
  // Right after an election the high watermark may lie below what the former leader has shown: rather no answer than one that goes back.
  const bool lagging = bound != ReadBound::kLogEnd && word.role() == Role::kLeader &&
                       epoch_start_.load(std::memory_order_acquire) > high_watermark().value;
  auto not_available = [&] { return fail(ErrorCode::kOffsetNotAvailable, name_.to_string() + ": the high watermark is below the start of the leader's epoch"); };

  switch (timestamp) {
    case kLatest:
      if (lagging) return not_available();
      return ListedOffset{kNoTimestamp, upper, word.epoch()};
    case kEarliest:
    case kEarliestLocal: {
      const Offset start = log.log_start_offset();
      return ListedOffset{kNoTimestamp, start, log.epoch_for_offset(start)};
    }
    default: break;
  }
  Result<std::optional<storage::TimestampOffset>> found =
      timestamp == kMaxTimestamp ? log.max_timestamp_offset() : log.offset_for_timestamp(timestamp, upper);
  if (!found) return fail(std::move(found.error()));
  if (!*found) return ListedOffset{};
  if ((*found)->offset >= upper) {
    if (lagging) return not_available();
    return ListedOffset{};
  }
  return ListedOffset{(*found)->timestamp, (*found)->offset, (*found)->leader_epoch};
}

Result<std::vector<Offset>> Partition::list_offsets_v0(int64_t timestamp, int32_t max_count, ReadBound bound) const {
  if (ErrorCode error = check_leader(kNoLeaderEpoch); error != ErrorCode::kNone) return fail(error, {});
  storage::Log& log = *log_.load(std::memory_order_acquire);
  std::vector<Offset> offsets = log.legacy_offsets_before(timestamp, max_count);
  // The log answers with its end; a client may not see beyond the bound.
  const Offset upper = readable_end(bound);
  if (std::any_of(offsets.begin(), offsets.end(), [&](Offset offset) { return offset > upper; })) {
    std::vector<Offset> visible{upper};
    for (Offset offset : offsets) {
      if (offset < upper) visible.push_back(offset);
    }
    offsets = std::move(visible);
  }
  return offsets;
}

Result<EpochEnd> Partition::end_offset_for_epoch(LeaderEpoch asked, LeaderEpoch current_leader_epoch, bool leader_only) const {
  const RoleWord word = gate_.word();
  if (ErrorCode error = word.check(current_leader_epoch, leader_only); error != ErrorCode::kNone) return fail(error, {});
  auto [epoch, end] = log_.load(std::memory_order_acquire)->end_offset_for_epoch(asked);
  return EpochEnd{epoch, end};
}

std::vector<ReplicaView> Partition::replicas_holding(Offset from, int64_t now_ms) const {
  base::MutexLock lock(mutex_);
  if (role() != Role::kLeader) return {};
  return in_sync_.holding(from, now_ms);
}

Offset Partition::low_watermark() const {
  base::MutexLock lock(mutex_);
  if (log_owner_ == nullptr) return {-1};
  return in_sync_.smallest_start(log_owner_->log_start_offset());
}

Result<Offset> Partition::delete_records(Offset before) {
  if (ErrorCode error = check_leader(kNoLeaderEpoch); error != ErrorCode::kNone) return fail(error, {});
  storage::Log& log = *log_.load(std::memory_order_acquire);
  if (!log.config()->delete_policy) return fail(ErrorCode::kPolicyViolation, name_.to_string() + ": cleanup.policy does not have delete");
  const Offset high_watermark = this->high_watermark();
  const Offset target = before.value == -1 ? high_watermark : before;
  if (target.value < 0 || target > high_watermark) return fail(ErrorCode::kOffsetOutOfRange, name_.to_string() + ": beyond the high watermark");
  if (auto moved = log.maybe_advance_start_offset(target); !moved) return fail(std::move(moved.error()));
  return target;
}

// --- follower ---------------------------------------------------------------------------------------------------------------

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
  if (!records.empty()) {
    // Nothing in this log is a record that the leader still has, and the leader's next batch begins below the end of this log: the leader's
    // log start lies inside that batch. Such a log is empty, or it was cut there because the leader forgot, with its records, where an
    // older epoch ended. (Kafka 3.9 gives the partition up in the second case.)
    if (const Offset end = log.log_end_offset(); end == log.log_start_offset() || end <= leader_log_start) {
      ByteView rest = records;
      auto first = record::next_frame(rest);
      if (first && *first && (*first).is_batch() && first->base_offset() < end && first->last_offset() >= end) {
        if (end > log.log_start_offset()) {
          log::warn("replication", "{} begins at {} on the leader, not below the own end {}: everything is dropped", name_.to_string(),
                    leader_log_start.value, end.value);
        }
        if (auto restarted = restart_log(log, first->base_offset()); !restarted) return fail(std::move(restarted.error()));
      }
    }
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
