#include "replication/sessions/fetch_session.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace odradek::replication {

namespace {

constexpr int32_t kInitialEpoch = 0, kFinalEpoch = -1;
constexpr uint32_t kNowhere = ~0u;

int32_t epoch_after(int32_t epoch) { return epoch == INT32_MAX ? 1 : epoch + 1; }

}  // namespace

// The partitions stand in a vector and are chained in reading order; places of forgotten ones are used again. A request without
// session uses the same shape.
class FetchSession {
 public:
  struct Entry {
    SessionPartition data;
    uint32_t next = kNowhere;
    uint32_t previous = kNowhere;
  };
  struct TopicKey {
    std::string name;
    Uuid id;
    friend auto operator<=>(const TopicKey&, const TopicKey&) = default;
  };

  base::Mutex mutex;
  int32_t id = 0;      // written before the session is in the cache
  int32_t epoch GUARDED_BY(mutex) = 1;  // that the next request must name
  bool uses_topic_ids = false;
  bool privileged = false;  // a follower's
  size_t live GUARDED_BY(mutex) = 0;

  // Guarded by the cache's mutex.
  int64_t created_ms = 0;
  int64_t used_ms = 0;
  size_t cached_size = 0;

  // As in Kafka any negative one means none.
  static LeaderEpoch epoch_of(int32_t asked) { return {std::max(asked, kNoLeaderEpoch.value)}; }

  uint32_t add_topic(std::string name, const Uuid& topic_id) REQUIRES(mutex) {
    if (!free_topics_.empty()) {
      uint32_t at = free_topics_.back();
      free_topics_.pop_back();
      topics_[at] = {{std::move(name), topic_id}, 0};
      return at;
    }
    topics_.push_back({{std::move(name), topic_id}, 0});
    return static_cast<uint32_t>(topics_.size() - 1);
  }

  void append(SessionPartition data) REQUIRES(mutex) {
    ++topics_[data.topic].partitions;
    uint32_t at;
    if (free_entries_.empty()) {
      at = static_cast<uint32_t>(entries_.size());
      entries_.emplace_back();
    } else {
      at = free_entries_.back();
      free_entries_.pop_back();
    }
    if (indexed_) partition_index_[{data.topic, data.partition}] = at;
    entries_[at].data = std::move(data);
    link(at);
    ++live;
  }

  // Makes the session fit for incremental requests. A partition named twice counts as named last, at its first place.
  void index() REQUIRES(mutex) {
    if (std::exchange(indexed_, true)) return;
    partition_index_.reserve(live);
    std::vector<uint32_t> merged(topics_.size());
    for (uint32_t i = 0; i < topics_.size(); ++i) merged[i] = topic_index_.try_emplace(key_of(topics_[i].topic), i).first->second;
    for (uint32_t at = first_, next; at != kNowhere; at = next) {
      next = entries_[at].next;
      SessionPartition& data = entries_[at].data;
      --topics_[data.topic].partitions;
      data.topic = merged[data.topic];
      ++topics_[data.topic].partitions;
      auto [found, added] = partition_index_.try_emplace({data.topic, data.partition}, at);
      if (added) continue;
      entries_[found->second].data = std::move(data);
      --topics_[entries_[found->second].data.topic].partitions;
      unlink(at);
      free_entries_.push_back(at);
      --live;
    }
  }

  void update(protocol::FetchRequest& request) REQUIRES(mutex) {
    for (auto& topic : request.topics) {
      uint32_t at = find_topic(uses_topic_ids ? TopicKey{{}, topic.topic_id} : TopicKey{topic.topic, {}});
      if (at == kNowhere) {
        at = add_topic(std::move(topic.topic), topic.topic_id);
        topic_index_[key_of(topics_[at].topic)] = at;
      }
      for (const auto& asked : topic.partitions) {
        auto found = partition_index_.find({at, asked.partition});
        if (found == partition_index_.end()) {
          append(asked_for(at, asked));
          continue;
        }
        SessionPartition& known = entries_[found->second].data;
        known.max_bytes = asked.partition_max_bytes;
        known.fetch_offset = {asked.fetch_offset};
        known.log_start_offset = {asked.log_start_offset};
        // In another epoch a follower has started anew, and may have skipped what it was told.
        if (known.current_leader_epoch != epoch_of(asked.current_leader_epoch)) known.told_high_watermark = {-1};
        known.current_leader_epoch = epoch_of(asked.current_leader_epoch);
        known.last_fetched_epoch = epoch_of(asked.last_fetched_epoch);
      }
      if (topics_[at].partitions == 0) drop_topic(at);
    }
    for (const auto& topic : request.forgotten_topics_data) {
      const uint32_t at = find_topic(uses_topic_ids ? TopicKey{{}, topic.topic_id} : TopicKey{topic.topic, {}});
      if (at == kNowhere) continue;
      for (int32_t partition : topic.partitions) {
        auto found = partition_index_.find({at, partition});
        if (found == partition_index_.end()) continue;
        const uint32_t entry = found->second;
        partition_index_.erase(found);
        unlink(entry);
        entries_[entry].data = {};
        free_entries_.push_back(entry);
        --live;
        if (--topics_[at].partitions == 0) {
          drop_topic(at);
          break;
        }
      }
    }
  }

