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

bool contains(const std::vector<BrokerId>& list, BrokerId id) { return std::find(list.begin(), list.end(), id) != list.end(); }

}  // namespace

std::string to_text(const std::vector<BrokerId>& ids) {
  std::string text;
  for (BrokerId id : ids) text += (text.empty() ? "" : ",") + std::to_string(id.value);
  return "[" + text + "]";
}

Partition::Partition(TopicPartition name, BrokerId self, const LiveBrokers& live, int64_t lag_ms)
    : name_(std::move(name)), self_(self), live_(live), lag_ms_(lag_ms) {}

// --- the gate ---------------------------------------------------------------------------------------------------------------

void Partition::enter_append(uint64_t& word) const {
  while (true) {
    // Sequentially consistent, as close_gate(): either this load sees the gate closed or that one sees the appender inside.
    appenders_.fetch_add(1, std::memory_order_seq_cst);
    word = word_.load(std::memory_order_seq_cst);
    if ((word & kClosing) == 0) return;
    leave_append();
    base::MutexLock wait_for_the_change(change_mutex_);
  }
}

void Partition::leave_append() const {
  if (appenders_.fetch_sub(1, std::memory_order_seq_cst) == 1 && (word_.load(std::memory_order_seq_cst) & kClosing) != 0) {
    appenders_.notify_all();
  }
}

void Partition::close_gate() {
  word_.fetch_or(kClosing, std::memory_order_seq_cst);
  for (uint32_t inside; (inside = appenders_.load(std::memory_order_seq_cst)) != 0;) appenders_.wait(inside);
}

void Partition::open_gate(uint64_t word) { word_.store(word, std::memory_order_seq_cst); }

// --- roles ------------------------------------------------------------------------------------------------------------------

Result<void> Partition::check_change(const PartitionState& state) const {
  if (!contains(state.replicas, self_)) return fail(ErrorCode::kUnknownTopicOrPartition, name_.to_string() + ": this broker is not a replica");
  if (state.leader_epoch <= leader_epoch()) return fail(ErrorCode::kStaleControllerEpoch, name_.to_string() + ": leader epoch not above the known one");
  return {};
}

