#include "replication/sessions/fetch_pipeline.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "replication/replica_manager.h"

namespace odradek::replication {

using protocol::FetchRequest;
using protocol::FetchResponse;

namespace {

FetchResponse error_answer(ErrorCode error) {
  FetchResponse response;
  response.error_code = static_cast<int16_t>(error);
  return response;
}

}  // namespace

class FetchPipeline : public std::enable_shared_from_this<FetchPipeline> {
 public:
  FetchPipeline(base::Runtime& runtime, ReplicaManager& replicas, int32_t id, BrokerId follower)
      : used_ms(runtime.clock().monotonic_ms()), runtime_(runtime), replicas_(replicas), id_(id), follower_(follower) {}

  // session_epoch: its number; the full request is number 0.
  void submit(FetchRequest request, int64_t received_ms, FetchPipelines::Done done);
  void close();

  std::atomic<int64_t> used_ms;

 private:
  using Key = std::pair<Uuid, int32_t>;
  struct Entry {
    Key key;
    std::string topic;                   // empty until the id is known
    std::shared_ptr<Partition> replica;  // kept from request to request; shared: it may be deleted meanwhile
    // What the follower has said.
    Offset written{0}, log_start{-1};
    std::optional<Offset> flushed;
    // Where the next read is.
    Offset position{0};
    LeaderEpoch current_leader_epoch = kNoLeaderEpoch, last_fetched_epoch = kNoLeaderEpoch;
    bool named = true;      // the position is what the follower named: where both logs part is looked at
    bool flushed_is_to_come = true;  // a session's first request, which comes before it is known to be pipelined, does not say what is flushed
    bool stands = false;    // after an error or a diverging epoch, until a position is named
    LeaderEpoch verified = kNoLeaderEpoch;  // in which the follower's log is known to be a part of ours
    // What it was told.
    Offset told_high_watermark{-1}, told_log_start{-1};
    LeaderEpoch told_epoch = kNoLeaderEpoch;
    bool gave_records = false;  // in the answer that is being made
    bool forgotten = false;
  };
  struct Turn {
    FetchRequest request;
    int64_t received_ms = 0;
    bool changes = false;  // what is asked, not only how far the follower is
    FetchPipelines::Done done;
  };

  void note_progress(Turn& turn, Wakeups& wakeups) REQUIRES(mutex_);
  bool first_must_not_wait() const REQUIRES(mutex_) { return closed_ || changes_in_line_ > 0 || static_cast<int32_t>(line_.size()) > depth_; }
  void take_changes(FetchRequest& request) REQUIRES(mutex_);
  void forget(const std::vector<Key>& keys) REQUIRES(mutex_);
  ErrorCode resolve(Entry& entry, const metadata::ClusterImage& image) REQUIRES(mutex_);
  void go_on();
  void begin(Turn turn);
  void read_or_wait(bool may_wait_for_disk);
  void verify(std::vector<ReadResult>& results, bool* failed, Wakeups& wakeups) REQUIRES(mutex_);
  void answer(std::vector<ReadResult> results);
  FetchResponse make_answer(std::vector<ReadResult>& results) REQUIRES(mutex_);

  base::Runtime& runtime_;
  ReplicaManager& replicas_;
  const int32_t id_;
  const BrokerId follower_;

  base::Mutex mutex_;
  bool closed_ GUARDED_BY(mutex_) = false;
  int32_t next_number_ GUARDED_BY(mutex_) = 0;          // of the request whose progress is noted next
  std::map<int32_t, Turn> early_ GUARDED_BY(mutex_);    // one before them is missing
  std::deque<Turn> line_ GUARDED_BY(mutex_);            // for their turn
  size_t changes_in_line_ GUARDED_BY(mutex_) = 0;
  int32_t depth_ GUARDED_BY(mutex_) = 0;                // as the newest request says
  std::map<Key, std::unique_ptr<Entry>> entries_ GUARDED_BY(mutex_);
  std::vector<Entry*> order_ GUARDED_BY(mutex_);        // of reading: who gave records goes to the end

