// Partitions come, go and pause. Requests: fetch_lane_requests.cc; what the answers do: fetch_lane_answers.cc.
#include "replication/fetcher/fetch_lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "replication/fetcher/fetch_lane_step.h"

namespace odradek::replication {

FetchLane::FetchLane(std::shared_ptr<FetchContextOfBroker> context, base::Executor& executor, LeaderLinks& links, LinkTarget target)
    : context_(std::move(context)),
      options_(context_->options),
      executor_(executor),
      links_(links),
      target_(target),
      label_(fmt::format("fetcher {} of leader {}", target.fetcher, target.leader.value)),
      striping_({.least = options_.connections,
                 .most = options_.most_connections,
                 .window_bytes = options_.window_bytes,
                 .in_flight_bytes = options_.in_flight_bytes,
                 .response_max_bytes = options_.response_max_bytes}) {}

FetchLane::~FetchLane() {
  for (auto& [tp, fetch] : fetches_) stop_watching(*fetch);
}

// --- partitions -----------------------------------------------------------------------------------------------------------------

void FetchLane::add(std::vector<FollowedPartition> partitions) {
  {
    base::MutexLock lock(changes_mutex_);
    for (FollowedPartition& partition : partitions) {
      TopicPartition tp = partition.partition->name();
      changes_.push_back({std::move(tp), std::move(partition)});
    }
  }
  at_once([](FetchLane& lane) { lane.take_changes(); });
}

void FetchLane::remove(std::vector<TopicPartition> partitions) {
  {
    base::MutexLock lock(changes_mutex_);
    for (TopicPartition& tp : partitions) changes_.push_back({std::move(tp), std::nullopt});
  }
  at_once([](FetchLane& lane) { lane.take_changes(); });
}

void FetchLane::reconfigured(const TopicPartition& tp) {
  at_once([tp](FetchLane& lane) {
    Fetch* fetch = lane.find(tp);
    if (fetch == nullptr || fetch->state != State::kFetching) return;
    if (lane.pipelined()) lane.watch_flushes(*fetch);
    lane.mark_dirty(*fetch);
    lane.go_on();
  });
}

std::vector<FetchLane::Lag> FetchLane::lags() const {
  base::MutexLock lock(map_mutex_);
  std::vector<Lag> all;
  all.reserve(fetches_.size());
  for (const auto& [tp, fetch] : fetches_) {
    all.push_back({tp, std::max<int64_t>(fetch->lag.load(std::memory_order_relaxed), 0), fetch->failed.load(std::memory_order_relaxed)});
  }
  return all;
}

void FetchLane::at_once(UniqueFunction<void(FetchLane&)> step) {
  executor_.post([weak = weak_from_this(), step = std::move(step)]() mutable {
    auto lane = weak.lock();
    if (lane == nullptr) return;
    Step inside(*lane);
    step(*lane);
  });
}

Task FetchLane::later(const Fetch& fetch, UniqueFunction<void(FetchLane&, Fetch&)> then) {
  return executor_.posting([weak = weak_from_this(), tp = fetch.tp(), life = fetch.life, then = std::move(then)]() mutable {
    auto lane = weak.lock();
    if (lane == nullptr) return;
    Step inside(*lane);
    if (Fetch* fetch = lane->find(tp); fetch != nullptr && fetch->life == life) then(*lane, *fetch);
  });
}

void FetchLane::take_changes() {
  std::vector<Change> changes;
  {
    base::MutexLock lock(changes_mutex_);
    changes.swap(changes_);
  }
  for (Change& change : changes) {
    if (Fetch* known = find(change.tp)) {
      // It was away and came back before that was said here: it goes on.
      if (change.added && change.added->partition == known->followed.partition && change.added->leader_epoch == known->followed.leader_epoch &&
          change.added->topic_id == known->followed.topic_id && known->state != State::kFailed) {
        continue;
      }
      drop(*known);
    }
    if (!change.added) continue;
    auto added = std::make_unique<Fetch>();
    Fetch& fetch = *added;
    fetch.followed = std::move(*change.added);
    fetch.life = ++lives_;
    if (fetch.followed.topic_id.is_zero()) {
      ++without_id_;
    } else {
      by_id_[{fetch.followed.topic_id, change.tp.partition}] = &fetch;
    }
    {
      base::MutexLock lock(map_mutex_);
      fetches_[change.tp] = std::move(added);
    }
    start(fetch);
  }
  go_on();
}

FetchLane::Fetch* FetchLane::find(const TopicPartition& tp) {
  auto found = fetches_.find(tp);
  return found == fetches_.end() ? nullptr : found->second.get();
}

void FetchLane::drop(Fetch& fetch) {
  leave_session(fetch);
  stop_watching(fetch);
  if (fetch.dirty) std::erase(dirty_, &fetch);
  if (fetch.followed.topic_id.is_zero()) {
    --without_id_;
  } else if (auto found = by_id_.find({fetch.followed.topic_id, fetch.tp().partition}); found != by_id_.end() && found->second == &fetch) {
    by_id_.erase(found);
  }
  const TopicPartition tp = fetch.tp();
  base::MutexLock lock(map_mutex_);
  fetches_.erase(tp);
}

void FetchLane::start(Fetch& fetch) {
  auto position = fetch.followed.partition->start_following(fetch.followed.leader_epoch);
  if (!position) return on_log_error(fetch, position.error());
  fetch.started = true;
  resume(fetch);
}

void FetchLane::set_state(Fetch& fetch, State state) {
  static constexpr std::string_view kNames[] = {"starting", "fetching", "asking", "delayed", "throttled", "failed"};
  if (fetch.state == state) return;
  log::debug("replication", "{}: {}: {}, was {}", label_, fetch.tp().to_string(), kNames[static_cast<size_t>(state)], kNames[static_cast<size_t>(fetch.state)]);
  fetch.state = state;
}

// From the end of the log as it is now.
void FetchLane::resume(Fetch& fetch) {
  auto log = fetch.followed.partition->log();
  set_state(fetch, State::kFetching);
  fetch.position = log->log_end_offset();
  fetch.last_fetched_epoch = log->latest_epoch();
  fetch.names_position = true;
  fetch.valid_from = INT32_MAX;
  mark_dirty(fetch);
}

// --- flushes ------------------------------------------------------------------------------------------------------------------------

// Stands in the partition's list and is told when a flush has ended, on a flush thread: the lane and its executor may end meanwhile.
class FetchLane::FlushWatch : public Waiter {
 public:
  void check(uint32_t) override {
    if (armed_.exchange(false, std::memory_order_acq_rel)) std::exchange(tell_, nullptr)();
  }
  // `tell`, once, when the next flush has ended. Not while it is armed.
  void arm(Task tell) {
    tell_ = std::move(tell);
    armed_.store(true, std::memory_order_release);
  }
  WaitList::Slot slot;