  static SessionPartition asked_for(uint32_t topic, const protocol::FetchRequest::FetchPartition& asked) {
    SessionPartition data;
    data.topic = topic;
    data.partition = asked.partition;
    data.max_bytes = asked.partition_max_bytes;
    data.fetch_offset = {asked.fetch_offset};
    data.log_start_offset = {asked.log_start_offset};
    data.current_leader_epoch = epoch_of(asked.current_leader_epoch);
    data.last_fetched_epoch = epoch_of(asked.last_fetched_epoch);
    return data;
  }

  void for_each(absl::FunctionRef<void(SessionTopic&, SessionPartition&)> visit) REQUIRES(mutex) {
    for (uint32_t at = first_; at != kNowhere; at = entries_[at].next) visit(topics_[entries_[at].data.topic].topic, entries_[at].data);
  }

  void answer(std::span<const ReadResult> results, bool incremental,
              absl::FunctionRef<void(uint32_t, const SessionTopic&, const SessionPartition&, const ReadResult&)> visit) REQUIRES(mutex) {
    std::vector<uint32_t> gave_records;
    size_t i = 0;
    for (uint32_t at = first_; at != kNowhere && i < results.size(); at = entries_[at].next, ++i) {
      SessionPartition& data = entries_[at].data;
      const ReadResult& result = results[i];
      bool news = result.records.size > 0 || result.diverging.has_value() || result.preferred_replica != kNoBroker || result.high_watermark != data.told_high_watermark ||
                  result.log_start_offset != data.told_log_start;
      data.told_high_watermark = result.high_watermark;
      data.told_log_start = result.log_start_offset;
      if (result.error != ErrorCode::kNone || result.diverging) {
        // Told again until it is over, and then the partition is told whatever its offsets: a follower takes none of these before.
        data.told_high_watermark = {-1};
        news = true;
      }
      if (!news && incremental) continue;
      visit(data.topic, topics_[data.topic].topic, data, result);
      if (incremental && result.records.size > 0) gave_records.push_back(at);
    }
    for (uint32_t at : gave_records) {
      unlink(at);
      link(at);
    }
  }

 private:
  struct Topic {
    SessionTopic topic;
    size_t partitions = 0;
  };

  TopicKey key_of(const SessionTopic& topic) const { return uses_topic_ids ? TopicKey{{}, topic.id} : TopicKey{topic.name, {}}; }
  uint32_t find_topic(const TopicKey& key) const {
    auto found = topic_index_.find(key);
    return found == topic_index_.end() ? kNowhere : found->second;
  }
  void drop_topic(uint32_t at) {
    topic_index_.erase(key_of(topics_[at].topic));
    topics_[at] = {};
    free_topics_.push_back(at);
  }
  void link(uint32_t at) {
    entries_[at].next = kNowhere;
    entries_[at].previous = last_;
    (last_ == kNowhere ? first_ : entries_[last_].next) = at;
    last_ = at;
  }
  void unlink(uint32_t at) {
    const Entry& entry = entries_[at];
    (entry.previous == kNowhere ? first_ : entries_[entry.previous].next) = entry.next;
    (entry.next == kNowhere ? last_ : entries_[entry.next].previous) = entry.previous;
  }

  // All under `mutex`.
  std::vector<Topic> topics_;
  std::vector<uint32_t> free_topics_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_entries_;
  uint32_t first_ = kNowhere;
  uint32_t last_ = kNowhere;
  bool indexed_ = false;
  std::map<TopicKey, uint32_t> topic_index_;
  absl::flat_hash_map<std::pair<uint32_t, int32_t>, uint32_t> partition_index_;
};

