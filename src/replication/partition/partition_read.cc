// Reads of a partition: records, offsets by time and by epoch, where its log begins.
#include <algorithm>
#include <utility>

#include "replication/partition/partition.h"
#include "storage/dir/log_dir.h"

namespace odradek::replication {

namespace {

constexpr int64_t kLatest = -1, kEarliest = -2, kMaxTimestamp = -3, kEarliestLocal = -4;

}  // namespace

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

}  // namespace odradek::replication
