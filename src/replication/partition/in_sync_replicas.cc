#include "replication/partition/in_sync_replicas.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace odradek::replication {

namespace {

// Of who has just opened a session, and is not one that never says what it has flushed.
constexpr int64_t kFlushedComesWithinMs = 1'000;

bool contains(const std::vector<BrokerId>& list, BrokerId id) { return std::find(list.begin(), list.end(), id) != list.end(); }

}  // namespace

// --- what LeaderAndIsr says -------------------------------------------------------------------------------------------------

void InSyncReplicas::take(const PartitionState& state) {
  leader_epoch_ = state.leader_epoch;
  partition_epoch_ = state.partition_epoch;
  replicas_ = state.replicas;
  isr_ = state.isr;
  proposed_.reset();
  waiting_for_controller_ = false;
}

void InSyncReplicas::lead(const PartitionState& state, bool led_before, Offset log_end, int64_t now_ms) {
  take(state);
  now_ms_ = std::max(now_ms_, now_ms);
  if (!led_before) ends_.clear();
  // A controller that ends a reassignment takes those who leave out of the replicas first, and out of the ISR in a second step. Between the two
  // the next controller may make one of them the leader: they count as long as they are in sync.
  std::vector<BrokerId> counted = state.replicas;
  for (BrokerId id : state.isr) {
    if (!contains(counted, id)) counted.push_back(id);
  }
  std::vector<Remote> remotes;
  for (BrokerId id : counted) {
    if (id == self_) continue;
    Remote* known = led_before ? find(id) : nullptr;
    Remote remote = known != nullptr ? *known : Remote{.id = id};
    const bool in_sync = contains(state.isr, id);
    // Who has stayed in sync has what it said on its disk; whoever was away says it anew.
    if (!in_sync) {
      remote.flushed.reset();
      remote.has_fetched = false;
    }
    remote.last_caught_up_ms = in_sync ? now_ms : 0;
    remote.last_fetch_ms = known != nullptr && in_sync ? now_ms : 0;
    remote.last_fetch_leader_end = log_end;
    remote.begins = true;
    remotes.push_back(remote);
  }
  remotes_ = std::move(remotes);
}

void InSyncReplicas::follow(const PartitionState& state) {
  take(state);
  remotes_.clear();
}

void InSyncReplicas::stop() {
  remotes_.clear();
  proposed_.reset();
}

bool InSyncReplicas::has_in_isr(BrokerId id) const { return contains(isr_, id); }

InSyncReplicas::Remote* InSyncReplicas::find(BrokerId id) {
  for (Remote& remote : remotes_) {
    if (remote.id == id) return &remote;
  }
  return nullptr;
}

// --- what a follower says ---------------------------------------------------------------------------------------------------

int64_t InSyncReplicas::caught_up_ms(const Remote& remote, Offset log_end, Offset leader_end, int64_t now_ms) const {
  if (log_end >= leader_end) return now_ms;
  const int64_t by_the_log = ends_.last_time_below(log_end);
  return log_end >= remote.last_fetch_leader_end ? std::max(by_the_log, remote.last_fetch_ms) : by_the_log;
}