 private:
  Task tell_;  // of whoever made `armed_` false, until it is armed again
  std::atomic<bool> armed_{false};
};

void FetchLane::arm(Fetch& fetch) {
  fetch.flush_watch->arm(later(fetch, [watch = std::weak_ptr(fetch.flush_watch)](FetchLane& lane, Fetch& fetch) {
    if (watch.lock() != fetch.flush_watch || fetch.flush_watch == nullptr) return;  // another one is
    lane.arm(fetch);  // before the look at what is flushed
    lane.mark_dirty(fetch);
    lane.go_on();
  }));
}

void FetchLane::watch_flushes(Fetch& fetch) {
  if (!fetch.followed.partition->wants_flushed()) return stop_watching(fetch);
  if (fetch.flush_watch != nullptr) return;
  fetch.flush_watch = std::make_shared<FlushWatch>();
  arm(fetch);
  fetch.followed.partition->append_waiters().add(fetch.flush_watch, 0, fetch.flush_watch->slot);
  // What stood here before anybody waited for its flush: of a former life, or from before the setting.
  if (auto log = fetch.followed.partition->log(); log->flushed_offset() < log->log_end_offset()) log->request_flush();
}

void FetchLane::stop_watching(Fetch& fetch) {
  if (fetch.flush_watch == nullptr) return;
  fetch.followed.partition->append_waiters().remove(fetch.flush_watch->slot);
  fetch.flush_watch.reset();
}

namespace {
constexpr int64_t kFirstHurriedMs = 20;

// The leader has not heard of its leadership yet, most often.
bool is_usual(ErrorCode code) {
  return code == ErrorCode::kUnknownLeaderEpoch || code == ErrorCode::kUnknownTopicId || code == ErrorCode::kNotLeaderOrFollower ||
         code == ErrorCode::kUnknownTopicOrPartition;
}
}  // namespace

// --- pauses -----------------------------------------------------------------------------------------------------------------------

void FetchLane::delay(Fetch& fetch) {
  leave_session(fetch);
  set_state(fetch, State::kDelayed);
  ++fetch.delays;
  int64_t pause_ms = options_.backoff_ms;
  if (is_usual(fetch.last_error) && (kFirstHurriedMs << fetch.hurried) < pause_ms) pause_ms = kFirstHurriedMs << fetch.hurried++;
  context_->runtime.timers().after(std::chrono::milliseconds(pause_ms),
                                   later(fetch, [delays = fetch.delays](FetchLane& lane, Fetch& fetch) {
                                     if (fetch.state != State::kDelayed || fetch.delays != delays) return;
                                     fetch.started ? lane.resume(fetch) : lane.start(fetch);
                                     lane.go_on();
                                   }));
}

constexpr std::chrono::milliseconds kThrottleCheck{100};

// As Kafka's follower: who is caught up is never held.
void FetchLane::hold_throttled() {
  if (!context_->quota.is_exceeded()) return;
  bool held = false;
  for (auto& [tp, fetch] : fetches_) {
    if (fetch->state != State::kFetching || !fetch->followed.partition->follower_throttled() || fetch->lag.load(std::memory_order_relaxed) == 0) continue;
    leave_session(*fetch);
    set_state(*fetch, State::kThrottled);
    held = true;
  }
  if (!held || std::exchange(holds_throttled_, true)) return;
  let_go_throttled();
}

// The partitions are looked at again and again until none is held.
void FetchLane::let_go_throttled() {
  const bool exceeded = context_->quota.is_exceeded();
  bool held = false;
  for (auto& [tp, fetch] : fetches_) {
    if (fetch->state != State::kThrottled) continue;
    if (exceeded && fetch->followed.partition->follower_throttled()) {
      held = true;
    } else {
      resume(*fetch);
    }
  }
  holds_throttled_ = held;
  if (!held) return;
  context_->runtime.timers().after(kThrottleCheck, executor_.posting([weak = weak_from_this()] {
    auto lane = weak.lock();
    if (lane == nullptr) return;
    Step inside(*lane);
    lane->let_go_throttled();
    lane->go_on();
  }));
}

void FetchLane::give_up(Fetch& fetch, log::Level level, std::string_view why) {
  log::at("replication", level, "{}: {} is not fetched any more: {}", label_, fetch.tp().to_string(), why);
  leave_session(fetch);
  set_state(fetch, State::kFailed);
  fetch.failed.store(true, std::memory_order_relaxed);
}

// The link, or the whole request, failed.
void FetchLane::pause(const Error& error) {
  // Once: it may go on for long.
  if (!paused_.exchange(true, std::memory_order_relaxed)) log::warn("replication", "{}: {}; trying again", label_, error.what);
  ++era_;
  connections_.clear();
  striping_.restart();
  new_session(false);
  // What was asked of the lost connection is asked again, after another OFFSET_OUT_OF_RANGE.
  for (auto& [tp, fetch] : fetches_) {
    if (fetch->state == State::kAsking) set_state(*fetch, State::kFetching);
  }
  waits_ = true;
  context_->runtime.timers().after(std::chrono::milliseconds(options_.backoff_ms), executor_.posting([weak = weak_from_this(), era = era_] {
    auto lane = weak.lock();
    if (lane == nullptr || lane->era_ != era) return;
    Step inside(*lane);
    lane->waits_ = false;
    lane->go_on();
  }));
}

void FetchLane::note_error(Fetch& fetch, ErrorCode code, std::string_view what) {
  if (fetch.last_error == code) return;
  fetch.last_error = code;
  log::at("replication", is_usual(code) ? log::Level::kInfo : log::Level::kError, "{}: {} at offset {}: {}{}{}; trying again", label_, fetch.tp().to_string(),
          fetch.position.value, name_of(code), what.empty() ? "" : ": ", what);
}

}  // namespace odradek::replication