  // The one whose turn it is. Touched by whoever works on it, one after the other.
  bool busy_ GUARDED_BY(mutex_) = false;
  bool going_on_ GUARDED_BY(mutex_) = false;
  std::optional<std::weak_ptr<Parked>> parked_ GUARDED_BY(mutex_);
  uint64_t turns_ GUARDED_BY(mutex_) = 0;
  Turn turn_;
  FetchParams params_;
  std::vector<Entry*> asked_entries_;
  std::vector<FetchPartition> asked_;
  std::vector<std::shared_ptr<Partition>> held_;  // while records are read from the disk
};

// --- arrival ------------------------------------------------------------------------------------------------------------------------

void FetchPipeline::submit(FetchRequest request, int64_t received_ms, FetchPipelines::Done done) {
  used_ms.store(runtime_.clock().monotonic_ms(), std::memory_order_relaxed);
  std::optional<ErrorCode> refused;
  std::weak_ptr<Parked> pushed_out;
  {
    Wakeups wakeups;  // run without the lock
    base::MutexLock lock(mutex_);
    const int32_t number = request.session_epoch;
    if (closed_) {
      refused = ErrorCode::kFetchSessionIdNotFound;
    } else if (number < next_number_ || early_.contains(number) || early_.size() + line_.size() >= FetchPipelines::kMostInLine) {
      refused = ErrorCode::kInvalidFetchSessionEpoch;
    } else {
      Turn turn;
      turn.request = std::move(request);
      turn.received_ms = received_ms;
      turn.done = std::move(done);
      early_.emplace(number, std::move(turn));
      for (auto next = early_.find(next_number_); next != early_.end(); next = early_.find(next_number_)) {
        note_progress(next->second, wakeups);
        line_.push_back(std::move(next->second));
        early_.erase(next);
        ++next_number_;
      }
      if (parked_ && first_must_not_wait()) pushed_out = *parked_;
    }
  }
  if (refused) {
    if (*refused == ErrorCode::kInvalidFetchSessionEpoch) close();
    return done(error_answer(*refused));
  }
  if (auto parked = pushed_out.lock()) parked->complete_now();
  go_on();
}

void FetchPipeline::note_progress(Turn& turn, Wakeups& wakeups) {
  if (turn.request.pipeline) depth_ = turn.request.pipeline->depth;
  turn.changes = !turn.request.forgotten_topics_data.empty();
  for (auto& topic : turn.request.topics) {
    for (const auto& said : topic.partitions) {
      auto found = said.position >= 0 ? entries_.end() : entries_.find({topic.topic_id, said.partition});
      if (found == entries_.end()) {
        turn.changes = true;
        continue;
      }
      Entry& entry = *found->second;
      // It cannot have more than it was sent.
      if (entry.verified == kNoLeaderEpoch || entry.replica == nullptr || said.fetch_offset > entry.position.value) continue;
      entry.written = {said.fetch_offset};
      entry.log_start = {said.log_start_offset};
      entry.flushed = said.flushed >= 0 ? std::optional<Offset>(Offset{said.flushed}) : std::nullopt;
      FollowerState state{.log_end = entry.written, .log_start = entry.log_start, .flushed = entry.flushed,
                          .broker_epoch = turn.request.replica_state.replica_epoch, .leader_epoch = entry.verified};
      // An error shows at the next read.
      (void)replicas_.note_follower(entry.replica, follower_, state, entry.replica->readable_end(ReadBound::kLogEnd), wakeups);
    }
  }
  changes_in_line_ += turn.changes;
}

void FetchPipeline::close() {
  std::vector<FetchPipelines::Done> waiting;
  std::weak_ptr<Parked> parked;
  {
    base::MutexLock lock(mutex_);
    if (closed_) return;
    closed_ = true;
    for (auto& [number, turn] : early_) waiting.push_back(std::move(turn.done));
    for (Turn& turn : line_) waiting.push_back(std::move(turn.done));
    early_.clear();
    line_.clear();
    if (parked_) parked = *parked_;
  }
  if (auto first = parked.lock()) first->complete_now();
  for (auto& done : waiting) done(error_answer(ErrorCode::kFetchSessionIdNotFound));
}

// --- turns --------------------------------------------------------------------------------------------------------------------------

// A loop, not a recursion: most turns end where they begin.
void FetchPipeline::go_on() {
  {
    base::MutexLock lock(mutex_);
    if (going_on_) return;
    going_on_ = true;
  }
  for (;;) {
    Turn turn;
    {
      base::MutexLock lock(mutex_);
      if (busy_ || line_.empty()) {
        going_on_ = false;
        return;
      }
      busy_ = true;
      ++turns_;
      turn = std::move(line_.front());
      line_.pop_front();
      changes_in_line_ -= turn.changes;
    }
    begin(std::move(turn));
  }
}

void FetchPipeline::take_changes(FetchRequest& request) {
  for (auto& topic : request.topics) {
    for (const auto& said : topic.partitions) {
      const Key key{topic.topic_id, said.partition};
      auto found = entries_.find(key);
      if (found == entries_.end()) {
        found = entries_.emplace(key, std::make_unique<Entry>()).first;
        found->second->key = key;
        order_.push_back(found->second.get());
      } else if (said.position < 0) {
        continue;
      }
      Entry& entry = *found->second;
      entry.written = {said.fetch_offset};
      entry.log_start = {said.log_start_offset};
      entry.flushed = said.flushed >= 0 ? std::optional<Offset>(Offset{said.flushed}) : std::nullopt;
      entry.position = {said.position >= 0 ? said.position : said.fetch_offset};
      entry.current_leader_epoch = {said.current_leader_epoch};
      entry.last_fetched_epoch = entry.told_epoch = {said.last_fetched_epoch};
      entry.named = true;
      entry.flushed_is_to_come = request.session_epoch == 0 && !entry.flushed;
      entry.stands = false;
      entry.verified = kNoLeaderEpoch;
      entry.told_high_watermark = entry.told_log_start = {-1};
    }
  }
  std::vector<Key> forgotten;
  for (const auto& topic : request.forgotten_topics_data) {
    for (int32_t partition : topic.partitions) forgotten.push_back({topic.topic_id, partition});
  }
  forget(forgotten);
}

void FetchPipeline::forget(const std::vector<Key>& keys) {
  if (keys.empty()) return;
  std::vector<std::unique_ptr<Entry>> gone;  // until nothing names them
  for (const Key& key : keys) {
    auto found = entries_.find(key);
    if (found == entries_.end()) continue;
    found->second->forgotten = true;
    gone.push_back(std::move(found->second));
    entries_.erase(found);
  }
  std::erase_if(order_, [](const Entry* entry) { return entry->forgotten; });
}

ErrorCode FetchPipeline::resolve(Entry& entry, const metadata::ClusterImage& image) {
  if (entry.replica != nullptr && entry.replica->role() != Role::kNone) return ErrorCode::kNone;
  entry.replica = nullptr;
  const auto* known = image.find_topic(entry.key.first);
  if (known == nullptr) {
    entry.replica = replicas_.find_leader(entry.key.first, entry.key.second);
    if (entry.replica == nullptr) return ErrorCode::kUnknownTopicId;
    entry.topic = entry.replica->name().topic;
    return ErrorCode::kNone;
  }
  entry.topic = known->name;
  if (ErrorCode error = replicas_.look_up(entry.topic, entry.key.second, entry.replica); error != ErrorCode::kNone) return error;
  auto log = entry.replica->log();
  if (log != nullptr && log->topic_id() != entry.key.first) {
    entry.replica = nullptr;
    return ErrorCode::kInconsistentTopicId;
  }
  return ErrorCode::kNone;
}

void FetchPipeline::begin(Turn turn) {
  turn_ = std::move(turn);
  const FetchRequest& request = turn_.request;
  params_ = {};
  params_.replica_id = follower_;
  params_.replica_epoch = request.replica_state.replica_epoch;
  params_.min_bytes = std::min(request.min_bytes, request.max_bytes);
  params_.max_bytes = request.max_bytes;
  // The time runs from its arrival: those that stand in line do not wait one after the other.
  params_.max_wait_ms = static_cast<int32_t>(
      std::clamp<int64_t>(turn_.received_ms + request.max_wait_ms - runtime_.clock().monotonic_ms(), 0, std::max(request.max_wait_ms, 0)));
  asked_entries_.clear();
  asked_.clear();
  const auto image = replicas_.image();
  {
    base::MutexLock lock(mutex_);
    take_changes(turn_.request);
    for (Entry* entry : order_) {
      if (entry->stands) continue;
      asked_entries_.push_back(entry);
      FetchPartition& read = asked_.emplace_back();
      read.error = resolve(*entry, *image);
      if (read.error == ErrorCode::kNone) read.partition = entry->replica;
      read.fetch_offset = entry->position;
      read.log_start_offset = entry->log_start;
      read.max_bytes = params_.max_bytes;  // all of it may be of one partition: the next answer begins with the others
      read.current_leader_epoch = entry->current_leader_epoch;
      read.last_fetched_epoch = entry->named ? entry->last_fetched_epoch : kNoLeaderEpoch;
      read.told_high_watermark = entry->told_high_watermark;
    }
  }
  read_or_wait(false);
}

// Where a position was named and the read went well, the follower's log is a part of this one.
void FetchPipeline::verify(std::vector<ReadResult>& results, bool* failed, Wakeups& wakeups) {
  for (size_t i = 0; i < results.size(); ++i) {
    Entry& entry = *asked_entries_[i];
    if (!entry.named || results[i].error != ErrorCode::kNone || results[i].diverging) continue;
    entry.named = false;
    FollowerState state{.log_end = entry.written, .log_start = entry.log_start, .flushed = entry.flushed, .flushed_is_to_come = entry.flushed_is_to_come,
                        .broker_epoch = params_.replica_epoch, .leader_epoch = entry.current_leader_epoch};
    const ErrorCode error = replicas_.note_follower(entry.replica, follower_, state, results[i].log_end_offset, wakeups);
    if (error == ErrorCode::kNone) {
      entry.verified = entry.current_leader_epoch != kNoLeaderEpoch ? entry.current_leader_epoch : entry.replica->leader_epoch();
      continue;
    }
    results[i] = ReadResult{};
    results[i].error = error;
    *failed = true;
  }
}

void FetchPipeline::read_or_wait(bool may_wait_for_disk) {
  FetchOutcome outcome = replicas_.read_ahead(params_, asked_, may_wait_for_disk);
  bool answer_now = outcome.satisfied;
  uint64_t this_turn;
  {
    base::MutexLock lock(mutex_);
    this_turn = turns_;
    verify(outcome.results, &answer_now, outcome.wakeups);
    if (outcome.cold.empty() && first_must_not_wait()) answer_now = true;
    if (!answer_now && outcome.cold.empty()) parked_.emplace();
  }
  outcome.wakeups.run();
  if (answer_now) return answer(std::move(outcome.results));
  if (!outcome.cold.empty()) {
    const int64_t now_ms = runtime_.clock().monotonic_ms();
    for (const FetchPartition& one : asked_) {
      if (one.partition == nullptr || one.fetch_offset >= one.partition->readable_end(ReadBound::kLogEnd)) continue;
      one.partition->hold_follower(follower_, now_ms);
      held_.push_back(one.partition);
    }
    replicas_.load(outcome.cold, [self = shared_from_this()] {
      // Its progress may be long in coming, or never come: from here on it is the follower's time.
      const int64_t loaded_ms = self->runtime_.clock().monotonic_ms();
      for (const auto& partition : std::exchange(self->held_, {})) partition->release_follower(self->follower_, loaded_ms);
      self->read_or_wait(true);
    });
    return;
  }
  auto parked = replicas_.wait_for_data(params_, asked_, [self = shared_from_this()](std::vector<ReadResult> results) { self->answer(std::move(results)); });
  bool pushed_out = false;
  {
    base::MutexLock lock(mutex_);
    // It may be over already, and the next one's turn.
    if (parked_ && turns_ == this_turn) {
      parked_ = parked;
      pushed_out = first_must_not_wait();
    }
  }
  if (!pushed_out) return;
  if (auto waiting = parked.lock()) waiting->complete_now();
}

void FetchPipeline::answer(std::vector<ReadResult> results) {
  FetchPipelines::Done done = std::move(turn_.done);
  FetchResponse response;
  {
    base::MutexLock lock(mutex_);
    parked_.reset();
    response = make_answer(results);
    busy_ = false;
  }
  done(std::move(response));
  go_on();
}

FetchResponse FetchPipeline::make_answer(std::vector<ReadResult>& results) {
  FetchResponse response;
  response.session_id = id_;
  if (turn_.request.session_epoch == 0) response.pipeline = FetchResponse::Pipeline{};
  bool gave_records = false;
  int64_t throttled_bytes = 0;
  std::vector<Key> unknown;
  for (size_t i = 0; i < results.size(); ++i) {
    ReadResult& result = results[i];
    Entry& entry = *asked_entries_[i];
    if (result.error != ErrorCode::kNone || result.diverging) {
      entry.stands = true;
      entry.verified = kNoLeaderEpoch;
      if (result.error == ErrorCode::kUnknownTopicId || result.error == ErrorCode::kUnknownTopicOrPartition) unknown.push_back(entry.key);
    } else if (result.records.size == 0 && result.high_watermark == entry.told_high_watermark && result.log_start_offset == entry.told_log_start) {
      continue;
    }
    if (response.responses.empty() || response.responses.back().topic_id != entry.key.first) response.responses.emplace_back().topic_id = entry.key.first;
    auto& data = response.responses.back().partitions.emplace_back();
    data.partition_index = entry.key.second;
    data.error_code = static_cast<int16_t>(result.error);
    data.high_watermark = result.high_watermark.value;
    data.last_stable_offset = result.last_stable_offset.value;
    data.log_start_offset = result.log_start_offset.value;
    data.aborted_transactions.reset();
    entry.told_high_watermark = result.high_watermark;
    entry.told_log_start = result.log_start_offset;
    if (result.diverging) {
      data.diverging_epoch.epoch = result.diverging->epoch.value;
      data.diverging_epoch.end_offset = result.diverging->end.value;
    }
    if (result.records.size == 0) continue;
    const Offset from = entry.position;
    const auto log = entry.replica->log();
    if (const LeaderEpoch last = log->epoch_for_offset(result.next_offset + -1); last != entry.told_epoch) {
      const auto epochs = log->epochs();
      for (size_t k = 0; k < epochs.size(); ++k) {
        const bool ends_before = k + 1 < epochs.size() && epochs[k + 1].start <= from;
        if (epochs[k].epoch <= entry.told_epoch || epochs[k].start >= result.next_offset || ends_before) continue;
        auto& said = data.leader_epochs.emplace_back();
        said.epoch = epochs[k].epoch.value;
        said.start_offset = epochs[k].start.value;
      }
      entry.told_epoch = last;
    }
    if (entry.replica->leader_throttled()) throttled_bytes += result.records.size;
    entry.position = result.next_offset;
    data.records.slices.push_back(std::move(result.records));
    gave_records = entry.gave_records = true;
  }
  // What does not exist takes no memory here. Whoever still wants it names it again.
  forget(unknown);
  replicas_.quotas().leader.record(throttled_bytes);
  if (gave_records) {
    auto gave = std::stable_partition(order_.begin(), order_.end(), [](Entry* entry) { return !entry->gave_records; });
    for (; gave != order_.end(); ++gave) (*gave)->gave_records = false;
  }
  return response;
}

// --- sessions -----------------------------------------------------------------------------------------------------------------------

FetchPipelines::FetchPipelines(base::Runtime& runtime, ReplicaManager& replicas) : runtime_(runtime), replicas_(replicas) {}
FetchPipelines::~FetchPipelines() { stop(); }

bool FetchPipelines::takes(const FetchRequest& request, int16_t version) {
  return version >= 17 && request.pipeline.has_value() && request.pipeline->format == 1 && request.replica_state.replica_id >= 0 && request.session_epoch >= 0;
}

std::shared_ptr<FetchPipeline> FetchPipelines::open(const FetchRequest& request) {
  std::vector<std::shared_ptr<FetchPipeline>> closed;
  std::shared_ptr<FetchPipeline> opened;
  {
    base::MutexLock lock(mutex_);
    if (stopped_) return nullptr;
    if (auto former = sessions_.find(request.session_id); former != sessions_.end()) {
      closed.push_back(std::move(former->second));
      sessions_.erase(former);
    }
    auto used = [](const auto& entry) { return entry.second->used_ms.load(std::memory_order_relaxed); };
    const int64_t now_ms = runtime_.clock().monotonic_ms();
    for (auto at = sessions_.begin(); at != sessions_.end();) {
      if (now_ms - used(*at) <= kIdleMs) {
        ++at;
        continue;
      }
      closed.push_back(std::move(at->second));
      at = sessions_.erase(at);
    }
    if (sessions_.size() >= kMostSessions) {
      auto oldest = std::min_element(sessions_.begin(), sessions_.end(), [&](const auto& a, const auto& b) { return used(a) < used(b); });
      closed.push_back(std::move(oldest->second));
      sessions_.erase(oldest);
    }
    int32_t id;
    do {
      id = static_cast<int32_t>(1 + runtime_.random().below(INT32_MAX));
    } while (sessions_.contains(id));
    opened = std::make_shared<FetchPipeline>(runtime_, replicas_, id, BrokerId{request.replica_state.replica_id});
    sessions_.emplace(id, opened);
  }
  for (const auto& pipeline : closed) pipeline->close();
  return opened;
}

void FetchPipelines::fetch(FetchRequest request, int64_t received_ms, Done done) {
  std::shared_ptr<FetchPipeline> pipeline;
  if (request.session_epoch == 0) {
    pipeline = open(request);
  } else {
    base::MutexLock lock(mutex_);
    if (auto found = sessions_.find(request.session_id); found != sessions_.end()) pipeline = found->second;
  }
  if (pipeline == nullptr) return done(error_answer(ErrorCode::kFetchSessionIdNotFound));
  pipeline->submit(std::move(request), received_ms, std::move(done));
}

void FetchPipelines::stop() {
  std::map<int32_t, std::shared_ptr<FetchPipeline>> sessions;
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
    sessions.swap(sessions_);
  }
  for (const auto& [id, pipeline] : sessions) pipeline->close();
}

size_t FetchPipelines::sessions() const {
  base::MutexLock lock(mutex_);
  return sessions_.size();
}

}  // namespace odradek::replication