InSyncReplicas::Recorded InSyncReplicas::record_fetch(BrokerId follower, const FollowerState& state, Offset leader_end, const Committed& committed,
                                                      int64_t now_ms) {
  Recorded recorded;
  FollowerFetchEffect& effect = recorded.effect;
  Remote* remote = find(follower);
  if (remote == nullptr) {
    // Its assignment is known to the controller but not yet here.
    effect.error = ErrorCode::kUnknownLeaderEpoch;
    return recorded;
  }
  bool first = std::exchange(remote->begins, false);
  if (state.broker_epoch != -1) {
    if (state.broker_epoch < remote->broker_epoch) {
      effect.error = ErrorCode::kNotLeaderOrFollower;
      return recorded;
    }
    first = first || state.broker_epoch > remote->broker_epoch;
    remote->broker_epoch = state.broker_epoch;
  }
  const Offset offset = state.log_end;
  now_ms_ = std::max(now_ms_, now_ms);
  remote->held_ms += state.held_ms;
  if (remote->holding_since_ms) remote->held_ms += now_ms_ - *std::exchange(remote->holding_since_ms, std::nullopt);
  if (const int64_t caught_up = caught_up_ms(*remote, offset, leader_end, now_ms); caught_up > remote->last_caught_up_ms) {
    remote->last_caught_up_ms = caught_up;
    remote->held_ms = 0;
  }
  ends_.note(now_ms_, leader_end);
  const bool moved = remote->log_end != offset;
  effect.low_watermark_moved = remote->log_start != state.log_start;
  remote->log_end = offset;
  remote->log_start = state.log_start;
  if (state.flushed_is_to_come && committed.wants_flushed) {
    remote->flushed_is_to_come_ms = now_ms_;
  } else {
    effect.flushed_moved = remote->flushed != state.flushed || !remote->has_fetched || remote->flushed_is_to_come_ms;
    remote->has_fetched = true;
    remote->flushed_is_to_come_ms.reset();
    remote->flushed = state.flushed;
  }
  remote->last_fetch_leader_end = leader_end;
  remote->last_fetch_ms = now_ms;

  if (first || remote->lacks_committed) remote->lacks_committed = offset < committed.high_watermark;
  if (remote->lacks_committed && contains(isr_, follower) && may_propose()) {
    std::vector<BrokerId> isr = isr_;
    std::erase(isr, follower);
    effect.change = propose(std::move(isr));
    return recorded;
  }
  remote->waits_to_join = may_join(*remote, committed);
  if (remote->waits_to_join && !remote->flushed_is_to_come_ms && may_propose() && live_.is_alive(follower)) {
    remote->waits_to_join = false;
    std::vector<BrokerId> isr = isr_;
    isr.push_back(follower);
    effect.change = propose(std::move(isr));
  }
  recorded.may_advance = moved;
  return recorded;
}

void InSyncReplicas::hold(BrokerId follower, int64_t now_ms) {
  if (Remote* remote = find(follower); remote != nullptr && !remote->holding_since_ms) remote->holding_since_ms = now_ms;
}

void InSyncReplicas::release(BrokerId follower, int64_t now_ms) {
  Remote* remote = find(follower);
  if (remote != nullptr && remote->holding_since_ms) remote->held_ms += std::max<int64_t>(now_ms - *std::exchange(remote->holding_since_ms, std::nullopt), 0);
}

// --- the ISR ----------------------------------------------------------------------------------------------------------------

bool InSyncReplicas::in_larger_isr(BrokerId id) const { return contains(isr_, id) || (proposed_ && contains(*proposed_, id)); }

bool InSyncReplicas::caught_up(const Remote& remote, Offset leader_end) const {
  // Kafka's rule, but that the time in which this broker held its fetch although there were records is not the follower's.
  const int64_t held_ms = remote.held_ms + (remote.holding_since_ms ? now_ms_ - *remote.holding_since_ms : 0);
  return remote.log_end == leader_end || now_ms_ - remote.last_caught_up_ms - held_ms <= lag_ms_;
}

bool InSyncReplicas::may_join(const Remote& remote, const Committed& committed) const {
  const bool stays = contains(isr_, remote.id) && (!proposed_ || contains(*proposed_, remote.id));
  // What was acknowledged as flushed has to be on the disks of all that may lead.
  if (committed.wants_flushed && remote.flushed && *remote.flushed < committed.high_watermark) return false;
  return !stays && contains(replicas_, remote.id) && remote.log_end >= committed.high_watermark && remote.log_end >= committed.epoch_start;
}

IsrChange InSyncReplicas::propose(std::vector<BrokerId> isr) {
  proposed_ = isr;
  return {leader_epoch_, partition_epoch_, std::move(isr)};
}

std::optional<IsrChange> InSyncReplicas::expand(const Committed& committed) {
  if (!may_propose()) return std::nullopt;
  std::vector<BrokerId> isr = isr_;
  for (Remote& remote : remotes_) {
    if (!remote.waits_to_join || !live_.is_alive(remote.id)) continue;
    if (remote.flushed_is_to_come_ms && now_ms_ - *remote.flushed_is_to_come_ms < kFlushedComesWithinMs) continue;
    remote.waits_to_join = false;
    if (may_join(remote, committed)) isr.push_back(remote.id);
  }
  if (isr.size() == isr_.size()) return std::nullopt;
  return propose(std::move(isr));
}