// --- context ------------------------------------------------------------------------------------------------------------------

FetchContext::FetchContext() = default;
FetchContext::FetchContext(FetchContext&&) noexcept = default;
FetchContext& FetchContext::operator=(FetchContext&&) noexcept = default;
FetchContext::~FetchContext() = default;

size_t FetchContext::size() const {
  if (session_ == nullptr) return 0;
  base::MutexLock lock(session_->mutex);
  return session_->live;
}

void FetchContext::for_each(absl::FunctionRef<void(SessionTopic&, SessionPartition&)> visit) {
  if (session_ == nullptr) return;
  base::MutexLock lock(session_->mutex);
  session_->for_each(visit);
}

ErrorCode FetchContext::answer(std::span<const ReadResult> results,
                               absl::FunctionRef<void(uint32_t, const SessionTopic&, const SessionPartition&, const ReadResult&)> visit) {
  if (session_ == nullptr) return error_;
  {
    base::MutexLock lock(session_->mutex);
    if (incremental_ && session_->epoch != next_epoch_) return ErrorCode::kInvalidFetchSessionEpoch;
    session_->answer(results, incremental_, visit);
    if (create_) session_->index();
  }
  if (incremental_) {
    answered_id_ = session_->id;
  } else if (create_) {
    answered_id_ = cache_->keep(session_);
  }
  return ErrorCode::kNone;
}

// --- cache ----------------------------------------------------------------------------------------------------------------------

struct FetchSessionCache::State {
  // Smallest first: that one gives way. Followers' sessions stand above consumers', bigger ones above smaller ones.
  using EvictionKey = std::tuple<bool, size_t, int32_t>;

  State(base::Clock& clock, base::Random& random, size_t slots, int64_t eviction_ms, size_t most_partitions)
      : clock(clock), random(random), slots(slots), eviction_ms(eviction_ms), most_partitions(most_partitions) {}

  base::Clock& clock;
  base::Random& random;
  const size_t slots;
  const int64_t eviction_ms;
  const size_t most_partitions;

  mutable base::Mutex mutex;
  absl::flat_hash_map<int32_t, std::shared_ptr<FetchSession>> sessions GUARDED_BY(mutex);
  std::set<std::pair<int64_t, int32_t>> by_use GUARDED_BY(mutex);
  std::set<EvictionKey> for_all GUARDED_BY(mutex);          // old enough to give way to anyone
  std::set<EvictionKey> for_followers GUARDED_BY(mutex);    // give way to a follower
  size_t partitions GUARDED_BY(mutex) = 0;
  uint64_t evictions GUARDED_BY(mutex) = 0;

  static EvictionKey key_of(const FetchSession& session) { return {session.privileged, session.cached_size, session.id}; }

  void remove(const std::shared_ptr<FetchSession>& session) REQUIRES(mutex) {
    if (sessions.erase(session->id) == 0) return;
    by_use.erase({session->used_ms, session->id});
    for_all.erase(key_of(*session));
    for_followers.erase(key_of(*session));
    partitions -= session->cached_size;
  }

  void touch(FetchSession& session, size_t size, int64_t now_ms) REQUIRES(mutex) {
    by_use.erase({session.used_ms, session.id});
    for_all.erase(key_of(session));
    for_followers.erase(key_of(session));
    partitions -= session.cached_size;
    session.used_ms = now_ms;
    session.cached_size = size;
    partitions += size;
    by_use.insert({now_ms, session.id});
    const bool old = now_ms - session.created_ms > eviction_ms;
    if (old) for_all.insert(key_of(session));
    if (old || !session.privileged) for_followers.insert(key_of(session));
  }

  bool evict(bool privileged, const EvictionKey& newcomer, int64_t now_ms) REQUIRES(mutex) {
    if (by_use.empty()) return false;
    int32_t victim = by_use.begin()->second;
    if (now_ms - by_use.begin()->first <= eviction_ms) {
      const auto& candidates = privileged ? for_followers : for_all;
      if (candidates.empty() || newcomer < *candidates.begin()) return false;
      victim = std::get<2>(*candidates.begin());
    }
    auto session = sessions.at(victim);
    remove(session);
    ++evictions;
    return true;
  }
};