void Partition::take_state(const PartitionState& state, std::shared_ptr<storage::Log> log, Offset high_watermark) {
  if (log_owner_ == nullptr) {
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
  leader_ = state.leader;
  partition_epoch_ = state.partition_epoch;
  replicas_ = state.replicas;
  isr_ = state.isr;
  isr_size_.store(static_cast<int32_t>(isr_.size()), std::memory_order_relaxed);
  replica_count_.store(static_cast<int32_t>(replicas_.size()), std::memory_order_relaxed);
  proposed_isr_.reset();
  waiting_for_controller_ = false;
}

Result<void> Partition::become_leader(const PartitionState& state, std::shared_ptr<storage::Log> log, Offset high_watermark, int64_t now_ms) {
  base::MutexLock change(change_mutex_);
  if (auto legal = check_change(state); !legal) return legal;
  const bool led_before = is_leader();
  const bool takes_over = role() == Role::kFollower;
  close_gate();
  base::MutexLock lock(mutex_);
  take_state(state, std::move(log), high_watermark);
  now_ms_ = std::max(now_ms_, now_ms);
  if (takes_over) {
    took_over_ms_ = now_ms_;
    took_over_lately_.store(true, std::memory_order_relaxed);
  }

  const Offset start = log_owner_->log_end_offset();
  log_owner_->assign_epoch_start(state.leader_epoch, start);
  epoch_start_.store(start.value, std::memory_order_release);
  if (!led_before) ends_.clear();
  if (!led_before) leading_since_.store(state.leader_epoch.value, std::memory_order_release);

  std::vector<Remote> remotes;
  for (BrokerId id : state.replicas) {
    if (id == self_) continue;
    Remote* known = led_before ? find_remote(id) : nullptr;
    Remote remote = known != nullptr ? *known : Remote{.id = id};
    const bool in_sync = contains(state.isr, id);
    // Who has stayed in sync has what it said on its disk; whoever was away says it anew.
    if (!in_sync) remote.flushed.reset();
    remote.last_caught_up_ms = in_sync ? now_ms : 0;
    remote.last_fetch_ms = known != nullptr && in_sync ? now_ms : 0;
    remote.last_fetch_leader_end = start;
    remote.begins = true;
    remotes.push_back(remote);
  }
  remotes_ = std::move(remotes);
  count_flushed();
  open_gate(make_word(Role::kLeader, state.leader_epoch));
  advance_high_watermark();
  return {};
}

Result<void> Partition::become_follower(const PartitionState& state, std::shared_ptr<storage::Log> log, Offset high_watermark) {
  base::MutexLock change(change_mutex_);
  if (auto legal = check_change(state); !legal) return legal;
  close_gate();
  base::MutexLock lock(mutex_);
  take_state(state, std::move(log), high_watermark);
  remotes_.clear();
  open_gate(make_word(Role::kFollower, state.leader_epoch));
  return {};
}

void Partition::stop(bool offline) {
  base::MutexLock change(change_mutex_);
  close_gate();
  base::MutexLock lock(mutex_);
  remotes_.clear();
  proposed_isr_.reset();
  open_gate(make_word(offline ? Role::kOffline : Role::kNone, leader_epoch()));
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
  return partition_epoch_;
}
std::vector<BrokerId> Partition::isr() const {
  base::MutexLock lock(mutex_);
  return isr_;
}
bool Partition::has_in_isr(BrokerId broker) const {
  base::MutexLock lock(mutex_);
  return contains(isr_, broker);
}
std::vector<BrokerId> Partition::replicas() const {
  base::MutexLock lock(mutex_);
  return replicas_;
}
std::shared_ptr<storage::Log> Partition::log() const {
  base::MutexLock lock(mutex_);
  return log_owner_;
}

ErrorCode Partition::check_word(uint64_t word, LeaderEpoch asked, bool leader_only) {
  const auto role = static_cast<Role>(word & kRoleMask);
  if (role == Role::kOffline) return ErrorCode::kKafkaStorageError;
  if (role == Role::kNone) return ErrorCode::kNotLeaderOrFollower;
  if (asked != kNoLeaderEpoch) {
    if (asked < epoch_of(word)) return ErrorCode::kFencedLeaderEpoch;
    if (asked > epoch_of(word)) return ErrorCode::kUnknownLeaderEpoch;
  }
  if (leader_only && role != Role::kLeader) return ErrorCode::kNotLeaderOrFollower;
  return ErrorCode::kNone;
}

ErrorCode Partition::check_leader(LeaderEpoch asked) const { return check_word(word_.load(std::memory_order_acquire), asked, true); }

// --- leader -----------------------------------------------------------------------------------------------------------------

tl::expected<LeaderAppend, storage::AppendError> Partition::append_as_leader(MutableByteView records, int16_t acks, LeaderEpoch expected,
                                                                             const storage::AppendOptions& options) {
  uint64_t word;
  enter_append(word);
  struct Leave {
    const Partition& partition;
    ~Leave() { partition.leave_append(); }
  } leave{*this};

  auto refuse = [&](ErrorCode code, std::string what) {
    return tl::unexpected<storage::AppendError>(storage::AppendError{Error{code, std::move(what)}, {}});
  };
  if (ErrorCode error = check_word(word, kNoLeaderEpoch, true); error != ErrorCode::kNone) return refuse(error, {});
  const LeaderEpoch epoch = epoch_of(word);
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
  const uint64_t word = word_.load(std::memory_order_acquire);
  if (ErrorCode error = check_word(word, kNoLeaderEpoch, true); error != ErrorCode::kNone) {
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

// An acks=all that waits for the disks counts every member of the committed ISR that tells what it has flushed, and waits for those that
// are about to join too: they may lead right after. A member that does not tell is no flushed copy, but does not hold the answer back either.
void Partition::count_flushed() {
  int32_t copies = 1;
  int64_t smallest = INT64_MAX;
  for (const Remote& remote : remotes_) {
    if (!remote.flushed || !in_larger_isr(remote.id)) continue;
    copies += contains(isr_, remote.id);
    smallest = std::min(smallest, remote.flushed->value);
  }
  flushed_elsewhere_.store(smallest, std::memory_order_release);
  flushing_copies_.store(copies, std::memory_order_release);
}

Partition::Remote* Partition::find_remote(BrokerId id) {
  for (Remote& remote : remotes_) {
    if (remote.id == id) return &remote;
  }
  return nullptr;
}

bool Partition::in_larger_isr(BrokerId id) const { return contains(isr_, id) || (proposed_isr_ && contains(*proposed_isr_, id)); }

bool Partition::caught_up(const Remote& remote, Offset leader_end) const {
  // Kafka's rule, but that the time in which this broker held its fetch although there were records is not the follower's.
  const int64_t held_ms = remote.held_ms + (remote.holding_since_ms ? now_ms_ - *remote.holding_since_ms : 0);
  return !remote.lacks_committed && (remote.log_end == leader_end || now_ms_ - remote.last_caught_up_ms - held_ms <= lag_ms_);
}

bool Partition::advance_high_watermark() {
  if (role() != Role::kLeader || is_under_min_isr()) return false;
  const Offset end = log_owner_->log_end_offset();
  Offset smallest = end;
  for (const Remote& remote : remotes_) {
    // Who is about to join holds it back too: else the high watermark would run ahead of it for ever.
    if (remote.log_end < smallest && (in_larger_isr(remote.id) || (caught_up(remote, end) && live_.is_alive(remote.id)))) smallest = remote.log_end;
  }
  if (smallest <= high_watermark()) return false;
  high_watermark_.store(smallest.value, std::memory_order_release);
  log_owner_->update_high_watermark(smallest);
  return true;
}

IsrChange Partition::propose(std::vector<BrokerId> isr) {
  proposed_isr_ = isr;
  count_flushed();
  return {epoch_of(word_.load(std::memory_order_relaxed)), partition_epoch_, std::move(isr)};
}

constexpr int64_t kEndsRemembered = 32;

void Partition::note_end(Offset leader_end) {
  if (!ends_.empty() && now_ms_ - ends_.back().first < std::max<int64_t>(lag_ms_ / kEndsRemembered, 1)) return;
  ends_.emplace_back(now_ms_, leader_end);
  while (ends_.front().first < now_ms_ - 2 * lag_ms_) ends_.pop_front();
}

int64_t Partition::last_time_below(Offset end) const {
  for (auto at = ends_.rbegin(); at != ends_.rend(); ++at) {
    if (at->second <= end) return at->first;
  }
  return -1;
}

FollowerFetchEffect Partition::record_follower_fetch(BrokerId follower, const FollowerState& state, Offset leader_end, int64_t now_ms) {
  FollowerFetchEffect effect;
  base::MutexLock lock(mutex_);
  if (effect.error = check_leader(state.leader_epoch); effect.error != ErrorCode::kNone) return effect;
  Remote* remote = find_remote(follower);
  if (remote == nullptr) {
    // Its assignment is known to the controller but not yet here.
    effect.error = ErrorCode::kUnknownLeaderEpoch;
    return effect;
  }
  bool first = std::exchange(remote->begins, false);
  if (state.broker_epoch != -1) {
    if (state.broker_epoch < remote->broker_epoch) {
      effect.error = ErrorCode::kNotLeaderOrFollower;
      return effect;
    }
    first = first || state.broker_epoch > remote->broker_epoch;
    remote->broker_epoch = state.broker_epoch;
  }
  const Offset offset = state.log_end;
  now_ms_ = std::max(now_ms_, now_ms);
  remote->held_ms += state.held_ms;
  if (remote->holding_since_ms) remote->held_ms += now_ms_ - *std::exchange(remote->holding_since_ms, std::nullopt);
  int64_t caught_up_ms = last_time_below(offset);
  if (offset >= leader_end) {
    caught_up_ms = now_ms;
  } else if (offset >= remote->last_fetch_leader_end) {
    caught_up_ms = std::max(caught_up_ms, remote->last_fetch_ms);
  }
  if (caught_up_ms > remote->last_caught_up_ms) {
    remote->last_caught_up_ms = caught_up_ms;
    remote->held_ms = 0;
  }
  note_end(leader_end);
  const bool moved = remote->log_end != offset;
  effect.low_watermark_moved = remote->log_start != state.log_start;
  remote->log_end = offset;
  remote->log_start = state.log_start;
  if (state.flushed_is_to_come && wants_flushed()) {
    remote->flushed_is_to_come_ms = now_ms_;
  } else {
    remote->flushed_is_to_come_ms.reset();
    effect.flushed_moved = remote->flushed != state.flushed;
    remote->flushed = state.flushed;
    if (effect.flushed_moved) count_flushed();
  }
  remote->last_fetch_leader_end = leader_end;
  remote->last_fetch_ms = now_ms;

  if (first || remote->lacks_committed) remote->lacks_committed = offset < high_watermark();
  if (remote->lacks_committed && contains(isr_, follower) && !proposed_isr_ && !waiting_for_controller_) {
    std::vector<BrokerId> isr = isr_;
    std::erase(isr, follower);
    effect.change = propose(std::move(isr));
    return effect;
  }
  remote->waits_to_join = may_join(*remote);
  if (remote->waits_to_join && !remote->flushed_is_to_come_ms && !proposed_isr_ && !waiting_for_controller_ && live_.is_alive(follower)) {
    remote->waits_to_join = false;
    std::vector<BrokerId> isr = isr_;
    isr.push_back(follower);
    effect.change = propose(std::move(isr));
  }
  if (moved) effect.high_watermark_advanced = advance_high_watermark();
  return effect;
}

void Partition::hold_follower(BrokerId follower, int64_t now_ms) {
  base::MutexLock lock(mutex_);
  if (Remote* remote = find_remote(follower); remote != nullptr && !remote->holding_since_ms) remote->holding_since_ms = now_ms;
}

bool Partition::may_join(const Remote& remote) const {
  const bool stays = contains(isr_, remote.id) && (!proposed_isr_ || contains(*proposed_isr_, remote.id));
  // What was acknowledged as flushed has to be on the disks of all that may lead.
  if (wants_flushed() && remote.flushed && *remote.flushed < high_watermark()) return false;
  return !stays && remote.log_end >= high_watermark() && remote.log_end.value >= epoch_start_.load(std::memory_order_relaxed);
}

// Of who has just opened a session, and is not one that never says what it has flushed.
constexpr int64_t kFlushedComesWithinMs = 1'000;

std::optional<IsrChange> Partition::expand_isr() {
  base::MutexLock lock(mutex_);
  if (role() != Role::kLeader || proposed_isr_ || waiting_for_controller_) return std::nullopt;
  std::vector<BrokerId> isr = isr_;
  for (Remote& remote : remotes_) {
    if (!remote.waits_to_join || !live_.is_alive(remote.id)) continue;
    if (remote.flushed_is_to_come_ms && now_ms_ - *remote.flushed_is_to_come_ms < kFlushedComesWithinMs) continue;
    remote.waits_to_join = false;
    if (may_join(remote)) isr.push_back(remote.id);
  }
  if (isr.size() == isr_.size()) return std::nullopt;
  return propose(std::move(isr));
}

std::optional<IsrChange> Partition::shrink_isr(int64_t now_ms, std::string* why) {
  base::MutexLock lock(mutex_);
  if (role() != Role::kLeader) return std::nullopt;
  now_ms_ = std::max(now_ms_, now_ms);
  if (now_ms_ - took_over_ms_ >= kEarlierMayComeMs) took_over_lately_.store(false, std::memory_order_relaxed);
  const Offset end = log_owner_->log_end_offset();
  note_end(end);
  // What the controller refused is tried again at this pace: who is refused now may be one that it has not heard of yet.
  for (Remote& remote : remotes_) {
    if (std::exchange(remote.was_refused, false)) remote.waits_to_join = true;
  }
  if (proposed_isr_ || waiting_for_controller_) return std::nullopt;
  std::vector<BrokerId> isr;
  for (BrokerId id : isr_) {
    Remote* remote = find_remote(id);
    if (id == self_ || (remote != nullptr && caught_up(*remote, end))) {
      isr.push_back(id);
    } else if (why != nullptr) {
      *why += fmt::format("{}{}", why->empty() ? "" : "; ", id.value);
      if (remote != nullptr) {
        if (remote->lacks_committed) *why += " has lost records below the high watermark,";
        *why += fmt::format(" ends at {} of {}, had caught up {} ms ago", remote->log_end.value, end.value, now_ms_ - remote->last_caught_up_ms);
        *why += remote->last_fetch_ms > 0 ? fmt::format(", fetched last {} ms ago", now_ms_ - remote->last_fetch_ms) : ", has not fetched since this broker leads";
        if (remote->held_ms > 0) *why += fmt::format(", {} ms of it this broker held its fetches", remote->held_ms);
      }
    }
  }
  if (isr.size() == isr_.size()) return std::nullopt;
  return propose(std::move(isr));
}

bool Partition::on_isr_changed(LeaderEpoch epoch, const std::vector<BrokerId>& isr, int32_t partition_epoch) {
  base::MutexLock lock(mutex_);
  if (role() != Role::kLeader || epoch != leader_epoch() || partition_epoch < partition_epoch_) return false;
  isr_ = isr;
  isr_size_.store(static_cast<int32_t>(isr_.size()), std::memory_order_relaxed);
  partition_epoch_ = partition_epoch;
  proposed_isr_.reset();
  count_flushed();
  return advance_high_watermark();
}

void Partition::on_isr_refused(LeaderEpoch epoch, bool wait_for_controller) {
  base::MutexLock lock(mutex_);
  if (epoch != leader_epoch()) return;  // the change belongs to a former leadership
  // While the controller may have taken the larger ISR, acks go on as if it had; a refusal that is final gives the committed one back.
  if (wait_for_controller) {
    waiting_for_controller_ = true;
  } else if (proposed_isr_) {
    for (Remote& remote : remotes_) {
      if (contains(*proposed_isr_, remote.id) && !contains(isr_, remote.id)) remote.was_refused = true;
    }
    proposed_isr_.reset();
    count_flushed();
  }
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
  const uint64_t word = word_.load(std::memory_order_acquire);
  if (result.error = check_word(word, params.current_leader_epoch, params.leader_only); result.error != ErrorCode::kNone) return result;
  // A follower that has not heard its leader in this epoch only knows an old high watermark, below what consumers have seen (Kafka's serves it).
  if (params.bound != ReadBound::kLogEnd && static_cast<Role>(word & kRoleMask) == Role::kFollower &&
      heard_in_.load(std::memory_order_acquire) != epoch_of(word).value) {
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
  if (!read && log.dir().online() && ((word_.load(std::memory_order_acquire) & kClosing) != 0 || log_.load(std::memory_order_acquire) != &log)) {
    // Its folder has just got another name.
    { base::MutexLock wait_for_the_change(change_mutex_); }
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
  if (params.bound == ReadBound::kLogEnd && (word_.load(std::memory_order_acquire) & ~kClosing) != (word & ~kClosing)) {
    ReadResult none;
    none.error = check_word(word_.load(std::memory_order_acquire), params.current_leader_epoch, params.leader_only);
    if (none.error != ErrorCode::kNone) return none;
  }
  return result;
}

Result<ListedOffset> Partition::list_offset(int64_t timestamp, ReadBound bound, LeaderEpoch current_leader_epoch, bool leader_only) const {
  const uint64_t word = word_.load(std::memory_order_acquire);
  if (ErrorCode error = check_word(word, current_leader_epoch, leader_only); error != ErrorCode::kNone) return fail(error, {});
  const auto held = log_.load(std::memory_order_acquire)->shared_from_this();
  storage::Log& log = *held;
  const Offset upper = readable_end(bound);
  // Right after an election the high watermark may lie below what the former leader has shown: rather no answer than one that goes back.
  const bool lagging = bound != ReadBound::kLogEnd && static_cast<Role>(word & kRoleMask) == Role::kLeader &&
                       epoch_start_.load(std::memory_order_acquire) > high_watermark().value;
  auto not_available = [&] { return fail(ErrorCode::kOffsetNotAvailable, name_.to_string() + ": the high watermark is below the start of the leader's epoch"); };

  switch (timestamp) {
    case kLatest:
      if (lagging) return not_available();
      return ListedOffset{kNoTimestamp, upper, epoch_of(word)};
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
  const uint64_t word = word_.load(std::memory_order_acquire);
  if (ErrorCode error = check_word(word, current_leader_epoch, leader_only); error != ErrorCode::kNone) return fail(error, {});
  auto [epoch, end] = log_.load(std::memory_order_acquire)->end_offset_for_epoch(asked);
  return EpochEnd{epoch, end};
}

std::vector<ReplicaView> Partition::replicas_holding(Offset from, int64_t now_ms) const {
  std::vector<ReplicaView> views;
  base::MutexLock lock(mutex_);
  if (role() != Role::kLeader) return views;
  for (const Remote& remote : remotes_) {
    if (contains(isr_, remote.id) && remote.log_end >= from && remote.log_start <= from) {
      views.push_back({remote.id, remote.log_end, now_ms - remote.last_caught_up_ms});
    }
  }
  return views;
}

Offset Partition::low_watermark() const {
  base::MutexLock lock(mutex_);
  if (log_owner_ == nullptr) return {-1};
  Offset low = log_owner_->log_start_offset();
  for (const Remote& remote : remotes_) {
    if (remote.log_start < low && live_.is_alive(remote.id)) low = remote.log_start;
  }
  return low;
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
  Following(Partition& partition, LeaderEpoch expected) : partition_(partition) {
    partition.enter_append(word_);
    legal_ = static_cast<Role>(word_ & kRoleMask) == Role::kFollower && (expected == kNoLeaderEpoch || expected == epoch_of(word_));
  }
  ~Following() { partition_.leave_append(); }
  Following(const Following&) = delete;

  explicit operator bool() const { return legal_; }
  tl::unexpected<Error> refusal() const {
    return fail(ErrorCode::kNotLeaderOrFollower, partition_.name_.to_string() + ": no follower in this epoch");
  }

 private:
  Partition& partition_;
  uint64_t word_ = 0;
  bool legal_ = false;
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