std::optional<IsrChange> InSyncReplicas::shrink(Offset leader_end, int64_t now_ms, std::string* why) {
  now_ms_ = std::max(now_ms_, now_ms);
  ends_.note(now_ms_, leader_end);
  // What the controller refused is tried again at this pace: who is refused now may be one that it has not heard of yet.
  for (Remote& remote : remotes_) {
    if (std::exchange(remote.was_refused, false)) remote.waits_to_join = true;
  }
  if (!may_propose()) return std::nullopt;
  std::vector<BrokerId> isr;
  for (BrokerId id : isr_) {
    Remote* remote = find(id);
    if (id == self_ || (remote != nullptr && !remote->lacks_committed && caught_up(*remote, leader_end))) {
      isr.push_back(id);
    } else if (why != nullptr) {
      *why += fmt::format("{}{}", why->empty() ? "" : "; ", id.value);
      if (remote != nullptr) {
        if (remote->lacks_committed) *why += " has lost records below the high watermark,";
        *why += fmt::format(" ends at {} of {}, had caught up {} ms ago", remote->log_end.value, leader_end.value, now_ms_ - remote->last_caught_up_ms);
        *why += remote->last_fetch_ms > 0 ? fmt::format(", fetched last {} ms ago", now_ms_ - remote->last_fetch_ms) : ", has not fetched since this broker leads";
        if (remote->held_ms > 0) *why += fmt::format(", {} ms of it this broker held its fetches", remote->held_ms);
      }
    }
  }
  if (isr.size() == isr_.size()) return std::nullopt;
  return propose(std::move(isr));
}

bool InSyncReplicas::commit(const std::vector<BrokerId>& isr, int32_t partition_epoch) {
  if (partition_epoch < partition_epoch_) return false;
  isr_ = isr;
  partition_epoch_ = partition_epoch;
  proposed_.reset();
  return true;
}

void InSyncReplicas::refuse(bool wait_for_controller) {
  // While the controller may have taken the larger ISR, acks go on as if it had; a refusal that is final gives the committed one back.
  if (wait_for_controller) {
    waiting_for_controller_ = true;
  } else if (proposed_) {
    for (Remote& remote : remotes_) {
      if (contains(*proposed_, remote.id) && !contains(isr_, remote.id)) remote.was_refused = true;
    }
    proposed_.reset();
  }
}

// --- what follows from it ---------------------------------------------------------------------------------------------------

Offset InSyncReplicas::smallest_end(Offset leader_end) const {
  Offset smallest = leader_end;
  for (const Remote& remote : remotes_) {
    if (remote.log_end < smallest && (in_larger_isr(remote.id) || (caught_up(remote, leader_end) && live_.is_alive(remote.id)))) smallest = remote.log_end;
  }
  return smallest;
}

InSyncReplicas::Flushed InSyncReplicas::flushed() const {
  Flushed flushed;
  for (const Remote& remote : remotes_) {
    if (!in_larger_isr(remote.id)) continue;
    if (!remote.flushed) {
      // It has not fetched since this broker leads, or its word is on the way. (What is below a high watermark of before waits for nobody else.)
      if (!remote.has_fetched || remote.flushed_is_to_come_ms) flushed.elsewhere = 0;
      continue;
    }
    flushed.copies += contains(isr_, remote.id);
    flushed.elsewhere = std::min(flushed.elsewhere, remote.flushed->value);
  }
  return flushed;
}

std::vector<ReplicaView> InSyncReplicas::holding(Offset from, int64_t now_ms) const {
  std::vector<ReplicaView> views;
  for (const Remote& remote : remotes_) {
    if (contains(isr_, remote.id) && remote.log_end >= from && remote.log_start <= from) {
      views.push_back({remote.id, remote.log_end, now_ms - remote.last_caught_up_ms});
    }
  }
  return views;
}

Offset InSyncReplicas::smallest_start(Offset own) const {
  Offset smallest = own;
  for (const Remote& remote : remotes_) {
    if (remote.log_start < smallest && live_.is_alive(remote.id)) smallest = remote.log_start;
  }
  return smallest;
}

}  // namespace odradek::replication