FetchSessionCache::FetchSessionCache(base::Clock& clock, base::Random& random, size_t slots, int64_t eviction_ms, size_t most_partitions)
    : state_(std::make_unique<State>(clock, random, slots, eviction_ms, most_partitions)) {}
FetchSessionCache::~FetchSessionCache() = default;

FetchContext FetchSessionCache::open(protocol::FetchRequest& request, int16_t version) {
  FetchContext context;
  context.cache_ = this;
  const bool full = request.session_epoch == kInitialEpoch || request.session_epoch == kFinalEpoch;
  auto without_session = [&] {
    context.session_ = std::make_shared<FetchSession>();
    FetchSession& session = *context.session_;
    session.uses_topic_ids = version >= 13;
    session.privileged = (version >= 15 ? request.replica_state.replica_id : request.replica_id) >= 0;
    base::MutexLock lock(session.mutex);
    for (auto& topic : request.topics) {
      if (topic.partitions.empty()) continue;
      const uint32_t at = session.add_topic(std::move(topic.topic), topic.topic_id);
      for (const auto& asked : topic.partitions) session.append(FetchSession::asked_for(at, asked));
    }
    if (session.live > 1) session.index();  // each partition is read and answered once
  };
  if (full) {
    if (request.session_id != 0) {
      base::MutexLock lock(state_->mutex);
      if (auto found = state_->sessions.find(request.session_id); found != state_->sessions.end()) state_->remove(std::shared_ptr(found->second));
    }
    without_session();
    context.create_ = request.session_epoch == kInitialEpoch && version >= 7;
    return context;
  }

  std::shared_ptr<FetchSession> session;
  {
    base::MutexLock lock(state_->mutex);
    if (auto found = state_->sessions.find(request.session_id); found != state_->sessions.end()) session = found->second;
  }
  if (session == nullptr) {
    context.error_ = ErrorCode::kFetchSessionIdNotFound;
    return context;
  }
  size_t size;
  {
    base::MutexLock lock(session->mutex);
    if (session->epoch != request.session_epoch) {
      context.error_ = ErrorCode::kInvalidFetchSessionEpoch;
      return context;
    }
    if (session->uses_topic_ids != (version >= 13)) {
      context.error_ = ErrorCode::kFetchSessionTopicIdError;
      return context;
    }
    session->update(request);
    size = session->live;
    session->epoch = epoch_after(session->epoch);
    context.next_epoch_ = session->epoch;
  }
  base::MutexLock lock(state_->mutex);
  if (size == 0) {
    // Everything was forgotten: the session ends.
    state_->remove(session);
    context.session_ = std::make_shared<FetchSession>();
    return context;
  }
  if (state_->partitions - session->cached_size + size > state_->most_partitions && size > session->cached_size) {
    state_->remove(session);  // this answer is its last
  } else if (state_->sessions.contains(session->id)) {
    state_->touch(*session, size, state_->clock.monotonic_ms());
  }
  context.incremental_ = true;
  context.session_ = std::move(session);
  return context;
}

int32_t FetchSessionCache::keep(const std::shared_ptr<FetchSession>& session) {
  size_t size;
  {
    base::MutexLock lock(session->mutex);
    size = session->live;
  }
  const int64_t now_ms = state_->clock.monotonic_ms();
  base::MutexLock lock(state_->mutex);
  if (state_->slots == 0 || state_->partitions + size > state_->most_partitions) return 0;
  int32_t id;
  do {
    id = static_cast<int32_t>(1 + state_->random.below(INT32_MAX));
  } while (state_->sessions.contains(id));
  if (state_->sessions.size() >= state_->slots && !state_->evict(session->privileged, {session->privileged, size, id}, now_ms)) return 0;
  session->id = id;
  session->created_ms = session->used_ms = now_ms;
  session->cached_size = 0;
  state_->sessions.emplace(id, session);
  state_->touch(*session, size, now_ms);
  return id;
}

size_t FetchSessionCache::sessions() const {
  base::MutexLock lock(state_->mutex);
  return state_->sessions.size();
}
size_t FetchSessionCache::cached_partitions() const {
  base::MutexLock lock(state_->mutex);
  return state_->partitions;
}
uint64_t FetchSessionCache::evictions() const {
  base::MutexLock lock(state_->mutex);
  return state_->evictions;
}

}  // namespace odradek::replication
